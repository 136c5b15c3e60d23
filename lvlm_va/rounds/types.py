"""What flows through the method, from one step to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lvlm_va.alignment import History
from lvlm_va.attribution import Explanation, concatenate_explanations
from lvlm_va.critique import Critique, VerdictTable
from lvlm_va.interventions import TransplantTrial
from lvlm_va.modules.logits import on_cpu
from lvlm_va.propagation import Propagated
from lvlm_va.rounds.comparison import Comparison
from lvlm_va.rounds.drawn_masks import DrawnMasks
from lvlm_va.rounds.families import AskedFamilies
from lvlm_va.rounds.verdict_codes import VerdictCodes
from lvlm_va.segmentation import Segmentation, concatenate_segmentations


@dataclass(frozen=True, eq=False)
class Trained:
    """A classifier that the training loop has made.

    Attributes
    ----------
    module : torch.nn.Module
        The classifier.
    key : str
        Stands for everything that it depends on.
    histories : tuple of History
        Curves of the runs of the loop, the latest last.
    remarks : tuple of str
        What must be told of it: that it follows what masks cannot mend.
    """

    module: nn.Module
    key: str
    histories: tuple[History, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Selection:
    """Cases of the training data chosen for critique: int64 tensor of shape (a,)."""

    indices: Tensor


@dataclass(frozen=True, eq=False)
class Explained:
    """Cases chosen for critique, with their segments.

    Attributes
    ----------
    indices : Tensor of shape (a,), int64
        Cases of the training data: rows of it where labels are classes; see `TrainingData`.
    images : Tensor of shape (a, 3, H, W), uint8
        What the critic is shown of them.
    explanation : Explanation
        Attributions of the logits of their labels.
    segmentation : Segmentation
        Segments of those attributions.
    key : str
        Stands for everything that the segments depend on.
    """

    indices: Tensor
    images: Tensor
    explanation: Explanation
    segmentation: Segmentation
    key: str


@dataclass(frozen=True, eq=False)
class Round:
    """What one round of critique found.

    Attributes
    ----------
    module : torch.nn.Module
        The classifier that was looked into.
    indices : Tensor of shape (a,), int64
        Cases of the training data that were critiqued.
    explanation : Explanation
        Attributions of the logits of their labels.
    segmentation : Segmentation
        Segments of those attributions.
    critiques : tuple of Critique
        What the critic said, one per image, with the judge's verdicts.
    key : str
        Stands for everything that those depend on.
    codes : VerdictCodes
        The verdicts that count: those of the critiques, until somebody corrects them.
    families : AskedFamilies or None
        The families that were asked about; None where images were.
    """

    module: nn.Module
    indices: Tensor
    explanation: Explanation
    segmentation: Segmentation
    critiques: tuple[Critique, ...]
    key: str
    codes: VerdictCodes
    families: AskedFamilies | None = None

    def judged_by(self, verdicts: VerdictTable) -> Round:
        """Return the round with the verdicts of a table."""
        return replace(self, codes=VerdictCodes.of(self.segmentation, self.critiques, verdicts))

    @property
    def spurious_share(self) -> float:
        """Mean over the images of the share of the effect in segments judged spurious, in [0, 1]."""
        return float((self.segmentation.shares * self.codes.spurious).sum(1).mean())


@dataclass(frozen=True, eq=False)
class Aligned:
    """How far the method has come: at first a trained classifier, in the end an aligned one.

    Attributes
    ----------
    start, latest : Trained
        The classifier before alignment, which every alignment begins with, and after the latest one; where that made
        it worse and it was restored, the unaligned one with the latest one's curves.
    verdicts : VerdictTable
        Verdicts on the segments of all rounds.
    rounds : tuple of Round
        What was critiqued, with these verdicts.
    spurious_share : tuple of float
        For each round, the mean share of its images' effect in segments that the critic judged spurious.
    propagated : Propagated or None
        What the latest alignment extended the verdicts to.
    drawn : DrawnMasks or None
        Masks that people drew; they hold against verdicts.
    comparison : Comparison or None
        The classifier before and after the latest alignment.
    """

    start: Trained
    latest: Trained
    verdicts: VerdictTable
    rounds: tuple[Round, ...] = ()
    spurious_share: tuple[float, ...] = ()
    propagated: Propagated | None = None
    drawn: DrawnMasks | None = None
    comparison: Comparison | None = None

    @property
    def indices(self) -> Tensor:
        """Cases of the training data that were critiqued: int64 tensor of shape (a,), round by round."""
        return chosen_indices(self.rounds)

    @property
    def explanation(self) -> Explanation:
        """Their attributions."""
        return concatenate_explanations([found.explanation for found in self.rounds])

    @property
    def segmentation(self) -> Segmentation:
        """Their segments."""
        return concatenate_segmentations([found.segmentation for found in self.rounds])

    @property
    def critiques(self) -> tuple[Critique, ...]:
        """What the critic said of them."""
        return tuple(critique for found in self.rounds for critique in found.critiques)

    @property
    def trial(self) -> TransplantTrial | None:
        """Whether predictions follow what was judged spurious; None where nothing was, or nothing was aligned."""
        return None if self.comparison is None else self.comparison.trial

    def judged_by(self, verdicts: VerdictTable) -> Aligned:
        """Return this with the verdicts of a table."""
        return replace(self, verdicts=verdicts, rounds=tuple(r.judged_by(verdicts) for r in self.rounds))

    def on_cpu(self) -> Aligned:
        """Return this with all classifiers on the CPU."""
        start, latest = (replace(part, module=on_cpu(part.module)) for part in (self.start, self.latest))
        rounds = tuple(replace(found, module=on_cpu(found.module)) for found in self.rounds)
        return replace(self, start=start, latest=latest, rounds=rounds)


def chosen_indices(rounds: Sequence[Round]) -> Tensor:
    """Return the cases of the training data critiqued in these rounds, in order."""
    return torch.cat([torch.empty(0, dtype=torch.int64), *(part.indices for part in rounds)])


def join_portions(portions: Sequence[Round]) -> Round:
    """Return the portions of one round, which looked into one module, as that round."""
    if len(portions) == 1:
        return portions[0]
    segmentation = concatenate_segmentations([part.segmentation for part in portions])
    critiques = tuple(critique for part in portions for critique in part.critiques)
    return Round(
        portions[-1].module,
        chosen_indices(portions),
        concatenate_explanations([part.explanation for part in portions]),
        segmentation,
        critiques,
        portions[-1].key,
        VerdictCodes.of(segmentation, critiques),
    )
