"""What a critic or a judge that asks a model may offer beyond its one method.

Each protocol here is optional, and by itself: whoever has its methods gets what they are for, of whatever class it is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol, TypeGuard, TypeVar

from lvlm_va.backends import Estimate, Prices
from lvlm_va.critique.types import Critic, Critique, CritiqueRequest, Judge, JudgeExample

_Asker = TypeVar("_Asker")
_Kept = TypeVar("_Kept", covariant=True)


class KeepsReplies(Protocol[_Kept]):
    """A critic or judge that can keep its model's replies in a run directory, so that none is paid for twice.

    It needs a ``fingerprint()``, too, on which the directory has no influence.
    """

    def kept_in(self, run_dir: str | os.PathLike[str], /) -> _Kept:
        """Return the same critic or judge, but that keeps replies in a folder.

        Parameters
        ----------
        run_dir : path-like
            The run directory, which need not be there yet. Ours put ``replies.sqlite`` and ``exchanges.jsonl`` into
            it, by `lvlm_va.backends.wrap_backend`; the report counts what is in the latter.

        Returns
        -------
        critic or judge
            Of the same name and fingerprint; the object itself where it keeps them elsewhere.
        """
        ...


class EstimatesCritiques(Critic, Protocol):
    """A critic that can say what its answers will take: for ``estimate_cost`` and dry runs."""

    def estimate_critiques(
        self, requests: Sequence[CritiqueRequest], prices: Prices | None = None
    ) -> Estimate:
        """Return about what `critique` would ask of the model; sends nothing.

        Parameters
        ----------
        requests : sequence of CritiqueRequest
            Images and their segments.
        prices : Prices or None, default=None
            What the model's provider charges; None leaves the cost unknown.

        Returns
        -------
        Estimate
            Of what is not kept yet, such as `lvlm_va.backends.estimate` makes it.
        """
        ...


class BoundsCritiques(Critic, Protocol):
    """A critic that can say how long its critiques may be: for the estimate of the judge that reads them."""

    def longest_critique(self, request: CritiqueRequest) -> Critique:
        """Return a critique of one image as long as it may be, in as many statements; what it says is not read."""
        ...


class EstimatesJudging(Judge, Protocol):
    """A judge that can say what its verdicts will take, as a critic does by `EstimatesCritiques`."""

    def estimate_judging(
        self, critiques: Sequence[Critique], n_segments: Sequence[int], prices: Prices | None = None
    ) -> Estimate:
        """Return about what `judge` would ask of the model for these critiques; sends nothing."""
        ...


class HandsOver(Critic, Protocol):
    """A critic that can hand over its questions long before the answers are wanted: in a provider's batches."""

    @property
    def batch(self) -> bool:
        """Whether it is to be asked so. A judge with a true one gets all critiques in one call."""
        ...

    def hand_over_images(self, requests: Sequence[CritiqueRequest]) -> None:
        """Hand over the questions about images, without waiting for answers; `critique` then fetches these."""
        ...


class TakesExamples(Judge, Protocol):
    """A judge that can be shown a person's verdicts."""

    def with_examples(self, examples: Sequence[JudgeExample]) -> Judge:
        """Return the same judge with these examples in the place of its own."""
        ...


class ChoosesJudge(Critic, Protocol):
    """A critic that knows who is to read its words."""

    def judge_for(self, spec: str | None) -> Judge | None:
        """Return the judge of its critiques.

        Parameters
        ----------
        spec : str or None
            The model that the user names as judge; None where no judge is named.

        Returns
        -------
        Judge or None
            None where none is needed, or where the model is not the critic's own.

        Raises
        ------
        ValueError
            If none is named, and none but a named one will do.
        """
        ...


class ReadsDescriptions(Critic, Protocol):
    """A critic that goes by what the expert says of the classes: for advice on what these words lack."""

    @property
    def reads_descriptions(self) -> bool:
        """Whether it does."""
        ...


class JudgesFamilies(Critic, Protocol):
    """A critic that can judge a family of segments by one question: a `FamilyRequest` among those of `critique`.

    Others are asked about the images of some members, and what they say of these segments are votes.
    """

    @property
    def judges_families(self) -> bool:
        """Whether it does."""
        ...


def keeps_replies(asker: _Asker) -> TypeGuard[KeepsReplies[_Asker]]:
    """Whether a critic or judge has `KeepsReplies`."""
    return hasattr(asker, "kept_in")


def estimates_critiques(critic: Critic) -> TypeGuard[EstimatesCritiques]:
    """Whether a critic has `EstimatesCritiques`."""
    return hasattr(critic, "estimate_critiques")


def bounds_critiques(critic: Critic) -> TypeGuard[BoundsCritiques]:
    """Whether a critic has `BoundsCritiques`."""
    return hasattr(critic, "longest_critique")


def estimates_judging(judge: Judge | None) -> TypeGuard[EstimatesJudging]:
    """Whether a judge has `EstimatesJudging`."""
    return hasattr(judge, "estimate_judging")


def asks_by_batches(asker: Critic | Judge | None) -> bool:
    """Whether a critic or judge is to get all at once, as its ``batch`` says, or its model is known to take long."""
    return any(getattr(asker, name, False) is True for name in ("batch", "answers_later"))


def hands_over(critic: Critic) -> TypeGuard[HandsOver]:
    """Whether a critic has `HandsOver`, and is to be asked so."""
    return asks_by_batches(critic) and hasattr(critic, "hand_over_images")


def reads_descriptions(critic: Critic) -> bool:
    """Whether a critic says that it goes by descriptions, as `ReadsDescriptions` does."""
    return getattr(critic, "reads_descriptions", False) is True


def judges_families(critic: Critic) -> bool:
    """Whether a critic says that it judges families, as `JudgesFamilies` does."""
    return getattr(critic, "judges_families", False) is True


def takes_examples(judge: Judge | None) -> TypeGuard[TakesExamples]:
    """Whether a judge has `TakesExamples`."""
    return hasattr(judge, "with_examples")


def chooses_judge(critic: Critic | None) -> TypeGuard[ChoosesJudge]:
    """Whether a critic has `ChoosesJudge`."""
    return hasattr(critic, "judge_for")
