"""What each rival refuses, and how it says so."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from lvlm_va.comparison import RIVALS, DFRClassifier, ERMClassifier, GroundTruthRRRClassifier, JTTClassifier
from tests.comparison.shortcut import shortcut

DATA = shortcut(60, 0.8, seed=0)


@pytest.mark.parametrize("name", [name for name in RIVALS if RIVALS[name].needs_groups])
def test_missing_groups(name: str) -> None:
    with pytest.raises(
        ValueError, match="'groups' argument must hold the group of each of 60 images. Got None"
    ):
        RIVALS[name]().fit(DATA.X, DATA.y)


@pytest.mark.parametrize("name", [name for name in RIVALS if RIVALS[name].needs_groups])
def test_empty_group(name: str) -> None:
    attribute = np.where(DATA.y == 1, "plain", np.where(np.arange(60) % 4 == 0, "corner", "plain"))
    with pytest.raises(ValueError, match=r"must have an image. Got none of \['1/corner'\]"):
        RIVALS[name]().fit(DATA.X, DATA.y, groups=attribute)


@pytest.mark.parametrize("name", [name for name in RIVALS if RIVALS[name].needs_groups])
def test_groups_that_say_no_more_than_the_labels(digits, name: str) -> None:
    with pytest.raises(ValueError, match="Got one group for each class, .*3/agrees.*nothing to balance"):
        RIVALS[name]().fit(digits.images, digits.labels, groups=digits.groups)


@pytest.mark.parametrize("name", [name for name in RIVALS if RIVALS[name].needs_masks])
@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (None, r"Got None instead; pass fit\(X, y, masks=...\)"),
        (DATA.masks[:5], r"Got shape \(5, 8, 8\)"),
        (DATA.masks[:, None], r"Got shape \(60, 1, 8, 8\)"),
        (DATA.masks * 2.0, r"Got values outside \[0, 1\]"),
        (DATA.masks * np.nan, r"Got values outside \[0, 1\], or NaN"),
        (DATA.masks & False, "without a single marked pixel"),
    ],
)
def test_wrong_masks(name: str, masks, message: str) -> None:
    with pytest.raises(ValueError, match=rf"'masks' argument must be .* of shape \(60, 8, 8\).*{message}"):
        RIVALS[name]().fit(DATA.X, DATA.y, masks=masks)


def test_empty_error_set() -> None:
    clf = JTTClassifier("mlp", identification_epochs=60, batch_size=10, lr=5e-3, random_state=0)
    with pytest.raises(
        ValueError, match="Got an empty error set out of 60 images.*Lower 'identification_epochs'"
    ):
        clf.fit(DATA.X, DATA.y)


def test_nearly_full_error_set() -> None:
    swapped = (
        ERMClassifier("mlp", epochs=60, batch_size=10, lr=5e-3, random_state=0)
        .fit(DATA.X, 1 - DATA.y)
        .module_
    )
    with pytest.raises(
        ValueError, match=r"Got (5[5-9]|60) errors out of 60 images.*Raise 'identification_epochs'"
    ):
        JTTClassifier(identifier=swapped).fit(DATA.X, DATA.y)


def test_identifier_of_other_classes() -> None:
    with pytest.raises(ValueError, match="'identifier' argument must return one logit per class: 2 classes"):
        JTTClassifier(identifier=nn.Sequential(nn.Flatten(), nn.Linear(64, 3))).fit(DATA.X, DATA.y)


def test_dfr_needs_a_linear_end_two_of_each_group_and_a_grid() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2), nn.Tanh())
    with pytest.raises(ValueError, match="'module' argument must end in a torch.nn.Linear"):
        DFRClassifier(net).fit(DATA.X, DATA.y, groups=DATA.groups)
    alone = np.array(["0/a", "1/a"] * 30)
    alone[4] = "0/b"
    with pytest.raises(ValueError, match="'groups' argument must hold at least two images.*Got one of '0/b'"):
        DFRClassifier().fit(DATA.X, DATA.y, groups=alone)
    with pytest.raises(ValueError, match="'holdout' argument must leave images to train on. Got 0.99"):
        DFRClassifier(holdout=0.99).fit(DATA.X, DATA.y, groups=DATA.groups)
    for grid in ((), (1.0, 0.0), (np.inf,), ((1.0,),)):
        with pytest.raises(ValueError, match="'Cs' argument must hold one or more numbers > 0. Got"):
            DFRClassifier(Cs=grid).fit(DATA.X, DATA.y, groups=DATA.groups)


def test_images_outside_the_unit_range_warn_where_the_penalty_depends_on_it() -> None:
    with pytest.warns(UserWarning, match="'X' argument should hold images in"):
        GroundTruthRRRClassifier(epochs=1, align_epochs=1).fit(DATA.X * 255, DATA.y, masks=DATA.masks)
