"""What an attribution method returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor, nn

from lvlm_va.common.errors import NotFiniteError


@dataclass(frozen=True, eq=False)
class Explanation:
    """Attributions of one logit per image, and how well they add up.

    Attributes
    ----------
    attributions : Tensor of shape (n, C, H, W)
        Contribution of each input value to ``f_t(x) - mean_b f_t(b)``, in logits.
    target : Tensor of shape (n,), int64
        The class t whose logit is explained.
    output_difference : Tensor of shape (n,), float64
        ``f_t(x) - mean_b f_t(b)`` over the references b, in logits.
    output_scale : Tensor of shape (n,), float64
        ``mean_b |f_t(x) - f_t(b)|``, the scale against which errors are read.
    completeness_error : Tensor of shape (n,), float64
        ``|sum(attributions) - output_difference|``, in logits.
    method : str
        Name of the attribution method.

    Raises
    ------
    NotFiniteError
        If any of these numbers is NaN or infinite; it names the images.
    """

    attributions: Tensor
    target: Tensor
    output_difference: Tensor
    output_scale: Tensor
    completeness_error: Tensor
    method: str

    def __post_init__(self) -> None:
        for name in ("output_difference", "output_scale", "attributions", "completeness_error"):
            values: Tensor = getattr(self, name)
            bad = (~values.isfinite()).flatten(1).any(1) if values.ndim > 1 else ~values.isfinite()
            if bool(bad.any()):
                raise NotFiniteError(
                    f"The {name!r} of an explanation must be finite.", bad.nonzero().flatten().tolist()
                )

    def relative_completeness_error(self) -> float:
        """Return the largest completeness error over the mean output scale (0 for no images)."""
        if not len(self.target):
            return 0.0
        scale = float(self.output_scale.mean())
        error = float(self.completeness_error.max())
        return error / scale if scale > 0 else (0.0 if error == 0 else float("inf"))


class Attributor(Protocol):
    """Anything that attributes a classifier's logits to its input."""

    @property
    def name(self) -> str:
        """Name of the method, as `Explanation.method` carries it."""
        ...

    def attribute(self, module: nn.Module, images: Tensor, target: Tensor, references: Tensor) -> Explanation:
        """Explain the logit ``target[i]`` of ``images[i]`` against the references.

        Parameters
        ----------
        module : torch.nn.Module
            The classifier, as the user made it; it is run in evaluation mode and left as it was.
        images : Tensor of shape (n, C, H, W), or (n, *shape) as the module takes it
            Images, on any device and in any floating dtype; moved to the module's.
        target : Tensor of shape (n,), int64
            Class whose logit is explained.
        references : Tensor of shape (B, C, H, W) or (B, n, C, H, W)
            References shared by all images, or B references for each image.

        Returns
        -------
        Explanation
            On the device of `images`, in the module's dtype.
        """
        ...


def concatenate_explanations(parts: Sequence[Explanation]) -> Explanation:
    """Return the explanations of one method as one.

    Parameters
    ----------
    parts : sequence of Explanation
        At least one, of images of one shape.

    Returns
    -------
    Explanation
        All rows, in order.
    """
    if len(parts) == 1:
        return parts[0]
    names = [field.name for field in fields(Explanation) if field.name != "method"]
    columns = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    return Explanation(**columns, method=parts[0].method)
