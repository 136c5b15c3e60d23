"""Masks that a Segment Anything model of transformers proposes, and whose pixel is whose where they overlap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lvlm_va.common.device import resolve_device

# A mask is where its logit exceeds 0; a stable one hardly changes when that becomes 1 more or less.
_OFFSET = 1.0


def load_sam(folder: Path, device: str) -> tuple[Any, Any]:
    """Return the model of a checkpoint, in evaluation mode and float32 on its device, and its image processor.

    Parameters
    ----------
    folder : Path
        The checkpoint. Weights are read from safetensors only.
    device : str
        Name of a device, or "auto" for an accelerator where there is one.

    Returns
    -------
    (transformers.SamModel, transformers.SamImageProcessorPil)
        The processor does without torchvision.

    Raises
    ------
    ValueError
        If the checkpoint does not load, or lacks weights.
    """
    from transformers import SamImageProcessorPil, SamModel

    expected = (
        "The 'checkpoint' argument must be a folder with a Segment Anything checkpoint of transformers, with its "
        f"preprocessor_config.json and its weights as safetensors. Got {str(folder)!r} instead"
    )
    try:
        processor = SamImageProcessorPil.from_pretrained(folder, local_files_only=True)
        loaded: Any = SamModel.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"{expected}, which does not load: {error}") from error
    model, info = loaded
    if info["missing_keys"]:
        raise ValueError(f"{expected}, which lacks weights: {sorted(info['missing_keys'])[:3]}.")
    return model.eval().to(resolve_device(device, float64=False)), processor


@torch.no_grad()
def propose_masks(
    model: Any,
    processor: Any,
    image: Tensor,
    *,
    points_per_side: int,
    points_per_batch: int,
    pred_iou_thresh: float,
    stability_score_thresh: float,
    box_nms_thresh: float,
) -> Tensor:
    """Return the masks of what lies at the points of a grid, each object once.

    Parameters
    ----------
    model, processor
        What `load_sam` returns.
    image : Tensor of shape (3, H, W), uint8
        The image.
    points_per_side, points_per_batch, pred_iou_thresh, stability_score_thresh, box_nms_thresh
        As for :class:`~lvlm_va.segmentation.SAM`.

    Returns
    -------
    Tensor of shape (m, H, W), bool
        On the CPU, the one with the best estimate of its IoU first.
    """
    given = processor(images=[image.cpu().numpy()], input_data_format="channels_first", return_tensors="pt")
    sizes = given["original_sizes"], given["reshaped_input_sizes"]
    embeddings = model.get_image_embeddings(given["pixel_values"].to(model.device))
    masks, scores = [torch.zeros(0, *image.shape[1:], dtype=torch.bool)], [torch.zeros(0)]
    for points in point_grid(points_per_side, *sizes[1][0].tolist()).split(points_per_batch):
        asked = points[None, :, None].to(model.device)
        found = model(
            image_embeddings=embeddings,
            input_points=asked,
            input_labels=torch.ones(asked.shape[:3], dtype=torch.int64, device=model.device),
            multimask_output=True,
        )
        estimates, logits = found.iou_scores.flatten(), found.pred_masks.flatten(0, 2)
        likely = estimates > pred_iou_thresh
        if not likely.any():
            continue
        (logits,) = processor.post_process_masks([logits[likely][None]], *sizes, binarize=False)[0]
        stable = stability(logits) > stability_score_thresh
        masks.append((logits[stable] > 0).cpu())
        scores.append(estimates[likely][stable].cpu())
    order = torch.cat(scores).argsort(descending=True, stable=True)
    ordered = torch.cat(masks)[order]
    return ordered[first_of_each(bounding_boxes(ordered), box_nms_thresh)]


def point_grid(per_side: int, height: int, width: int) -> Tensor:
    """Return the centres (x, y) of the cells of a grid, float32 (per_side ** 2, 2), row by row."""
    centres = (torch.arange(per_side) + 0.5) / per_side
    return torch.cartesian_prod(centres * height, centres * width).flip(1)


def stability(logits: Tensor) -> Tensor:
    """Return the IoU of each mask (m, H, W) at a high and at a low cut-off of its logits; NaN where both are empty."""
    return (logits > _OFFSET).sum((1, 2)) / (logits > -_OFFSET).sum((1, 2))


def bounding_boxes(masks: Tensor) -> Tensor:
    """Return (top, left, bottom, right) of masks (m, H, W) that hold a pixel, int64 (m, 4), the ends excluded."""
    rows, columns = masks.any(2).byte(), masks.any(1).byte()
    height, width = masks.shape[1:]
    ends = height - rows.flip(1).argmax(1), width - columns.flip(1).argmax(1)
    return torch.stack([rows.argmax(1), columns.argmax(1), *ends], 1)


def first_of_each(boxes: Tensor, threshold: float) -> Tensor:
    """Return which boxes (m, 4) stay, bool (m,), when each drops all later ones whose IoU with it is larger."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    stays = torch.ones(len(boxes), dtype=torch.bool)
    for i, box in enumerate(boxes):
        if stays[i]:
            later = boxes[i + 1 :]
            shared = torch.minimum(box[2:], later[:, 2:]) - torch.maximum(box[:2], later[:, :2])
            intersections = shared.clamp_min(0).prod(1)
            stays[i + 1 :] &= intersections <= threshold * (areas[i] + areas[i + 1 :] - intersections)
    return stays


def cells_of_masks(masks: Tensor) -> Tensor:
    """Return the cell of each pixel, int64 (H, W): 1 outside all masks (m, H, W), else 2 or more, one for each mask.

    Where masks overlap, the smallest has the pixel; of equally small ones the first.
    """
    cells = torch.ones(masks.shape[1:], dtype=torch.int64)
    smallest_last = masks.sum((1, 2)).flip(0).argsort(descending=True, stable=True)
    for cell, mask in enumerate(masks.flip(0)[smallest_last], start=2):
        cells[mask] = cell
    return cells
