"""Check what an attribution method is given, and sum up what it found."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lvlm_va.attribution.frozen import FrozenModule
from lvlm_va.attribution.types import Explanation
from lvlm_va.modules.logits import not_finite


@dataclass(frozen=True, eq=False)
class Inputs:
    """Images, targets and references on the module's device and in its dtype.

    Attributes
    ----------
    frozen : FrozenModule
        The classifier.
    images : Tensor of shape (n, *shape)
        Images.
    target : Tensor of shape (n,), int64
        Class whose logit is explained.
    references : Tensor of shape (B, 1, *shape) or (B, n, *shape)
        References shared by the images, or B of its own for each.
    device : torch.device
        Where the images came from and the explanation goes.
    """

    frozen: FrozenModule
    images: Tensor
    target: Tensor
    references: Tensor
    device: torch.device

    @property
    def per_image(self) -> bool:
        """Whether each image has references of its own."""
        return self.references.shape[1] > 1

    @classmethod
    def check(cls, frozen: FrozenModule, images: Tensor, target: Tensor, references: Tensor) -> Inputs:
        """Return the checked arguments of an attribution method.

        Raises
        ------
        TypeError
            If an argument is no tensor of the kind expected.
        ValueError
            If shapes do not fit, or an image or reference holds NaN or infinity.
        """
        for name, tensor in (("images", images), ("references", references)):
            if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
                got = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
                raise TypeError(f"The {name!r} argument must be a floating-point tensor. Got {got} instead.")
            if not bool(tensor.isfinite().all()):
                raise ValueError(f"The {name!r} argument must be finite. Got NaN or infinity instead.")
        if images.ndim < 2:
            raise ValueError(
                "The 'images' argument must have shape (n, C, H, W) or (n, *shape). "
                f"Got {tuple(images.shape)} instead."
            )
        if not isinstance(target, Tensor) or target.is_floating_point() or target.is_complex():
            got = target.dtype if isinstance(target, Tensor) else type(target).__name__
            raise TypeError(f"The 'target' argument must be an integer tensor. Got {got} instead.")
        if target.shape != images.shape[:1]:
            raise ValueError(
                f"The 'target' argument must have shape ({len(images)},), one class per image. "
                f"Got {tuple(target.shape)} instead."
            )
        n, shape = len(images), images.shape[1:]
        shared = references.shape[1:] == shape
        if not len(references) or not (shared or references.shape[1:] == (n, *shape)):
            raise ValueError(
                f"The 'references' argument must have shape {('B', *shape)} or {('B', n, *shape)}, "
                f"B >= 1. Got {tuple(references.shape)} instead."
            )
        with torch.inference_mode(False):
            return cls(
                frozen,
                images.detach().to(frozen.device, frozen.dtype, copy=True),
                target.to(frozen.device, torch.int64, copy=True),
                (references.unsqueeze(1) if shared else references)
                .detach()
                .to(frozen.device, frozen.dtype, copy=True),
                images.device,
            )

    def scores(self, logits: Tensor, rows: slice) -> Tensor:
        """Return from logits (..., n, K) those of the targets of the images `rows`, (..., n).

        Raises
        ------
        ValueError
            If a target is no class of the module.
        """
        target = self.target[rows]
        n_classes = logits.shape[-1]
        if bool(((target < 0) | (target >= n_classes)).any()):
            raise ValueError(
                f"The 'target' argument must hold classes from 0 to {n_classes - 1}, the module's logits. "
                f"Got {sorted(set(target.tolist()))} instead."
            )
        return logits.gather(-1, target.expand(*logits.shape[:-2], -1).unsqueeze(-1)).squeeze(-1)

    def explain(
        self, method: str, attributions: Tensor, scores: Tensor, reference_scores: Tensor
    ) -> Explanation:
        """Return the explanation, completeness measured in float64.

        Parameters
        ----------
        method : str
            Name of the method.
        attributions : Tensor of shape (n, *shape)
            Contributions.
        scores : Tensor of shape (n,)
            Target logits of the images.
        reference_scores : Tensor of shape (B, n)
            Target logits of the references, for each image's target.

        Raises
        ------
        NotFiniteError
            If logits or attributions of an image are NaN or infinite.
        FloatingPointError
            If logits of a reference are.
        """
        self._require_finite(scores, reference_scores)
        differences = scores.detach().double() - reference_scores.detach().double()
        mean = differences.mean(0)
        total = attributions.flatten(1).sum(1, dtype=torch.float64)
        return Explanation(
            attributions=attributions.to(self.device),
            target=self.target.to(self.device),
            output_difference=mean.to(self.device),
            output_scale=differences.abs().mean(0).to(self.device),
            completeness_error=(total - mean).abs().to(self.device),
            method=method,
        )

    def _require_finite(self, scores: Tensor, reference_scores: Tensor) -> None:
        bad = (~scores.isfinite()).nonzero().flatten()
        if len(bad):
            image = self.images[bad[:1]]
            raise not_finite(self.frozen.module, bad.tolist(), lambda: self.frozen.logits(image))
        bad = (~reference_scores.isfinite()).any(1).nonzero().flatten()
        if len(bad):
            raise FloatingPointError(
                "The 'module' argument must return finite logits for the 'references' argument. "
                f"Got NaN or infinity for references {bad.tolist()} instead."
            )
