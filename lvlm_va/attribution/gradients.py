"""Integrated gradients and gradient times input, behind the interface of DeepLIFT SHAP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from lvlm_va.attribution.convolution import Convolutions
from lvlm_va.attribution.frozen import FrozenModule, not_differentiable
from lvlm_va.attribution.gaps import INCOMPLETE, causes, unmet_calls
from lvlm_va.attribution.inputs import Inputs
from lvlm_va.attribution.interception import DeepLiftMode
from lvlm_va.attribution.tape import Tape
from lvlm_va.attribution.types import Explanation
from lvlm_va.common.validation import is_integer
from lvlm_va.common.warnings import warn


@dataclass(frozen=True)
class IntegratedGradients:
    """Integrated gradients, averaged over the references.

    ``phi = mean_b (x - b) * integral_0^1 df_t/dx (b + a (x - b)) da`` (Sundararajan et al. 2017, arXiv
    1703.01365), the integral by Gauss-Legendre quadrature. Complete up to the error of the quadrature, which
    kinks such as ReLU's make fall slowly with `n_steps`.

    Parameters
    ----------
    n_steps : int
        Nodes of the quadrature, >= 1.
    batch_size : int
        Rows that the module sees at a time, >= 1.
    """

    n_steps: int = 50
    batch_size: int = 64
    name: str = field(default="integrated_gradients", init=False)

    def __post_init__(self) -> None:
        _require_positive("n_steps", self.n_steps)
        _require_positive("batch_size", self.batch_size)

    def attribute(self, module: nn.Module, images: Tensor, target: Tensor, references: Tensor) -> Explanation:
        """Explain the logit ``target[i]`` of ``images[i]``; see `DeepLiftShap.attribute`."""
        frozen = FrozenModule(module)
        inputs = Inputs.check(frozen, images, target, references)
        x = inputs.images
        nodes, weights = np.polynomial.legendre.leggauss(self.n_steps)
        with frozen.running():
            scores, reference_scores = _scores(frozen, inputs, self.batch_size)
            attributions = torch.zeros_like(x)
            for node, weight in zip(0.5 * (nodes + 1), 0.5 * weights, strict=True):
                for reference in inputs.references:
                    change = x - reference
                    gradients = _gradients(frozen, inputs, reference + float(node) * change, self.batch_size)
                    gradients.masked_fill_(change == 0, 0)  # it may be infinite, as that of a root at 0
                    attributions.addcmul_(change, gradients, value=float(weight) / len(inputs.references))
            explanation = inputs.explain(self.name, attributions, scores, reference_scores)
            if explanation.relative_completeness_error() > INCOMPLETE:
                _warn_of_gaps(frozen, x[:1], explanation)
            return explanation


@dataclass(frozen=True)
class GradientXInput:
    """Gradient times input: ``phi = x * df_t/dx``.

    The references take no part in the attributions. Completeness is measured against them all the same, as
    for every method, and does not hold but by chance: for a piecewise linear module without biases and
    references of zeros.

    Parameters
    ----------
    batch_size : int
        Rows that the module sees at a time, >= 1.
    """

    batch_size: int = 64
    name: str = field(default="gradient_x_input", init=False)

    def __post_init__(self) -> None:
        _require_positive("batch_size", self.batch_size)

    def attribute(self, module: nn.Module, images: Tensor, target: Tensor, references: Tensor) -> Explanation:
        """Explain the logit ``target[i]`` of ``images[i]``; see `DeepLiftShap.attribute`."""
        frozen = FrozenModule(module)
        inputs = Inputs.check(frozen, images, target, references)
        with frozen.running():
            scores, reference_scores = _scores(frozen, inputs, self.batch_size)
            gradients = _gradients(frozen, inputs, inputs.images, self.batch_size)
            gradients.masked_fill_(inputs.images == 0, 0)
            return inputs.explain(self.name, inputs.images * gradients, scores, reference_scores)


def _warn_of_gaps(frozen: FrozenModule, image: Tensor, explanation: Explanation) -> None:
    """Warn of what has no gradient, or one of its own making: more steps do not mend that."""
    tape, start = Tape(), image.clone().requires_grad_().clone()
    with DeepLiftMode(tape, Convolutions(frozen.dtype)):
        logits = frozen.logits(start)
    sentences = causes(tape, unmet_calls(logits))
    if sentences:
        relative = explanation.relative_completeness_error()
        sentences.append(
            f"The attributions miss the output difference by up to {relative:.2g} of its mean size."
        )
        warn(" ".join(sentences))


def _require_positive(name: str, value: object) -> None:
    if not is_integer(value, 1):
        raise ValueError(f"The {name!r} argument must be a positive integer. Got {value!r} instead.")


def _blocks(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def _gradients(frozen: FrozenModule, inputs: Inputs, points: Tensor, batch_size: int) -> Tensor:
    """Return the gradient of each image's target logit at its point."""
    gradients = torch.empty_like(points)
    for rows in _blocks(len(points), batch_size):
        leaf = points[rows].detach().requires_grad_()
        # A copy, so that a module that starts with an in-place call may.
        score = inputs.scores(frozen.logits(leaf.clone()), rows).sum()
        gradient = torch.autograd.grad(score, leaf, allow_unused=True)[0] if score.requires_grad else None
        if gradient is None:
            raise not_differentiable()
        gradients[rows] = gradient
    return gradients


def _scores(frozen: FrozenModule, inputs: Inputs, batch_size: int) -> tuple[Tensor, Tensor]:
    """Return the target logits of the images (n,) and of the references (B, n)."""
    n = len(inputs.images)
    with torch.no_grad():
        scores = inputs.images.new_zeros(n)
        reference_scores = scores.new_zeros(len(inputs.references), n)
        if not n:
            return scores, reference_scores
        for rows in _blocks(n, batch_size):
            scores[rows] = inputs.scores(frozen.logits(inputs.images[rows]), rows)
        flat = inputs.references.flatten(0, 1)
        logits = torch.cat([frozen.logits(flat[rows]) for rows in _blocks(len(flat), batch_size)])
        logits = logits.unflatten(0, inputs.references.shape[:2]).expand(-1, n, -1)
        return scores, inputs.scores(logits, slice(0, n))
