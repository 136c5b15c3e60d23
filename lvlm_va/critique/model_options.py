"""From the options of a command to a critic, a judge and what they may spend."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvlm_va.backends import Budget, Prices
from lvlm_va.critique.optional_methods import asks_by_batches, takes_examples
from lvlm_va.critique.resolve import resolve_critic, resolve_judge
from lvlm_va.critique.types import Critic, Judge
from lvlm_va.critique.verdict_table import VerdictTable


@dataclass(frozen=True)
class ModelOptions:
    """What a user says of models on the command line: critic, judge, and what they may spend.

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
        Seconds between two looks at unfinished batches; 0 for not to wait, neither for batches nor in folders.
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
        return None if self.prices is None else Prices(*self.prices, currency=self.currency)

    def make(self) -> tuple[Critic | None, Judge | None]:
        """Return the critic and the judge, under one budget.

        Raises
        ------
        ValueError
            If options do not go together.
        """
        shared: dict[str, Any] = {"allow_remote": self.allow_remote, "budget": self._budget()}
        shared |= {"batch": self.batch, "batch_wait": self.batch_wait > 0, "batch_poll": self.batch_wait}
        critic = resolve_critic(self.critic, **shared)
        spec = self.judge
        if spec is None and self.examples is not None:
            spec = self.critic
        judge = resolve_judge(spec, critic, **shared)
        if self.batch and not asks_by_batches(critic) and not asks_by_batches(judge):
            raise ValueError(
                f"--batch needs a --critic or --judge that is a model. Got {self.critic!r} and {self.judge!r} instead."
            )
        if self.examples is None:
            return critic, judge
        if not takes_examples(judge):
            raise ValueError(f"--examples needs a --judge that is a model. Got {spec!r} instead.")
        return critic, judge.with_examples(VerdictTable.load(self.examples).examples)

    def _budget(self) -> Budget | None:
        if self.max_requests is None and self.max_cost is None:
            return None
        if self.max_cost is not None and self.prices is None:
            raise ValueError("--max-cost needs --prices, of a million tokens in and out. Got none.")
        return Budget(max_requests=self.max_requests, max_cost=self.max_cost, prices=self.make_prices())
