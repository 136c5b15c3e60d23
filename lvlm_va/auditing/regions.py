"""Regions of many images, each explained once, as rows of one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lvlm_va.attribution import Explainer
from lvlm_va.data.stored_images import ImageRows, reading_ahead
from lvlm_va.modules.logits import module_device_and_dtype
from lvlm_va.propagation import feature_maps, find_feature_layer, segment_features
from lvlm_va.segmentation import Segmentation, Segmenter, pixel_effect

# Of the features of a segment: where it lies, how large it is, and from here on what it looks like.
_PLACE, _AREA, _LOOKS = slice(0, 2), 6, 8
# Images that are explained at a time.
_CHUNK = 128


@dataclass(frozen=True, eq=False)
class RegionTable:
    """Regions of some images, one row for each.

    Attributes
    ----------
    rows : ndarray of shape (r,), int64
        Which of the images a region lies in, 0..n - 1.
    segments : ndarray of shape (r,), int64
        Its number in that image, from 1.
    targets : ndarray of shape (r,), int64
        The class that was explained: the predicted one.
    shares : ndarray of shape (r,), float64
        Share of the image's effect in it, in [0, 1].
    place : ndarray of shape (r, 2), float32
        Centre (row, column), in [0, 1].
    area : ndarray of shape (r,), float32
        Share of the image that it covers.
    looks : ndarray of shape (r, 3 C + 1), float32
        Per channel mean, difference from the image's mean and standard deviation; texture.
    activations : ndarray of shape (r, D), float32
        Mean of the net's own features under it; D = 0 where the net has no map of features.
    labels : Tensor of shape (n, H, W), uint8
        The regions' numbers.
    effect : Tensor of shape (n, H, W), float16
        Effect of each pixel; that of an image adds up to 1 on average over all images.
    """

    rows: NDArray[np.int64]
    segments: NDArray[np.int64]
    targets: NDArray[np.int64]
    shares: NDArray[np.float64]
    place: NDArray[np.float32]
    area: NDArray[np.float32]
    looks: NDArray[np.float32]
    activations: NDArray[np.float32]
    labels: Tensor
    effect: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, regions: NDArray[np.int64]) -> RegionTable:
        """Return the table of some of its regions; the maps are those of all images."""
        columns = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in ("labels", "effect")
        }
        return replace(self, **{name: column[regions] for name, column in columns.items()})

    def masks(self, regions: NDArray[np.int64]) -> Tensor:
        """Return where these regions are, each in its image: bool of shape (m, H, W)."""
        numbers = torch.from_numpy(self.segments[regions]).to(self.labels.dtype)
        return self.labels[torch.from_numpy(self.rows[regions])] == numbers[:, None, None]


def find_regions(
    net: nn.Module,
    images: ImageRows,
    targets: Tensor,
    explainer: Explainer,
    segmenter: Segmenter,
    *,
    seed: int = 0,
    on_progress: Callable[[int], object] | None = None,
) -> RegionTable:
    """Explain images, cut the explanations into regions, and say what each region is like.

    Images are read and explained in portions; what is kept of each is its regions' features and two small maps.

    Parameters
    ----------
    net : torch.nn.Module
        Takes images in [0, 1], returns logits.
    images : Tensor or StoredImages of shape (n, C, H, W)
        Images, n >= 1.
    targets : Tensor of shape (n,), int64
        The class of each that is explained.
    explainer, segmenter
        How.
    seed : int, default=0
        Of the segmenter.
    on_progress : callable, optional
        Gets the number of images done by each portion.

    Returns
    -------
    RegionTable
        In the order of the images.
    """
    describer = RegionDescriber(net, images[:2])
    parts = []
    chunks = torch.arange(len(images)).split(_CHUNK)
    with reading_ahead(images, chunks):
        for rows in chunks:
            shown = images[rows]
            explanation = explainer.explain(net, shown, targets[rows])
            found = segmenter.segment(explanation.attributions, shown, seed)
            table = describer.describe(shown, targets[rows], found)
            effect = pixel_effect(explanation.attributions, found.effect).to("cpu", torch.float32)
            parts.append(replace(table, labels=found.labels.to("cpu", torch.uint8), effect=effect))
            if on_progress is not None:
                on_progress(len(shown))
    table = join_tables(parts, [len(rows) for rows in chunks])
    of_an_image = table.effect.sum((1, 2), dtype=torch.float64).mean()
    effect = table.effect / of_an_image.clamp_min(torch.finfo(torch.float32).tiny)
    return replace(table, effect=effect.half())


class RegionDescriber:
    """Says what regions of images are like, to the eye and to a net.

    Parameters
    ----------
    net : torch.nn.Module
        The net.
    images : Tensor of shape (n, C, H, W)
        One or more images like those to come.
    """

    def __init__(self, net: nn.Module, images: Tensor) -> None:
        self._net, self._placed = net, module_device_and_dtype(net)
        self._layer = find_feature_layer(net, images.to(*self._placed))

    def describe(self, images: Tensor, targets: Tensor, segmentation: Segmentation) -> RegionTable:
        """Return the regions of some images, without maps.

        Parameters
        ----------
        images : Tensor of shape (n, C, H, W)
            The images.
        targets : Tensor of shape (n,), int64
            The classes that were explained.
        segmentation : Segmentation
            Their regions.

        Returns
        -------
        RegionTable
            With ``labels`` and ``effect`` of no image.
        """
        maps = None
        if self._layer is not None:
            maps = feature_maps(self._net, self._layer, images.to(*self._placed)).to(images.device)
        # Classes are told by `targets`: here one stands for all.
        one = torch.zeros(len(images), dtype=torch.int64)
        features = segment_features(images, one, 1, segmentation, maps)
        image, segment = (~features[..., 0].isnan()).nonzero(as_tuple=True)
        shares = segmentation.shares[image, segment].cpu().numpy()
        found, rows = features[image, segment].cpu().numpy(), image.cpu().numpy()
        looks_end = _LOOKS + 3 * images.shape[1] + 1
        none = torch.empty(0, *images.shape[2:])
        return RegionTable(
            rows,
            segment.cpu().numpy() + 1,
            targets.cpu().numpy()[rows],
            shares,
            found[:, _PLACE],
            found[:, _AREA],
            found[:, _LOOKS:looks_end],
            found[:, looks_end + 1 :],
            none.to(torch.uint8),
            none.to(torch.float16),
        )


def join_tables(parts: Sequence[RegionTable], n_images: Sequence[int]) -> RegionTable:
    """Return the regions of portions of images, so many in each, as those of all."""
    first = np.cumsum([0, *n_images[:-1]])
    columns: dict[str, Any] = {
        field.name: [getattr(part, field.name) for part in parts] for field in fields(RegionTable)
    }
    columns["rows"] = [rows + start for rows, start in zip(columns["rows"], first, strict=True)]
    for name, column in columns.items():
        columns[name] = torch.cat(column) if isinstance(column[0], Tensor) else np.concatenate(column)
    return RegionTable(**columns)
