"""What a run has asked of models, out of the record of its exchanges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lvlm_va.backends import Prices, Usage, read_exchanges


@dataclass(frozen=True)
class ModelUse:
    """What one model was asked for.

    Attributes
    ----------
    model : str
        Name of the model.
    answered, cached, failed : int
        Requests that it answered, that were answered from the kept replies at no cost, and that got no answer.
    images : int
        Images in the answered requests.
    usage : Usage
        Tokens of the answered requests, as the model's server counts them.
    batched : Usage
        As many of them as went through batches.
    """

    model: str
    answered: int = 0
    cached: int = 0
    failed: int = 0
    images: int = 0
    usage: Usage = field(default_factory=Usage)
    batched: Usage = field(default_factory=Usage)

    def cost(self, prices: Prices | None) -> float | None:
        """Return the money it took; None where no price is known."""
        if prices is None:
            return None
        return prices.cost(self.usage) - prices.cost(self.batched) + prices.in_batches().cost(self.batched)


def read_costs(path: Path) -> tuple[ModelUse, ...]:
    """Return what each model was asked for, from the file of `lvlm_va.backends.RecordingBackend`.

    Parameters
    ----------
    path : Path
        The file; where there is none, no model was asked that keeps a record.

    Returns
    -------
    tuple of ModelUse
        In the order in which models were first asked. Earlier attempts in the same run directory count too.
    """
    return sum_exchanges(read_exchanges(path)) if path.exists() else ()


def sum_exchanges(exchanges: Iterable[Mapping[str, Any]]) -> tuple[ModelUse, ...]:
    """Return what each model was asked for in these exchanges; those that are not whole are passed over."""
    found: dict[str, ModelUse] = {}
    for exchange in exchanges:
        try:
            name = str(exchange["backend"])
            used = _plus(found.get(name, ModelUse(name)), exchange)
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
        found[name] = used
    return tuple(found.values())


def _plus(use: ModelUse, exchange: Mapping[str, Any]) -> ModelUse:
    reply = exchange.get("reply")
    if reply is None:
        return replace(use, failed=use.failed + 1)
    if reply["cached"]:
        return replace(use, cached=use.cached + 1)
    images = sum(not isinstance(part, str) for turn in exchange["request"]["turns"] for part in turn["parts"])
    usage = Usage(**reply["usage"])
    return replace(
        use,
        answered=use.answered + 1,
        images=use.images + images,
        usage=use.usage + usage,
        batched=use.batched + usage if exchange.get("batched") else use.batched,
    )
