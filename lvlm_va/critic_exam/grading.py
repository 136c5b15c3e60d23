"""How right a critic was on one set of the exam, and what it confused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lvlm_va.critic_exam.sets import Questions
from lvlm_va.critique import Critique
from lvlm_va.metrics import wilson_interval


@dataclass(frozen=True)
class Error:
    """A segment on which a critic was wrong, or undecided.

    Attributes
    ----------
    image_id : str
        Name of the image.
    segment : int
        Its number.
    artefact : bool
        Whether it is one.
    verdict, content, reason, status : str
        What was said; see `lvlm_va.critique.SegmentVerdict`.
    inside : float
        Share of its effect that lies in the shortcut.
    """

    image_id: str
    segment: int
    artefact: bool
    verdict: str
    content: str
    reason: str
    status: str
    inside: float


@dataclass(frozen=True)
class Grade:
    """How right a critic was on one set.

    Attributes
    ----------
    images, segments, artefacts : int
        How many there were, and how many of the segments are artefacts.
    decided : int
        Segments judged spurious or relevant.
    verdict_accuracy : float
        Share of right ones among the decided; NaN where none is.
    interval : (float, float)
        Its 95 % Wilson interval.
    recall, recall_interval : float, (float, float)
        Share of the artefacts that were called spurious.
    precision, precision_interval : float, (float, float)
        Share of artefacts among what was called spurious.
    masked_rightly, masked_wrongly : float
        Share of an image's effect in segments called spurious that are and are not artefacts; mean over images.
    confusion : mapping of str to mapping of str to int
        What was said (content, or verdict where none), of artefacts and of the others.
    errors : tuple of Error
        The wrong and the undecided ones.
    """

    images: int
    segments: int
    artefacts: int
    decided: int
    verdict_accuracy: float
    interval: tuple[float, float]
    recall: float
    recall_interval: tuple[float, float]
    precision: float
    precision_interval: tuple[float, float]
    masked_rightly: float
    masked_wrongly: float
    confusion: Mapping[str, Mapping[str, int]]
    errors: tuple[Error, ...] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values, the errors left out."""
        return {name: value for name, value in asdict(self).items() if name != "errors"}


def grade(questions: Questions, critiques: Sequence[Critique]) -> Grade:
    """Compare what a critic said of a set's images, in their order, with the truth."""
    right = decided = 0
    called = {True: 0, False: 0}  # called spurious, by whether it is an artefact
    masked = {True: 0.0, False: 0.0}
    confusion: dict[str, dict[str, int]] = {"artefact": {}, "no artefact": {}}
    errors = []
    for row, critique in enumerate(critiques):
        said = {verdict.segment: verdict for verdict in critique.verdicts}
        for segment in range(1, questions.requests[row].n_segments + 1):
            artefact, verdict = bool(questions.spurious[row, segment - 1]), said[segment]
            words = confusion["artefact" if artefact else "no artefact"]
            word = verdict.content or verdict.verdict
            words[word] = words.get(word, 0) + 1
            if verdict.verdict != "unsure":
                decided += 1
                right += (verdict.verdict == "spurious") == artefact
            if verdict.verdict == "spurious":
                called[artefact] += 1
                masked[artefact] += float(questions.shares[row, segment - 1])
            if verdict.verdict != ("spurious" if artefact else "relevant"):
                errors.append(
                    Error(
                        critique.image_id,
                        segment,
                        artefact,
                        verdict.verdict,
                        verdict.content,
                        verdict.reason,
                        verdict.status,
                        float(questions.inside[row, segment - 1]),
                    )
                )
    n_images, n_artefacts = len(critiques), int(questions.spurious.sum())
    n_called = sum(called.values())
    return Grade(
        images=n_images,
        segments=sum(request.n_segments for request in questions.requests),
        artefacts=n_artefacts,
        decided=decided,
        verdict_accuracy=_share(right, decided),
        interval=_interval(right, decided),
        recall=_share(called[True], n_artefacts),
        recall_interval=_interval(called[True], n_artefacts),
        precision=_share(called[True], n_called),
        precision_interval=_interval(called[True], n_called),
        masked_rightly=masked[True] / n_images,
        masked_wrongly=masked[False] / n_images,
        confusion=confusion,
        errors=tuple(errors),
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _interval(part: int, whole: int) -> tuple[float, float]:
    return wilson_interval(part, whole) if whole else (0.0, 1.0)
