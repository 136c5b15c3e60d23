"""From the command line's options to a critic, a judge and what they may spend."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from lvlm_va.backends import Budget, Prices
    from lvlm_va.critique import Critic, Judge


# Options of every command that asks models.
AllowRemote = Annotated[bool, typer.Option("--allow-remote", help="Let images and texts leave this machine.")]
MaxRequests = Annotated[int | None, typer.Option(help="Most requests sent to models in one go.", min=0)]
MaxCost = Annotated[
    float | None, typer.Option(help="Most money spent on models in one go, at --prices.", min=0)
]
PricesPerMillion = Annotated[
    tuple[float, float] | None,
    typer.Option(help="What a million tokens cost, in and out: '--prices 2.5 10'; in batches half of it."),
]
Batch = Annotated[
    bool, typer.Option("--batch", help="Ask by the provider's batches: half the price, answers within a day.")
]
BatchWait = Annotated[
    float,
    typer.Option(
        help="Seconds between two looks at unfinished batches; 0 hands all over and ends. Run again to go on.",
        min=0,
    ),
]
Currency = Annotated[str, typer.Option(help="Currency of the prices.")]


@dataclass(frozen=True)
class ModelOptions:
    """What the command line says of models.

    Attributes
    ----------
    critic, judge : str or None
        As in `LVLMVAClassifier`.
    examples : Path or None
        JSON file of a verdict table whose examples the judge is shown.
    allow_remote : bool
        Whether images and texts may leave this machine.
    max_requests, max_cost : int or None, float or None
        Limits of critic and judge together.
    prices : (float, float) or None
        Money per million tokens in and out.
    currency : str
        Of the prices.
    batch : bool
        Whether to ask by batches.
    batch_wait : float
        Seconds between two looks at unfinished batches; 0 for not to wait.
    """

    critic: str | None
    judge: str | None = None
    examples: Path | None = None
    allow_remote: bool = False
    max_requests: int | None = None
    max_cost: float | None = None
    prices: tuple[float, float] | None = None
    currency: str = "USD"
    batch: bool = False
    batch_wait: float = 60.0

    def make_prices(self) -> Prices | None:
        """Return the prices; None where none are given."""
        from lvlm_va.backends import Prices

        return None if self.prices is None else Prices(*self.prices, currency=self.currency)

    def make(self) -> tuple[Critic | None, Judge | None]:
        """Return the critic and the judge, under one budget.

        Raises
        ------
        typer.BadParameter
            If options do not go together.
        """
        from lvlm_va.critique import LLMJudge, LVLMCritic, VerdictTable, resolve_critic, resolve_judge

        shared: dict[str, Any] = {"allow_remote": self.allow_remote, "budget": self._budget()}
        if self.batch:
            shared |= {"batch": True, "batch_wait": self.batch_wait > 0, "batch_poll": self.batch_wait}
        critic = resolve_critic(self.critic, **shared)
        spec = self.judge
        if spec is None and self.examples is not None:
            spec = self.critic
        judge = resolve_judge(spec, critic, **shared)
        if self.batch and not isinstance(critic, LVLMCritic) and not isinstance(judge, LLMJudge):
            raise typer.BadParameter("needs a --critic or --judge that is a model.", param_hint="--batch")
        if self.examples is None:
            return critic, judge
        if not isinstance(judge, LLMJudge):
            raise typer.BadParameter("needs a --judge that is a model.", param_hint="--examples")
        return critic, replace(judge, examples=VerdictTable.load(self.examples).examples)

    def _budget(self) -> Budget | None:
        from lvlm_va.backends import Budget

        if self.max_requests is None and self.max_cost is None:
            return None
        if self.max_cost is not None and self.prices is None:
            raise typer.BadParameter("needs --prices.", param_hint="--max-cost")
        return Budget(max_requests=self.max_requests, max_cost=self.max_cost, prices=self.make_prices())
