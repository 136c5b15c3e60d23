"""Sets whose shortcut is all over the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lvlm_va.auditing import image_statistics as read
from lvlm_va.datasets import bandaged_lesions, decoy_digits, tagged_radiographs
from lvlm_va.experiments.diffuse_sets import AGREEING, KINDS, with_diffuse_shortcut

READINGS = {
    "background level": read.background_level,
    "colour cast": lambda images: read.colour_cast(images)[:, :1],
    "blur": lambda images: -read.sharpness(images),
    "jpeg quality": read.compression,
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_class_is_told_in_training_and_not_in_the_test(kind):
    clean = bandaged_lesions(n=120, size=48, shortcut=False)
    for split in ("train", "test"):
        shown = with_diffuse_shortcut(clean, kind, split)
        values = READINGS[kind](torch.from_numpy(shown.images))[:, 0].numpy()
        told = np.abs(np.corrcoef(values, shown.labels)[0, 1])
        agreeing = np.char.endswith(shown.groups, "/agrees")
        assert (told > 0.5) == (split == "train")
        assert (agreeing.mean() >= AGREEING) == (split == "train")
        assert shown.images.dtype == np.float32
        assert shown.images.min() >= 0
        assert shown.images.max() <= 1
        assert not shown.masks.any()
        assert (shown.labels == clean.labels).all()
        assert (with_diffuse_shortcut(clean, kind, split).images == shown.images).all()


def test_of_ten_classes_each_has_its_amount():
    shown = with_diffuse_shortcut(decoy_digits(), "background level")
    levels = read.background_level(torch.from_numpy(shown.images))[:, 0].numpy()
    means = [levels[shown.labels == label].mean() for label in range(10)]
    assert means == sorted(means)


def test_what_cannot_be_made_is_told():
    grey = tagged_radiographs(n=4, size=32, shortcut=False)
    with pytest.raises(ValueError, match="colour images for a colour cast"):
        with_diffuse_shortcut(grey, "colour cast")
    with pytest.raises(ValueError, match="'kind'"):
        with_diffuse_shortcut(grey, "glare")
    with pytest.raises(ValueError, match="'split'"):
        with_diffuse_shortcut(grey, "blur", "dev")
