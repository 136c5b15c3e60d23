"""What is said of segments, against loops over pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lvlm_va.modules.built_in import cnn, mlp
from lvlm_va.propagation import feature_maps, find_feature_layer, segment_features
from lvlm_va.segmentation import PPEPSWGM, Segmentation


def segmented(n: int = 3, channels: int = 2) -> tuple[Tensor, Segmentation]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(n, channels, 8, 9, generator=generator)
    attributions = torch.rand(n, channels, 8, 9, generator=generator) - 0.4
    attributions[-1] = -1.0  # an image without positive effect, so without segments
    return images, PPEPSWGM(n_segments=3).segment(attributions, images, 0)


def test_features_are_those_of_the_pixels_in_the_segment() -> None:
    images, segmentation = segmented()
    labels, feature_map = torch.tensor([1, 0, 1]), torch.rand(3, 4, 8, 9)
    features = segment_features(images, labels, 2, segmentation, feature_map)
    assert features.shape == (3, segmentation.shares.shape[1], 9 + 3 * 2 + 2 + 4)
    assert features.dtype == torch.float32
    for i in range(3):
        for j in range(features.shape[1]):
            row = features[i, j].numpy()
            if j >= segmentation.n_segments[i]:
                assert np.isnan(row).all()
                continue
            inside = (segmentation.labels[i] == j + 1).numpy()
            pixels = images[i].numpy()
            expected = [
                *segmentation.means[i, j],
                *segmentation.covariances[i, j].diagonal().sqrt(),
                segmentation.covariances[i, j, 0, 1]
                / segmentation.covariances[i, j].diagonal().sqrt().prod(),
                segmentation.shares[i, j],
                inside.mean(),
                segmentation.shares[i, j] / inside.mean(),
                *(part[inside].mean() for part in pixels),
                *(part[inside].mean() - part.mean() for part in pixels),
                *(part[inside].std() for part in pixels),
            ]
            np.testing.assert_allclose(row[: len(expected)], expected, rtol=1e-4, atol=1e-5)
            grey = pixels.mean(0)
            across = np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
            down = np.abs(np.diff(grey, axis=0, append=grey[-1:]))
            np.testing.assert_allclose(row[14], ((across + down) / 2)[inside].mean(), rtol=1e-4)
            np.testing.assert_array_equal(row[15:17], np.eye(2)[labels[i]])
            under = [part[inside].mean() for part in feature_map[i].numpy()]
            np.testing.assert_allclose(row[17:], under, rtol=1e-4)


def test_a_coarse_feature_map_is_weighed_by_what_of_each_cell_the_segment_covers() -> None:
    images, segmentation = segmented()
    coarse = torch.rand(3, 1, 2, 3)
    features = segment_features(images, torch.zeros(3, dtype=torch.int64), 1, segmentation, coarse)
    inside = (segmentation.labels[0] == 1).float()
    cover = torch.stack(
        [inside[4 * i : 4 * i + 4, 3 * j : 3 * j + 3].mean() for i in range(2) for j in range(3)]
    )
    expected = (cover * coarse[0, 0].flatten()).sum() / cover.sum()
    assert features[0, 0, -1] == pytest.approx(float(expected), rel=1e-5)


def test_the_last_map_is_found_and_the_module_left_as_it_was() -> None:
    net, images = cnn((1, 8, 8), 3).train(), torch.rand(2, 1, 8, 8)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    layer = find_feature_layer(net, images)
    assert layer == "5"  # the adaptive pooling, before Flatten
    maps = feature_maps(net, layer, images)
    torch.testing.assert_close(maps, net[:6](images))
    assert not maps.requires_grad
    assert net.training
    assert not any(part._forward_hooks for part in net.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


class Reused(nn.Module):
    """Runs one layer on maps and, last, on a single pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.convolution, self.head = nn.ReLU(), nn.Conv2d(1, 3, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.convolution(x))
        return self.head(self.relu(x.mean((2, 3), keepdim=True)).flatten(1))


def test_a_map_of_one_pixel_is_no_map() -> None:
    net, images = Reused(), torch.rand(2, 1, 5, 5)
    layer = find_feature_layer(net, images)
    assert layer == "relu"
    torch.testing.assert_close(feature_maps(net, layer, images), net.convolution(images).relu())


def test_dense_nets_have_none() -> None:
    assert find_feature_layer(mlp((1, 8, 8), 3), torch.rand(2, 1, 8, 8)) is None
