"""What a net's outputs say: one of several classes, one finding, or several findings at once.

Everything else asks here instead of taking a softmax itself. Three kinds of heads are read:

- K logits, labels (n,): one of K classes, a softmax.
- One logit z, labels (n,) of 0 and 1: two classes, a sigmoid. It is the softmax of the two logits (-z/2, z/2).
- K logits, labels (n, K) of 0 and 1: K findings, each with a sigmoid of its own.

An *outcome* is what an explanation is about: a class, or that finding k is absent (number 2k) or present (2k + 1). Its
logit is the net's own, or -z and z.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlm_va.modules.logits import forward_logits


def sided_logits(logits: Tensor, *, multilabel: bool) -> Tensor:
    """Return logits as groups of outcomes that exclude each other: a softmax over the last dimension.

    Parameters
    ----------
    logits : Tensor of shape (n, K)
        As the net returns them.
    multilabel : bool
        Whether each stands for a finding of its own.

    Returns
    -------
    Tensor of shape (n, 1, K), (n, 1, 2) for one logit, or (n, K, 2) for findings
        Of a logit z, -z/2 and z/2.
    """
    if multilabel or logits.shape[1] == 1:
        half = logits / 2
        return torch.stack([-half, half], -1)
    return logits[:, None]


def decisions(logits: Tensor, *, multilabel: bool) -> Tensor:
    """Return the most probable class (n,), or whether each finding is present (n, K): int64."""
    found = sided_logits(logits, multilabel=multilabel).argmax(-1)
    return found if multilabel else found[:, 0]


def probabilities(logits: Tensor, *, multilabel: bool) -> Tensor:
    """Return class probabilities (n, n_classes), of one logit two; of findings, that each is present (n, K)."""
    found = sided_logits(logits, multilabel=multilabel).softmax(-1)
    return found[..., 1] if multilabel else found[:, 0]


def outcome_probabilities(logits: Tensor, findings: Tensor | None) -> Tensor:
    """Return the probabilities of all outcomes (n, n_outcomes) of which each row's finding has some; of others 0.

    Parameters
    ----------
    logits : Tensor of shape (n, K)
        As the net returns them.
    findings : Tensor of shape (n,), int64, or None
        Which finding each row is about; None for classes.
    """
    found = sided_logits(logits, multilabel=findings is not None).softmax(-1)
    if findings is None:
        return found[:, 0]
    own = torch.arange(logits.shape[1]) == findings[:, None]
    return (found * own[..., None]).flatten(1)


def row_losses(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Return the loss of each row in nats: its cross-entropy, or the mean of its findings' binary ones.

    Parameters
    ----------
    logits : Tensor of shape (n, K)
        As the net returns them.
    labels : Tensor of shape (n,), or (n, K) for findings, int64
        Class numbers; 1 where a finding is present, else 0.
    class_weights : Tensor of shape (n_classes,), optional
        Factor of each class.
    """
    sides = sided_logits(logits, multilabel=labels.ndim == 2)
    if labels.ndim == 1:
        return F.cross_entropy(sides[:, 0], labels, class_weights, reduction="none")
    return F.cross_entropy(sides.movedim(-1, 1), labels, reduction="none").mean(1)


def share_correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Return for each row (n,) whether it is right, or the share of its findings that are; arguments as above."""
    right = decisions(logits, multilabel=labels.ndim == 2) == labels
    return right.to(logits.dtype).mean(1) if labels.ndim == 2 else right


def log_probability_sums(logits: Tensor, findings: Tensor | None) -> Tensor:
    """Return ``sum_k log y_k`` (n,) over the outcomes of each row: what the penalty differentiates.

    Parameters
    ----------
    logits : Tensor of shape (n, K)
        As the net returns them.
    findings : Tensor of shape (n,), int64, or None
        Which finding of each row counts, the others' evidence being no business of its mask; None for classes.
    """
    sums = sided_logits(logits, multilabel=findings is not None).log_softmax(-1).sum(-1)
    return sums[:, 0] if findings is None else sums.gather(1, findings[:, None])[:, 0]


class Outcomes(nn.Module):
    """A net with a logit per finding as one with a logit per outcome: -z where it is absent, z where it is present.

    Explanations of "absent" are then what speaks against the finding. Linear, so they stay exact.

    Parameters
    ----------
    module : torch.nn.Module
        Returns logits of shape (n, K).
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of all outcomes, (n, 2K)."""
        logits = forward_logits(self.module, images)
        signs = torch.tensor([[-1.0], [1.0]], device=logits.device, dtype=logits.dtype)
        return F.linear(logits, torch.kron(torch.eye(logits.shape[1]).to(signs), signs))


class OneLogit(nn.Module):
    """A net with several logits of which one is left: of several findings, a net that tells one.

    Parameters
    ----------
    module : torch.nn.Module
        Returns logits of shape (n, K).
    number : int
        Which is left.
    """

    def __init__(self, module: nn.Module, number: int) -> None:
        super().__init__()
        self.module, self.number = module, number

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, 1)."""
        return forward_logits(self.module, images)[:, self.number : self.number + 1]
