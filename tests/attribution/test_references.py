"""Reference images are chosen as they were asked for, and the same for the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvlm_va.attribution import DeepLiftShap, ReferenceSet, blurred_references, make_references
from tests.attribution import nets

IMAGES = nets.rand(30, 1, 6, 5, dtype=torch.float32)
LABELS = np.repeat([0, 1, 2], [20, 7, 3])


def rows(references: torch.Tensor, images: torch.Tensor) -> list[int]:
    return [int((images == reference).flatten(1).all(1).nonzero()[0, 0]) for reference in references]


@settings(deadline=None, derandomize=True, max_examples=25)
@given(
    labels=st.lists(st.sampled_from("abc"), min_size=1, max_size=30),
    n=st.integers(1, 40),
    seed=st.integers(0, 9),
)
def test_class_balanced(labels: list[str], n: int, seed: int) -> None:
    images = IMAGES[: len(labels)]
    chosen = rows(make_references("class_balanced", images, labels, n, seed=seed), images)
    assert len(set(chosen)) == len(chosen) == min(n, len(labels))
    drawn = {label: sum(labels[row] == label for row in chosen) for label in set(labels)}
    most = max(drawn.values())
    # A class is behind the others only where it has no more images.
    assert all(count >= most - 1 or count == labels.count(label) for label, count in drawn.items())


def test_the_seed_decides() -> None:
    first, again, other = (make_references("class_balanced", IMAGES, LABELS, 9, seed=s) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_twenty_by_default() -> None:
    assert make_references("class_balanced", IMAGES, LABELS, seed=0).shape == (20, 1, 6, 5)


def test_zeros_and_mean() -> None:
    assert torch.equal(make_references("zeros", IMAGES, LABELS, seed=0), torch.zeros(1, 1, 6, 5))
    mean = make_references("mean", IMAGES, LABELS, seed=0)
    assert mean.dtype == IMAGES.dtype
    torch.testing.assert_close(mean[0], IMAGES.mean(0))


@pytest.mark.parametrize("own", [np.ones((2, 1, 6, 5)), torch.ones(2, 1, 6, 5, dtype=torch.float64)])
def test_the_users_own(own: Any) -> None:
    references = make_references(own, IMAGES, LABELS, seed=0)
    assert torch.equal(references, torch.ones(2, 1, 6, 5))
    assert ReferenceSet.choose(own, IMAGES, LABELS, seed=0).strategy == "custom"


def test_blurred() -> None:
    blurred = blurred_references(IMAGES)
    assert blurred.shape == (1, 30, 1, 6, 5)
    assert float(blurred.var()) < 0.5 * float(IMAGES.var())
    flat = torch.full((1, 3, 9, 4), 0.7)
    torch.testing.assert_close(blurred_references(flat)[0], flat)
    torch.testing.assert_close(blurred_references(IMAGES.flip(-1)), blurred.flip(-1))
    torch.testing.assert_close(blurred_references(IMAGES, sigma=1e-3)[0], IMAGES)


def test_a_reference_set_serves_explanations() -> None:
    module, target = (
        nets.randomised(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(30, 2))),
        torch.tensor([0, 1]),
    )
    for strategy in ("class_balanced", "zeros", "mean", "blurred"):
        references = ReferenceSet.choose(strategy, IMAGES, LABELS, 4, seed=0)
        assert references.strategy == strategy
        explanation = DeepLiftShap().attribute(module, IMAGES[:2], target, references.for_images(IMAGES[:2]))
        assert explanation.relative_completeness_error() < 1e-10


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (
            ("class_balance", IMAGES, LABELS),
            "'references' argument must be one of.*Did you mean 'class_balanced'",
        ),
        (("blurred", IMAGES, LABELS), "'references' argument .*ReferenceSet"),
        (
            (np.ones((2, 1, 5, 5)), IMAGES, LABELS),
            r"references of shape \('B', 1, 6, 5\).*Got shape \(2, 1, 5, 5\)",
        ),
        ((np.ones((0, 1, 6, 5)), IMAGES, LABELS), r"Got shape \(0, 1, 6, 5\)"),
        (("class_balanced", IMAGES, LABELS[:3]), r"'labels' argument must have shape \(30,\)"),
        (("class_balanced", IMAGES, LABELS, 0), "'n_references' argument must be at least 1"),
        (("mean", IMAGES[:0], LABELS[:0]), "'images' argument must hold at least one image"),
    ],
)
def test_bad_arguments(arguments: tuple[Any, ...], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make_references(*arguments, seed=0)


def test_bad_blurs() -> None:
    with pytest.raises(ValueError, match="'sigma' argument must be a positive number of pixels. Got 0"):
        blurred_references(IMAGES, sigma=0)
    with pytest.raises(
        ValueError, match=r"'images' argument must have shape \(n, C, H, W\). Got \(1, 6, 5\)"
    ):
        blurred_references(IMAGES[0])
