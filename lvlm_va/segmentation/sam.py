"""Segments by the masks that a Segment Anything model proposes."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from lvlm_va.common.device import resolve_device
from lvlm_va.common.effect import Effect
from lvlm_va.common.fingerprint import fingerprint
from lvlm_va.common.pictures import to_unit
from lvlm_va.common.validation import check_integer, check_real
from lvlm_va.segmentation.cells import segment_images
from lvlm_va.segmentation.effect import check_effect
from lvlm_va.segmentation.sam_masks import cells_of_masks, load_sam, propose_masks
from lvlm_va.segmentation.types import Segmentation


@dataclass(frozen=True)
class SAM:
    """The masks that a Segment Anything model (Kirillov et al. 2023) proposes for the image, to compare with.

    The model is asked what lies at each point of a grid, and its likely and stable masks are kept. Where they
    overlap, a pixel belongs to the smallest; the pixels in none of them are one more cell, the background. A cell that
    holds at least `min_share` of the effect is a segment; of more than `n_segments` of them the strongest are kept.
    The labelled pixels are those with effect; the others, and those of weaker cells, belong to no segment.

    Parameters
    ----------
    checkpoint : str or path-like
        A folder with a SAM checkpoint of transformers: ``config.json``, ``preprocessor_config.json`` and weights as
        safetensors. Nothing is downloaded; fetch one with, for example,
        ``hf download facebook/sam-vit-base --local-dir sam-vit-base``.
    n_segments : int, default=16
        Most segments that are kept.
    min_share : float, default=0.02
        Least share of the effect of a segment, in [0, 1).
    points_per_side : int, default=32
        Points of the grid along each side of the image.
    points_per_batch : int, default=64
        Points that are asked about at once; more need more memory.
    pred_iou_thresh : float, default=0.88
        Masks count whose own estimate of their IoU with the object exceeds this.
    stability_score_thresh : float, default=0.95
        Masks count whose IoU at two cut-offs of their logits, 1 and -1, exceeds this; in [0, 1).
    box_nms_thresh : float, default=0.7
        Of two masks whose bounding boxes have a larger IoU, in [0, 1], the one with the better estimate stays.
    device : str, default="auto"
        Where the model runs; "auto" takes an accelerator when there is one. On a CPU the usual checkpoints take minutes
        an image with 32 points per side; the time of the points, not that of the image, falls with their number.
    effect : {"positive", "absolute"}, default="positive"
        Which effect of a pixel counts: what it adds to the explained logit, or how much it changes it either way.

    Raises
    ------
    FileNotFoundError
        If the checkpoint is no folder.
    TypeError, ValueError
        If a parameter is of the wrong type or out of its range, or the folder holds no SAM checkpoint.
    """

    checkpoint: str | os.PathLike[str]
    n_segments: int = 16
    min_share: float = 0.02
    points_per_side: int = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    box_nms_thresh: float = 0.7
    device: str = "auto"
    effect: Effect = "positive"

    name: ClassVar[str] = "sam"

    def __post_init__(self) -> None:
        _check_checkpoint(self.checkpoint)
        for name in ("n_segments", "points_per_side", "points_per_batch"):
            check_integer(name, getattr(self, name), 1)
        check_real("min_share", self.min_share, "[0, 1)")
        check_real("pred_iou_thresh", self.pred_iou_thresh, "[0, inf)")
        check_real("stability_score_thresh", self.stability_score_thresh, "[0, 1)")
        check_real("box_nms_thresh", self.box_nms_thresh, "[0, inf)")
        check_effect(self.effect)
        resolve_device(self.device, float64=False)

    def segment(self, attributions: Tensor, images: Tensor, seed: int) -> Segmentation:
        """Cut each image into masks and weigh them by its attribution map.

        Parameters
        ----------
        attributions : Tensor of shape (n, C, H, W)
            Finite attributions of one logit per image.
        images : Tensor of shape (n, C, H, W)
            The images, in [0, 1]. Three channels are red, green and blue; of others the mean is shown in grey.
        seed : int
            Without effect: nothing is random.

        Returns
        -------
        Segmentation
            `n_segments` columns. Shares are those of the cells, so they sum to 1 less what the weak ones hold.

        Raises
        ------
        TypeError
            If the attributions are no floating tensor.
        ValueError
            If the attributions or the images have another shape or are not finite, or the checkpoint does not load.
        """

        def cells(image: Tensor) -> Tensor:
            masks = propose_masks(
                *self._model,
                _as_rgb(image),
                points_per_side=self.points_per_side,
                points_per_batch=self.points_per_batch,
                pred_iou_thresh=self.pred_iou_thresh,
                stability_score_thresh=self.stability_score_thresh,
                box_nms_thresh=self.box_nms_thresh,
            )
            return cells_of_masks(masks)

        return segment_images(
            cells,
            attributions,
            images,
            n_segments=self.n_segments,
            min_share=self.min_share,
            effect=self.effect,
        )

    def fingerprint(self) -> str:
        """Return what stands for all that the segments depend on: the checkpoint's content, not its place."""
        parameters = {name: value for name, value in self.__getstate__().items() if name not in _ELSEWHERE}
        digests = {}
        for path in sorted(_folder(self.checkpoint).glob("*")):
            if path.suffix in (".json", ".safetensors"):
                with path.open("rb") as stream:
                    digests[path.name] = hashlib.file_digest(stream, "sha256").hexdigest()
        return fingerprint(parameters, digests)

    @cached_property
    def _model(self) -> tuple[Any, Any]:
        return load_sam(_folder(self.checkpoint), self.device)

    def __getstate__(self) -> dict[str, Any]:
        # Copies and pickles hold the parameters, and load the model again.
        return {field.name: getattr(self, field.name) for field in fields(self)}


# Parameters that say where or how fast, not what.
_ELSEWHERE = ("checkpoint", "device", "points_per_batch")


def _folder(checkpoint: str | os.PathLike[str]) -> Path:
    return Path(checkpoint).expanduser()


def _check_checkpoint(checkpoint: object) -> None:
    expected = (
        "The 'checkpoint' argument must be a folder with a Segment Anything checkpoint of transformers."
    )
    if not isinstance(checkpoint, str | os.PathLike):
        raise TypeError(f"{expected} Got {checkpoint!r} instead.")
    folder = _folder(checkpoint)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{expected} Got {os.fspath(checkpoint)!r} instead. Nothing is downloaded; fetch one before, for "
            "example: hf download facebook/sam-vit-base --local-dir sam-vit-base"
        )
    try:
        kind = json.loads((folder / "config.json").read_text("utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{expected} Got {os.fspath(checkpoint)!r} instead, whose config.json names no model ({error!r})."
        ) from error
    if kind != "sam":
        raise ValueError(
            f"{expected} Got {os.fspath(checkpoint)!r} instead, which holds a model of type {kind!r}."
        )


def _as_rgb(image: Tensor) -> Tensor:
    """Return an image (C, H, W) as uint8 (3, H, W), with the brightness that the critic is shown."""
    values = torch.from_numpy(to_unit(image.double().cpu().numpy())).to(image.device)
    if len(values) != 3:
        values = values.mean(0, keepdim=True).expand(3, -1, -1)
    return (255 * values).round().to(torch.uint8)
