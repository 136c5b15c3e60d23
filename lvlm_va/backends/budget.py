"""Spend no more requests, tokens or money than the user allows."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lvlm_va.backends.estimates import Estimate, ImageTokens, Prices, estimate_tokens, image_tokens, priced
from lvlm_va.backends.request_json import request_key
from lvlm_va.backends.streaming import Outcome, complete_each
from lvlm_va.backends.types import ChatBackend, ChatFailure, ChatReply, ChatRequest, FailureKind, Usage
from lvlm_va.backends.wrapper import BackendWrapper
from lvlm_va.common.validation import check_real

# Failures after which the server may have done the work, and bill it.
_MAYBE_BILLED: frozenset[FailureKind] = frozenset(("timeout", "connection", "malformed"))


@dataclass(frozen=True)
class Charge:
    """What one request takes, reserved or spent."""

    requests: int = 0
    images: int = 0
    usage: Usage = field(default_factory=Usage)
    # As much of `usage` as goes through batches.
    batched: Usage = field(default_factory=Usage)

    def __add__(self, other: Charge) -> Charge:
        return Charge(
            self.requests + other.requests,
            self.images + other.images,
            self.usage + other.usage,
            self.batched + other.batched,
        )

    def __neg__(self) -> Charge:
        return Charge(-self.requests, -self.images, _minus(self.usage), _minus(self.batched))


def _minus(usage: Usage) -> Usage:
    return Usage(-usage.input_tokens, -usage.output_tokens)


class Budget:
    """Limits that several backends, threads and calls may share.

    A request is sent only if what was spent, what is under way (by estimate) and its own estimate stay within
    every limit. Its reply then settles what it took.

    Parameters
    ----------
    max_requests, max_input_tokens, max_output_tokens : int or None, default=None
        Most requests sent (retries count) and most tokens. None sets no limit.
    max_cost : float or None, default=None
        Most money, in the currency of `prices`.
    prices : Prices or None, default=None
        The provider's; needed for `max_cost`.
    image_tokens : callable, optional
        Tokens of an image from its width and height in pixels, see :func:`~lvlm_va.backends.estimate_tokens`.

    Raises
    ------
    ValueError
        If a limit is negative, or `max_cost` comes without `prices`.

    Notes
    -----
    What cannot be known is charged by its estimate: a reply whose server counts no tokens, and a request that
    timed out, lost its connection or came back garbled, which the server may bill. Cached replies are free. What
    goes through :class:`BatchedBackend` is charged at the prices of batches, and stays reserved as long as its
    batch is not finished; a batch of an earlier process is charged to the one that fetches it. The
    limits hold as far as the estimate of the input does; the output is reserved at its upper bound.

    A copy made by ``copy.deepcopy``, as by :func:`sklearn.base.clone`, is the same budget. A pickled copy, as
    in another process, goes on by itself from what was spent.
    """

    def __init__(
        self,
        *,
        max_requests: int | None = None,
        max_input_tokens: int | None = None,
        max_output_tokens: int | None = None,
        max_cost: float | None = None,
        prices: Prices | None = None,
        image_tokens: ImageTokens = image_tokens,
    ) -> None:
        self._limits = {
            "max_requests": max_requests,
            "max_input_tokens": max_input_tokens,
            "max_output_tokens": max_output_tokens,
            "max_cost": max_cost,
        }
        for argument, limit in self._limits.items():
            if limit is not None:
                check_real(argument, limit, "[0, inf]", expected="a number, not negative, or None")
        if max_cost is not None and prices is None:
            raise ValueError(
                "The 'prices' argument must be given with 'max_cost'. Got None instead. "
                "Prices(input_per_million, output_per_million) holds what the provider charges."
            )
        self._prices = prices
        self._image_tokens = image_tokens
        self._spent, self._reserved = Charge(), Charge()
        self._held: dict[str, Charge] = {}
        self._lock = threading.Lock()

    @property
    def spent(self) -> Estimate:
        """What was spent so far."""
        return self._priced(self._spent)

    def reserve(self, request: ChatRequest, key: str, *, batched: bool = False) -> Charge | str:
        """Set aside what a request may take, or return why it must not be sent.

        What was held for its key before is set aside already.

        Parameters
        ----------
        request : ChatRequest
            What is to be sent.
        key : str
            Under which it is known.
        batched : bool, default=False
            Whether it goes into a batch.

        Returns
        -------
        Charge or str
            What was set aside, or why the request must not be sent.
        """
        held = self._held.pop(key, None)
        if held is not None:
            return held
        usage = estimate_tokens(request, self._image_tokens)
        charge = Charge(1, len(request.images), usage, usage if batched else Usage())
        with self._lock:
            total = self._priced(self._spent + self._reserved + charge)
            amounts = (total.requests, total.input_tokens, total.output_tokens, total.cost)
            for (name, limit), amount in zip(self._limits.items(), amounts, strict=True):
                if limit is not None and amount is not None and amount > limit:
                    return (
                        f"The budget of {name}={limit:g} would be exceeded: {amount:g} with this request. "
                        f"Spent so far: {self._priced(self._spent)}."
                    )
            self._reserved += charge
        return charge

    def hold(self, reserved: Charge, key: str) -> None:
        """Leave set aside what a request that is handed over, but not answered yet, may take."""
        self._held[key] = reserved

    def settle(self, reserved: Charge, spent: Charge) -> None:
        """Replace what was set aside by what it took."""
        with self._lock:
            self._reserved += -reserved
            self._spent += spent

    def _priced(self, charge: Charge) -> Estimate:
        total = priced(charge.requests, charge.images, charge.usage, self._prices)
        if self._prices is None or total.cost is None:
            return total
        saved = self._prices.cost(charge.batched) - self._prices.in_batches().cost(charge.batched)
        return replace(total, cost=total.cost - saved)

    def __repr__(self) -> str:
        limits = [f"{name}={limit!r}" for name, limit in self._limits.items() if limit is not None]
        return f"Budget({', '.join(limits)})"

    def __deepcopy__(self, memo: object) -> Budget:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reserved": Charge(), "_held": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


class BudgetedBackend(BackendWrapper):
    """Send nothing that would exceed a budget.

    The first request of a call that does not fit, and all after it, fail with the kind ``"budget"`` without
    being sent; the replies before it are kept.

    Parameters
    ----------
    backend : ChatBackend
        The backend inside.
    budget : Budget
        The limits. Give the same object to several backends to limit their sum.

    Raises
    ------
    TypeError
        If an argument is of another type.
    """

    def __init__(self, backend: ChatBackend, budget: Budget) -> None:
        super().__init__(backend)
        if not isinstance(budget, Budget):
            raise TypeError(f"The 'budget' argument must be a Budget. Got {type(budget).__name__} instead.")
        self.budget = budget

    def complete_each(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, Outcome]]:
        """Yield replies as they come, sending as many requests at once as the budget holds."""
        start = 0
        while start < len(requests):
            charges, refusal = self._reserve(requests[start:])
            if not charges:
                for position in range(start, len(requests)):
                    yield position, ChatFailure("budget", refusal)
                return
            open_charges = dict(enumerate(charges, start))
            stopped, finished = False, False
            try:
                for index, outcome in complete_each(self.backend, requests[start : start + len(charges)]):
                    charge = open_charges.pop(start + index)
                    if isinstance(outcome, ChatFailure) and outcome.kind == "pending":
                        self.budget.hold(charge, self._key(requests[start + index]))
                    else:
                        self.budget.settle(charge, _taken(charge, outcome))
                    stopped |= isinstance(outcome, ChatFailure) and outcome.stops
                    yield start + index, outcome
                finished = True
            finally:
                # Left out means not sent; after an interruption, requests under way may still be billed.
                for charge in open_charges.values():
                    self.budget.settle(charge, Charge() if finished else charge)
            if stopped:
                return
            start += len(charges)

    def _reserve(self, requests: Sequence[ChatRequest]) -> tuple[list[Charge], str]:
        charges: list[Charge] = []
        for request in requests:
            charge = self.budget.reserve(request, self._key(request), batched=self.capabilities.batched)
            if isinstance(charge, str):
                return charges, charge
            charges.append(charge)
        return charges, ""

    def _key(self, request: ChatRequest) -> str:
        return request_key(request, self.fingerprint())

    def __repr__(self) -> str:
        return f"BudgetedBackend({self.backend!r}, {self.budget!r})"


def _taken(reserved: Charge, outcome: Outcome) -> Charge:
    if isinstance(outcome, ChatReply):
        if outcome.cached:
            return Charge()
        usage = outcome.usage
        taken = Usage(
            usage.input_tokens or reserved.usage.input_tokens,
            usage.output_tokens or reserved.usage.output_tokens,
        )
        return Charge(
            reserved.requests, reserved.images, taken, Usage() if reserved.batched == Usage() else taken
        )
    if outcome.kind == "budget":
        return Charge()
    return reserved if outcome.kind in _MAYBE_BILLED else Charge(reserved.requests, reserved.images)
