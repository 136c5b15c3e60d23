"""Drawn scenes and the segments to judge in them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvlm_va.critique.tiny.segment_view import SIDE
from tools.tiny_critic.scenes import Scene, draw_scene
from tools.tiny_critic.segments import draw_examples, kind_of
from tools.tiny_critic.words import KINDS

seeds = st.integers(0, 2**32)


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_parts_of_a_scene_do_not_overlap(seed):
    scene = draw_scene(np.random.default_rng(seed))
    assert scene.image.shape == (SIDE, SIDE, 3)
    assert scene.image.dtype == np.uint8
    assert "figure" in scene.masks
    assert set(scene.masks) < set(KINDS)
    assert sum(mask.astype(int) for mask in scene.masks.values()).max() <= 1


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_the_same_chance_draws_the_same_examples(seed):
    drawn = []
    for _ in range(2):
        rng = np.random.default_rng(seed)
        drawn.append(draw_examples(rng, draw_scene(rng), 4))
    assert len(drawn[0]) == 4
    for first, second in zip(*drawn, strict=True):
        assert first.covers == second.covers
        np.testing.assert_array_equal(first.view, second.view)
        assert first.inside.any()


@pytest.mark.parametrize(
    ("of_patch", "of_figure", "of_ground", "covers"),
    [
        (60, 40, 0, ("patch",)),
        (40, 60, 0, ("figure",)),
        (50, 50, 0, ("figure", "patch")),
        (45, 30, 25, None),
        (0, 30, 70, ("figure",)),
        (0, 10, 90, ("background",)),
        (0, 20, 80, None),
        (60, 0, 40, ("patch",)),
        (45, 0, 55, ("patch",)),
        (25, 0, 75, None),
        (1, 1, 0, None),
    ],
)
def test_what_a_segment_covers(of_patch, of_figure, of_ground, covers):
    masks = {name: np.zeros((SIDE, SIDE), bool) for name in ("figure", "patch")}
    masks["patch"][:10, :10] = True
    masks["figure"][20:30, 20:30] = True
    ground = np.zeros((SIDE, SIDE), bool)
    ground[40:50, 40:50] = True
    inside = np.zeros((SIDE, SIDE), bool)
    for part, n in ((masks["patch"], of_patch), (masks["figure"], of_figure), (ground, of_ground)):
        inside[tuple(np.argwhere(part)[:n].T)] = True
    assert kind_of(Scene(np.zeros((SIDE, SIDE, 3), np.uint8), masks), inside) == covers
