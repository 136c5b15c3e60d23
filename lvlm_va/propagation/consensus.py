"""Where critiqued images were judged spurious, taken together: the place of a shortcut that stays in place."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

# A pixel counts that was judged spurious in at least this share of as many images as the pixel most often so judged.
LEVEL = 0.25
# A shortcut stays in place if the map made of the other images holds this share of an image's spurious effect, ...
LEAST_COVERAGE = 0.8
# ... although it is small: a shortcut that moves about leaves a map that is everywhere.
LARGEST_AREA = 0.2


@dataclass(frozen=True, eq=False)
class Consensus:
    """Where a shortcut is.

    Attributes
    ----------
    mask : Tensor of shape (H, W), bool
        True where it is.
    coverage : float
        Mean share of an image's spurious effect that lies in the mask made of all other images; 0 with fewer than two
        images that have any.
    """

    mask: Tensor
    coverage: float

    @property
    def in_place(self) -> bool:
        """Whether the shortcut stays in its place: the mask foretells where it is in an image, and is small."""
        return self.coverage >= LEAST_COVERAGE and float(self.mask.double().mean()) <= LARGEST_AREA


def find_consensus(masks: Tensor, effect: Tensor) -> Consensus:
    """Return where images were judged spurious, and how well the others foretell it.

    Parameters
    ----------
    masks : Tensor of shape (a, H, W), bool
        True where a segment of a critiqued image was judged spurious.
    effect : Tensor of shape (a, H, W), float64
        Effect of each pixel, >= 0.

    Returns
    -------
    Consensus
        Of all images.
    """
    counts = masks.sum(0)
    spurious = (effect * masks).flatten(1).sum(1)
    shown = spurious > 0
    coverage = 0.0
    if int(shown.sum()) > 1:
        others = counts - masks[shown].long()
        levels = LEVEL * others.flatten(1).amax(1)
        inside = (others >= levels[:, None, None]) & (others > 0)
        covered = (effect[shown] * masks[shown] * inside).flatten(1).sum(1)
        coverage = float((covered / spurious[shown]).mean())
    return Consensus((counts >= LEVEL * counts.max()) & (counts > 0), coverage)
