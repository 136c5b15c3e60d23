"""Segments by SLIC superpixels of the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lvlm_va.common.effect import Effect
from lvlm_va.common.validation import check_integer, check_real
from lvlm_va.segmentation.cells import segment_images
from lvlm_va.segmentation.effect import check_effect
from lvlm_va.segmentation.types import Segmentation


@dataclass(frozen=True)
class SLIC:
    """SLIC superpixels of the image (Achanta et al. 2012; scikit-image's), to compare with.

    A superpixel that holds at least `min_share` of the effect is a segment; of more than
    `n_segments` of them the strongest are kept. The labelled pixels are those with effect; the
    others, and those of weaker superpixels, belong to no segment. Needs scikit-image:
    ``pip install 'lvlm-va[slic]'``.

    Parameters
    ----------
    n_segments : int, default=16
        Number of superpixels asked for, and the most that are kept (SLIC may make a few more).
    compactness : float, default=10
        Weight of nearness against likeness of colour, > 0. Images are compared in Lab; grey ones are
        repeated to three channels, so that the number means the same for them.
    min_share : float, default=0.02
        Least share of the effect of a segment, in [0, 1).
    effect : {"positive", "absolute"}, default="positive"
        Which effect of a pixel counts: what it adds to the explained logit, or how much it changes it either way.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong type or out of its range.
    """

    n_segments: int = 16
    compactness: float = 10.0
    min_share: float = 0.02
    effect: Effect = "positive"

    name: ClassVar[str] = "slic"

    def __post_init__(self) -> None:
        check_integer("n_segments", self.n_segments, 1)
        check_real("compactness", self.compactness, "(0, inf)", expected="positive")
        check_real("min_share", self.min_share, "[0, 1)")
        check_effect(self.effect)

    def segment(self, attributions: Tensor, images: Tensor, seed: int) -> Segmentation:
        """Cut each image into superpixels and weigh them by its attribution map.

        Parameters
        ----------
        attributions : Tensor of shape (n, C, H, W)
            Finite attributions of one logit per image.
        images : Tensor of shape (n, C, H, W)
            The images, in [0, 1].
        seed : int
            Without effect: nothing is random.

        Returns
        -------
        Segmentation
            `n_segments` columns. Shares are those of the superpixels, so they sum to 1 less what the weak
            ones hold.

        Raises
        ------
        ImportError
            If scikit-image is not installed.
        TypeError
            If the attributions are no floating tensor.
        ValueError
            If the attributions or the images have another shape or are not finite.
        """
        slic = _import_slic()

        def superpixels(image: Tensor) -> Tensor:
            channels_last = image.movedim(0, -1).double().cpu().numpy()
            if channels_last.shape[-1] == 1:
                channels_last = channels_last.repeat(3, axis=-1)
            cells = slic(
                channels_last,
                n_segments=int(self.n_segments),
                compactness=float(self.compactness),
                channel_axis=-1,
                start_label=1,
            )
            return torch.as_tensor(cells, dtype=torch.int64)

        return segment_images(
            superpixels,
            attributions,
            images,
            n_segments=self.n_segments,
            min_share=self.min_share,
            effect=self.effect,
        )


def _import_slic() -> Callable[..., NDArray[np.int64]]:
    try:
        from skimage.segmentation import slic
    except ImportError as error:
        raise ImportError(
            "SLIC needs scikit-image, which is not installed. Use: pip install 'lvlm-va[slic]'"
        ) from error
    found: Callable[..., NDArray[np.int64]] = slic
    return found
