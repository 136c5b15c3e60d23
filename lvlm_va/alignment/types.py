"""What goes into the training loop and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from lvlm_va.alignment.weighting import Weighting
from lvlm_va.data.findings import outcomes_of
from lvlm_va.data.stored_images import StoredImages, subset


@dataclass(frozen=True, eq=False)
class AlignmentSet:
    """Images with their corrective masks.

    Attributes
    ----------
    images : Tensor of shape (a, C, *spatial), floating, or StoredImages
        Images in [0, 1].
    labels : Tensor of shape (a,), or (a, K) for K findings, int64
        Class numbers; 1 where a finding is present, else 0.
    masks : Tensor of shape (a, *spatial), floating or bool
        1 where a pixel must not matter, 0 where it may. An image without a marked pixel counts like a plain one.
    findings : Tensor of shape (a,), int64, or None
        Which finding each mask is about; an image may come again with another one. None for classes.
    weights : Tensor of shape (a,), floating, or None
        How much each counts in the cross-entropy, where training images have weights. None for all alike.
    """

    images: Tensor | StoredImages
    labels: Tensor
    masks: Tensor
    findings: Tensor | None = None
    weights: Tensor | None = None

    @property
    def outcomes(self) -> Tensor:
        """Which outcome each row's label says of what its mask is about; of classes the labels: (a,), int64."""
        return outcomes_of(self.labels, self.findings)

    def select(self, rows: Tensor) -> AlignmentSet:
        """Return these rows, given by number or by a mask of bool."""
        findings = None if self.findings is None else self.findings[rows]
        weights = None if self.weights is None else self.weights[rows]
        return AlignmentSet(subset(self.images, rows), self.labels[rows], self.masks[rows], findings, weights)


@dataclass(frozen=True)
class History:
    """Curves of one run, a value per epoch.

    Attributes
    ----------
    loss : tuple of float
        ``cross_entropy + rrr_strength * penalty`` averaged over the batches, plus ``l2 * ||theta||^2`` at the end
        of the epoch. With a weighting, the weighted cross-entropy.
    cross_entropy : tuple of float
        Mean cross-entropy of the training rows, alignment rows included, in nats.
    penalty : tuple of float
        Mean penalty of the alignment rows; 0 in plain training.
    rrr_strength : tuple of float
        Lambda at the end of the epoch; 0 in plain training.
    accuracy : tuple of float
        Share of training rows that were right, in [0, 1].
    validation_loss : tuple of float
        Mean cross-entropy of the held-out images, in nats; empty where none are held out.
    validation_accuracy : tuple of float
        Share of held-out images that were right; empty where none are held out.
    validation_score : tuple of float
        Mean of what `train`'s ``points`` returned; empty without.
    seconds : tuple of float
        Wall-clock seconds of the epoch.
    """

    loss: tuple[float, ...] = ()
    cross_entropy: tuple[float, ...] = ()
    penalty: tuple[float, ...] = ()
    rrr_strength: tuple[float, ...] = ()
    accuracy: tuple[float, ...] = ()
    validation_loss: tuple[float, ...] = ()
    validation_accuracy: tuple[float, ...] = ()
    validation_score: tuple[float, ...] = ()
    seconds: tuple[float, ...] = ()

    def until(self, n_epochs: int) -> History:
        """Return the curves of the first epochs."""
        return History(**{name: values[:n_epochs] for name, values in vars(self).items()})


@dataclass(frozen=True)
class Epoch:
    """An epoch that is done, as callbacks are told of it.

    Attributes
    ----------
    stage : {"train", "align"}
        Plain training, or alignment.
    epoch : int
        Its number, from 1.
    n_epochs : int
        How many there are at most.
    loss, cross_entropy, penalty, rrr_strength, accuracy, seconds : float
        Its values in the curves of `History`.
    validation_loss, validation_accuracy, validation_score : float or None
        Likewise; None where they are not measured.
    """

    stage: str
    epoch: int
    n_epochs: int
    loss: float
    cross_entropy: float
    penalty: float
    rrr_strength: float
    accuracy: float
    seconds: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    validation_score: float | None = None

    @classmethod
    def last_of(cls, stage: str, n_epochs: int, history: History) -> Epoch:
        """Return the last epoch of these curves."""
        values = {name: curve[-1] for name, curve in vars(history).items() if curve}
        return cls(stage, len(history.loss), n_epochs, **values)


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """A trained copy of the user's module, and how training went.

    Attributes
    ----------
    module : torch.nn.Module
        The trained copy, in evaluation mode, on the device of training.
    history : History
        Curves, a value per epoch.
    weighting : Weighting or None
        A copy of the caller's weighting, as it was after the last batch.
    stopped : bool
        Whether a callback ended it before its last epoch.
    """

    module: nn.Module
    history: History
    weighting: Weighting | None = None
    stopped: bool = False
