"""A net and what comes before it: the step from images in [0, 1] to what the net was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lvlm_va.common.fingerprint import fingerprint
from lvlm_va.modules.logits import evaluating
from lvlm_va.modules.outputs import OutputPart


class Preprocessed(nn.Module):
    """A module that sees images as it was trained on them; what is trained, explained and aligned is this one.

    Parameters
    ----------
    module : torch.nn.Module
        The classifier.
    preprocess : torch.nn.Module
        From images (n, C, H, W) in [0, 1] to what `module` takes; always in evaluation mode, never trained.
    """

    def __init__(self, module: nn.Module, preprocess: nn.Module) -> None:
        super().__init__()
        # In this order: device and dtype of the whole are those of its first parameter.
        self.module, self.preprocess = module, preprocess.eval()

    def forward(self, images: Tensor) -> Any:
        """Return what the classifier says of images in [0, 1]."""
        return self.module(self.preprocess(images))

    def train(self, mode: bool = True) -> Preprocessed:
        """Set the mode of the classifier alone."""
        super().train(mode)
        self.preprocess.eval()
        return self


class Normalisation(nn.Module):
    """Takes a mean from each channel and divides it by a standard deviation: affine, so attributions stay exact.

    Parameters
    ----------
    mean, std : sequence of float
        One number per channel, of images in [0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float64)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Return normalised images, (n, C, H, W)."""
        return (images - self.mean) / self.std


class Called(nn.Module):
    """A function of images as a part of a module.

    Parameters
    ----------
    function : callable
        Takes and returns a tensor.
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        """Return what the function does."""
        return self.function(images)

    def fingerprint(self) -> str:
        """Return what stands for the function, which may be any object that can be called."""
        return fingerprint(self.function)


def with_preprocess(module: nn.Module, preprocess: nn.Module | None) -> nn.Module:
    """Return a module as it takes images in [0, 1]; the module itself where nothing comes before it."""
    return module if preprocess is None else Preprocessed(module, preprocess)


def own_module(module: nn.Module) -> nn.Module:
    """Return the user's own module, without what we put before and behind it."""
    return own_module(module.module) if isinstance(module, Preprocessed | OutputPart) else module


def preprocessed(preprocess: nn.Module, sample: Tensor, *, differentiable: bool) -> Tensor:
    """Return a few images as a module is to see them, and say clearly what does not fit.

    Parameters
    ----------
    preprocess : torch.nn.Module
        What comes before the module, on the CPU.
    sample : Tensor of shape (n, C, H, W)
        A few images in [0, 1], n >= 1.
    differentiable : bool
        Whether a gradient must reach the images.

    Returns
    -------
    Tensor of shape (n, ...)
        Without a graph.

    Raises
    ------
    ValueError
        If it raises, returns something else than a finite tensor of the images' type, one row per image and each from
        its image alone, changes the images in place, or passes no gradient on.
    """
    says = "The 'preprocess' argument must"
    images = sample.detach().clone()
    with evaluating(preprocess), torch.enable_grad():
        try:
            found = preprocess(images)
            alone = preprocess(sample[:1].detach().clone())
            leaf = sample.detach().clone().requires_grad_(differentiable)
            out = preprocess(leaf * 1)
        except Exception as error:  # whatever the user's function raises
            raise ValueError(
                f"{says} take a tensor of shape {('n', *sample.shape[1:])}, images in [0, 1]. It raised: {error}"
            ) from error
        if not isinstance(found, Tensor) or len(found) != len(sample) or found.dtype != sample.dtype:
            kind = type(found).__name__
            if isinstance(found, Tensor):
                kind = f"{found.dtype} of shape {tuple(found.shape)}"
            raise ValueError(
                f"{says} return a tensor of {len(sample)} rows for {len(sample)} images, in their type, "
                f"{sample.dtype}. Got {kind} instead."
            )
        if not torch.equal(images, sample):
            raise ValueError(f"{says} return a new tensor. It changed the images in place.")
        if not bool(found.isfinite().all()):
            raise ValueError(f"{says} return finite values. Got NaN or infinite ones for images in [0, 1].")
        if not torch.allclose(found[:1], alone, rtol=1e-3, atol=1e-3):
            raise ValueError(
                f"{says} treat each image by itself, and always alike. Got other values for an image alone than beside "
                "another one: normalise by constants, and leave out random transforms."
            )
        reached: tuple[Tensor | None, ...] = ()
        if differentiable and out.requires_grad:
            reached = torch.autograd.grad(out.sum(), [leaf], allow_unused=True)
        if differentiable and (not reached or reached[0] is None):
            raise ValueError(
                f"{says} be differentiable: no gradient arrives at the image. Remove numpy, detach() or rounding."
            )
    return found.detach()


def describe_preprocess(preprocess: nn.Module | None) -> dict[str, Any] | None:
    """Return as JSON values what comes before a module: mean and std per channel, or a function's name."""
    if isinstance(preprocess, Normalisation):
        values = {name: getattr(preprocess, name).flatten().cpu().numpy() for name in ("mean", "std")}
        # As short as their precision allows: 0.485, not 0.48500001430511475.
        return {name: [float(str(number)) for number in array] for name, array in values.items()}
    if preprocess is None:
        return None
    own = preprocess.function if isinstance(preprocess, Called) else type(preprocess)
    return {"function": getattr(own, "__qualname__", type(own).__name__)}
