"""A classifier that follows a whole image's look is found out, and one that looks at a place is not."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lvlm_va.auditing import DiffuseFinding, diffuse_tests
from lvlm_va.auditing.diffuse import apart
from lvlm_va.auditing.image_wide import IMAGE_STATISTICS
from lvlm_va.datasets import tagged_radiographs
from lvlm_va.experiments.diffuse_sets import with_diffuse_shortcut

FAMILIES = {
    "background level": {"background level", "brightness"},
    "blur": {"sharpness"},
    "jpeg quality": {"JPEG quality"},
}


class Reads(nn.Module):
    """One logit, as far as a reading of the images is above a threshold."""

    def __init__(self, reading, threshold: float, steep: float = 50.0) -> None:
        super().__init__()
        self.reading, self.threshold, self.steep = reading, threshold, steep

    def forward(self, images: Tensor) -> Tensor:
        return self.steep * (self.reading(images) - self.threshold)


def mean(images: Tensor) -> Tensor:
    return images.mean((1, 2, 3))


def corner(images: Tensor) -> Tensor:
    return images[:, 0, :6, :6].mean((1, 2))


#: Quick to set.
SOME = [each for each in IMAGE_STATISTICS if each.name in ("brightness", "contrast", "background level")]


@pytest.fixture(scope="module")
def radiographs():
    return tagged_radiographs(n=90, size=48, shortcut=False)


def test_a_net_that_reads_the_mean_brightness_is_found(radiographs):
    images = torch.from_numpy(radiographs.images)
    net = Reads(mean, float(mean(images).median()))
    labels = (net(images) > 0).long().numpy()
    first, *rest = diffuse_tests(net, images, labels, seed=1)
    assert first.statistic in ("brightness", "background level")
    assert first.alarming
    assert first.flips > 0.7
    assert first.control_flips < 0.1
    assert first.effect_interval[0] <= first.flips - first.control_flips <= first.effect_interval[1]
    assert "random" in first.advice
    assert "Setting the" in str(first)
    assert [found.effect_interval[0] for found in rest] == sorted(
        (found.effect_interval[0] for found in rest), reverse=True
    )


def test_a_net_that_reads_a_corner_is_not(radiographs):
    images = torch.from_numpy(radiographs.images).clone()
    labels = np.arange(90) % 2
    images[:, :, :6, :6] = torch.from_numpy(labels).float()[:, None, None, None]
    findings = diffuse_tests(Reads(corner, 0.5), images, labels)
    assert not any(found.alarming for found in findings)
    assert len(findings) == len(IMAGE_STATISTICS) - 1  # grey images have no colour


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_net_that_tells_classes_by_a_statistic_names_it(kind, radiographs):
    """The net reads the very thing that the shortcut is made of, in images that are otherwise of any class."""
    shown = with_diffuse_shortcut(radiographs, kind)
    images = torch.from_numpy(shown.images[:60])

    def level(x: Tensor) -> Tensor:
        return x[:, 0, :4].flatten(1).median(1).values

    def fine(x: Tensor) -> Tensor:
        return -(x[..., 1:] - x[..., :-1]).abs().mean((1, 2, 3))

    def blocky(x: Tensor) -> Tensor:
        steps = (x[..., 1:] - x[..., :-1]).abs().mean((1, 2))
        return steps[:, 7::8].mean(1) / steps.mean(1)

    reading = {"background level": level, "blur": fine, "jpeg quality": blocky}[kind]
    found = reading(images)
    net = Reads(reading, float(found.median()), 20 / float(found.std()))
    first = diffuse_tests(net, images, shown.labels[:60])[0]
    assert first.statistic in FAMILIES[kind]
    assert first.alarming


def test_without_labels_the_figures_are_those_of_predictions_alone(radiographs):
    images = torch.from_numpy(radiographs.images)
    net = Reads(mean, float(mean(images).median()))
    known, unknown = (
        diffuse_tests(net, images, labels, statistics=SOME) for labels in (radiographs.labels, None)
    )
    assert [found.flips for found in known] == [found.flips for found in unknown]
    assert max(found.explained for found in unknown) > 0.8
    assert all(found.explained <= 1 for found in unknown)


def test_a_net_that_tells_one_class_alone_raises_no_alarm(radiographs):
    images = torch.from_numpy(radiographs.images[:40])
    for found in diffuse_tests(Reads(mean, -1), images, statistics=SOME):
        assert not found.alarming
        assert found.flips == found.control_flips == found.explained == 0
        assert found.p_value == 1


def test_several_classes_and_the_same_result_again(radiographs):
    images = torch.from_numpy(radiographs.images)
    thresholds = mean(images).quantile(torch.tensor([0.33, 0.67]))

    class Three(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            of = (mean(x)[:, None] > thresholds).sum(1)
            return 5 * nn.functional.one_hot(of, 3).float()

    once, again = (diffuse_tests(Three(), images, n_images=80, seed=3, statistics=SOME) for _ in range(2))
    assert once == again
    assert once[0].alarming
    assert once[0].statistic in ("brightness", "background level")


def test_a_finding_is_a_json_object(radiographs):
    found = diffuse_tests(Reads(mean, 0.2), torch.from_numpy(radiographs.images[:30]), statistics=SOME)[0]
    assert isinstance(found, DiffuseFinding)
    read = json.loads(json.dumps(found.to_json()))
    assert read["statistic"] == found.statistic
    assert tuple(read["flips_interval"]) == found.flips_interval


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.rand(19, 1, 8, 8), None, "'images' argument must be at least 20"),
        (torch.rand(30, 64), None, "'images' argument must be at least 20"),
        (3 * torch.rand(30, 1, 8, 8) - 1, None, r"values in \[0, 1\]. Got -"),
        (torch.rand(30, 1, 8, 8), np.zeros(29), "'labels' argument must hold one class number"),
        (torch.rand(30, 1, 8, 8), np.zeros((30, 4)), "several findings are tested one at a time"),
    ],
)
def test_what_cannot_be_tested_is_told(images, labels, message):
    with pytest.raises(ValueError, match=message):
        diffuse_tests(Reads(mean, 0.5), images, labels)


def test_how_far_apart_classes_are():
    classes = np.arange(40) % 2
    assert apart(classes[:, None].astype(float), classes) == pytest.approx(1)
    assert apart(np.ones((40, 2)), classes) == 0
    assert apart(np.arange(40)[:, None] // 2, classes) == pytest.approx(0)
