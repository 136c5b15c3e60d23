"""How the method is done: the estimator's parameters, resolved and checked once, before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from lvlm_va.alignment import Epoch, TrainingOptions
from lvlm_va.attribution import Explainer
from lvlm_va.common.errors import unknown_name
from lvlm_va.critique import Critic, Judge, VerdictPolicy
from lvlm_va.critique.families import FamilyVerdicts
from lvlm_va.data.training_data import TrainingData
from lvlm_va.propagation import Propagation
from lvlm_va.rounds.drawn_masks import DrawnMasks
from lvlm_va.rounds.held_out import n_held_out
from lvlm_va.sampling import ADAPTIVE, Sampler
from lvlm_va.segmentation import Segmenter

# Images of a survey, from which families are made: none costs a question.
_SURVEY = 1000


@dataclass(frozen=True, eq=False)
class AlignmentOptions:
    """How each step of the method is done.

    Attributes
    ----------
    sampler : callable or "adaptive"
        Chooses the images to critique.
    n_align : int
        How many in each round.
    ask : {"images", "families"}
        What the critic is asked about: each image, or families of segments of all of them.
    n_questions : int
        Most questions in each round, where families are asked about.
    n_rounds : int
        Most rounds of critique and alignment.
    round_tolerance : float in [0, 1]
        Share of the effect in spurious segments up to which a classifier needs no further round.
    explainer : Explainer
        How the classifier is explained.
    segmenter : Segmenter
        How explanations are cut.
    critic : Critic or None
        Who judges segments; None only trains.
    judge : Judge or None
        Who turns critiques in words into verdicts.
    policy : VerdictPolicy
        What followed from what a segment is about, for those who correct verdicts.
    specifications : mapping of str to str
        What should count for each class, in words.
    propagation : Propagation or None
        How verdicts are extended to other images; None: not at all.
    training, aligning : TrainingOptions
        Plain training, and fine-tuning towards the right reasons.
    held_out_fraction : float or None
        Share of the critiqued images that early stopping holds out; None for no early stopping.
    if_worse : {"warn", "restore"}
        What is done with a classifier that alignment made worse: it is told of, or the unaligned one comes back.
    resample : bool
        Whether images of rarer classes come more often in an epoch.
    on_epoch : callable or None
        Told of each `Epoch`; ends that training by StopIteration.
    keep_images : bool
        Whether the run directory may hold training images.
    verbose : int
        1 shows progress bars.
    """

    sampler: Sampler | Literal["adaptive"]
    n_align: int
    explainer: Explainer
    segmenter: Segmenter
    ask: str = "images"
    n_questions: int = 20
    n_rounds: int = 1
    round_tolerance: float = 0.0
    critic: Critic | None = None
    judge: Judge | None = None
    policy: VerdictPolicy = field(default_factory=VerdictPolicy)
    specifications: Mapping[str, str] = field(default_factory=dict)
    propagation: Propagation | None = None
    training: TrainingOptions = field(default_factory=TrainingOptions)
    aligning: TrainingOptions = field(default_factory=TrainingOptions)
    held_out_fraction: float | None = None
    if_worse: str = "warn"
    resample: bool = False
    on_epoch: Callable[[Epoch], object] | None = None
    keep_images: bool = True
    verbose: int = 0

    def check(self, data: TrainingData, drawn: DrawnMasks | None = None) -> None:
        """Check that the critique of these data, or the alignment with drawn masks alone, can be done.

        Raises
        ------
        ValueError
            If a description is of an unknown class, the critic cannot judge the data, there are fewer images than are
            to be critiqued in all rounds, too few for early stopping, or verdicts are to be extended without a critic.
        """
        if self.critic is None:
            if drawn is not None and self.propagation is not None:
                raise ValueError(
                    "The 'propagate' argument extends a critic's verdicts. Got masks alone: name a 'critic', or set "
                    "propagate=False."
                )
            if drawn is not None and self.held_out_fraction is not None:
                n_held_out(len(data.rows_of(drawn.indices).unique()), self.held_out_fraction)
            return
        for label in self.specifications:
            if label not in data.class_names:
                raise unknown_name("specifications", label, data.class_names)
        if isinstance(self.critic, FamilyVerdicts) and self.ask != "families":
            raise ValueError(
                "The 'ask' argument must be 'families' where 'critic' is a mapping of verdicts on families. Got "
                f"{self.ask!r} instead."
            )
        if self.ask == "families":
            self._check_survey(data)
        n, n_rounds, n_findings = len(data.labels), self.n_rounds, max(1, len(data.findings))
        askers: list[Any] = [self.critic, self.judge]
        for asker in askers:
            if hasattr(asker, "check_data"):
                asker.check_data(n, tuple(data.images.shape[2:]), data.class_names)
        if math.ceil(self.n_align / n_findings) * n_rounds > n:
            of_each = f", each with {n_findings} findings" * data.multilabel
            raise ValueError(
                f"The 'n_align' argument must be at most {n // n_rounds * n_findings}, for {n_rounds} "
                f"round{'s' * (n_rounds > 1)} of different images out of {n}{of_each}. Got {self.n_align} instead."
            )
        if self.held_out_fraction is not None:
            n_held_out(math.ceil(self.n_align / n_findings), self.held_out_fraction)

    def _check_survey(self, data: TrainingData) -> None:
        if self.sampler == ADAPTIVE:
            raise ValueError(
                "The 'sampler' argument must choose by probabilities alone with ask='families': nothing is known yet "
                "when images are surveyed. Got 'adaptive' instead."
            )
        if data.multilabel:
            raise ValueError(
                "The 'ask' argument must be 'images' for several findings per image: what is spurious for one may "
                "count for another. Got 'families' instead."
            )

    def for_images(self, n: int) -> AlignmentOptions:
        """Return these for n training images: a survey takes 1,000 in each round, or `n_align` if that is more."""
        if self.ask != "families":
            return self
        return replace(self, n_align=max(1, min(max(self.n_align, _SURVEY), n // self.n_rounds)))

    def asking_nobody(self) -> AlignmentOptions:
        """Return these without critic and judge."""
        return replace(self, critic=None, judge=None)
