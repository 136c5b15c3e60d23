"""Numbers that say of a segment where it lies, what it looks like and what the net makes of it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lvlm_va.segmentation import Segmentation


def segment_features(
    images: Tensor,
    labels: Tensor,
    n_classes: int,
    segmentation: Segmentation,
    feature_map: Tensor | None = None,
) -> Tensor:
    """Return features of every segment.

    They are, in this order: centre (row, column); standard deviations along both axes and correlation; share of
    effect, share of area, and effect per area; per channel the mean, its difference from the image's mean, and the
    standard deviation; mean difference of neighbouring pixels (texture); the image's class, one-hot; per channel of
    the net's feature map the mean under the segment.

    Parameters
    ----------
    images : Tensor of shape (n, C, H, W)
        Images in [0, 1].
    labels : Tensor of shape (n,), int64
        Their classes, from 0 to `n_classes` - 1.
    n_classes : int
        Number of classes.
    segmentation : Segmentation
        J segments at most per image.
    feature_map : Tensor of shape (n, D, h, w), optional
        The net's activations.

    Returns
    -------
    Tensor of shape (n, J, F), float32
        NaN past an image's number of segments. F = 9 + 3 C + `n_classes` + D.
    """
    n, height, width = segmentation.labels.shape
    n_most = segmentation.shares.shape[1]
    inside = F.one_hot(segmentation.labels, n_most + 1)[..., 1:].permute(0, 3, 1, 2).to(images.dtype)
    area = inside.sum((2, 3))

    def mean(values: Tensor, weights: Tensor) -> Tensor:
        """Average (n, D, h, w) under each of (n, J, h, w): shape (n, J, D)."""
        total = weights.flatten(2) @ values.flatten(2).transpose(1, 2)
        return total / weights.sum((2, 3)).clamp_min(torch.finfo(images.dtype).tiny)[..., None]

    colour = mean(images, inside)
    spread = (mean(images.square(), inside) - colour.square()).clamp_min(0).sqrt()
    variance = segmentation.covariances.diagonal(dim1=2, dim2=3)
    deviation = variance.sqrt()
    # 0 where a segment is a line or a point.
    correlation = segmentation.covariances[..., 0, 1] / deviation.prod(-1).clamp_min(1e-12)
    area_share = area / (height * width)
    parts = [
        segmentation.means,
        deviation,
        torch.stack(
            [correlation, segmentation.shares, area_share, segmentation.shares / area_share.clamp_min(1e-12)],
            -1,
        ),
        colour,
        colour - images.mean((2, 3))[:, None],
        spread,
        mean(_texture(images), inside),
        F.one_hot(labels, n_classes)[:, None].expand(n, n_most, n_classes),
    ]
    if feature_map is not None:
        cover = F.adaptive_avg_pool2d(inside, (feature_map.shape[2], feature_map.shape[3]))
        parts.append(mean(feature_map.to(images.dtype), cover))
    features = torch.cat([part.to(torch.float32) for part in parts], -1)
    exists = torch.arange(n_most, device=features.device) < segmentation.n_segments[:, None]
    return features.where(exists[..., None], torch.nan)


def _texture(images: Tensor) -> Tensor:
    """Mean absolute difference of a pixel from its right and lower neighbours, over channels: (n, 1, H, W)."""
    grey = images.mean(1, keepdim=True)
    across = F.pad(grey.diff(dim=3).abs(), (0, 1, 0, 0))
    down = F.pad(grey.diff(dim=2).abs(), (0, 0, 0, 1))
    return (across + down) / 2
