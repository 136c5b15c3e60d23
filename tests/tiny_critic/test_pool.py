"""Examples that are seen several times, turned and mirrored."""

from __future__ import annotations

import numpy as np

from lvlm_va.critique.tiny.segment_view import SIDE
from tools.tiny_critic.model import N_IMAGE_TOKENS, PATCH
from tools.tiny_critic.pool import Pool
from tools.tiny_critic.words import COVERED, KINDS

N_KINDS = len(KINDS) - 1


def test_what_lies_where_is_turned_with_the_view():
    views, covers, areas = Pool(np.random.default_rng(0)).draw(40)
    assert views.shape == (40, SIDE, SIDE, 3)
    assert areas.shape == (40, N_IMAGE_TOKENS, 2 * N_KINDS + 1)
    assert set(covers) <= set(COVERED)
    side = SIDE // PATCH
    in_green = (views[..., 1] > 0).reshape(40, side, PATCH, side, PATCH).any((2, 4)).reshape(40, -1)
    inside = areas[..., N_KINDS] > 0
    # The green reaches a pixel beyond the segment.
    assert not (inside & ~in_green).any()
    assert (inside | ~in_green).mean() > 0.9
    assert (areas[..., N_KINDS + 1 :] <= areas[..., :N_KINDS] + 1e-6).all()


def test_the_same_chance_draws_the_same_and_goes_on_to_new_ones():
    first, second = (Pool(np.random.default_rng(3)) for _ in range(2))
    seen = []
    for _ in range(2):
        batch, again = first.draw(64), second.draw(64)
        np.testing.assert_array_equal(batch.views, again.views)
        assert batch.covers == again.covers
        seen.append(batch.views)
    assert (seen[0] != seen[1]).any()
