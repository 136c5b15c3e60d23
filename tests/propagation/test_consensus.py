"""Where critiqued images were judged spurious, taken together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lvlm_va.propagation import Consensus, Propagation, find_consensus


def at(rows: slice, columns: slice, n: int = 1) -> Tensor:
    masks = torch.zeros(n, 10, 10, dtype=torch.bool)
    masks[:, rows, columns] = True
    return masks


FLAT = torch.ones(1, 10, 10, dtype=torch.float64)


def test_a_few_wrong_masks_do_not_enlarge_it() -> None:
    corner, wrong = at(slice(0, 2), slice(0, 2), 20), at(slice(5, 9), slice(5, 9), 2)
    found = find_consensus(torch.cat([corner, wrong]), FLAT.expand(22, 10, 10))
    torch.testing.assert_close(found.mask, corner[0])
    assert found.coverage == pytest.approx(20 / 22)
    assert found.in_place


def test_several_places_are_one_consensus() -> None:
    masks = torch.cat([at(slice(0, 2), slice(0, 2), 9), at(slice(8, 10), slice(8, 10), 7)])
    found = find_consensus(masks, FLAT.expand(16, 10, 10))
    assert found.mask.sum() == 8
    assert found.in_place


def test_each_image_is_foretold_by_the_others_alone() -> None:
    masks = torch.cat([at(slice(k, k + 1), slice(k, k + 1)) for k in range(10)])
    found = find_consensus(masks, FLAT.expand(10, 10, 10))
    assert found.mask.sum() == 10
    assert found.coverage == 0
    assert not found.in_place


def test_coverage_weighs_by_effect() -> None:
    masks = torch.cat([at(slice(0, 1), slice(0, 1), 8), at(slice(0, 1), slice(0, 2))])
    effect = FLAT.repeat(9, 1, 1)
    effect[8, 0, 1] = 3.0
    assert find_consensus(masks, effect).coverage == pytest.approx((8 + 1 / 4) / 9)


def test_a_large_place_is_none() -> None:
    found = find_consensus(at(slice(0, 5), slice(0, 10), 5), FLAT.expand(5, 10, 10))
    assert found.coverage == 1
    assert not found.in_place


@pytest.mark.parametrize("n", [0, 1])
def test_one_image_foretells_nothing(n: int) -> None:
    masks = torch.cat([at(slice(0, 1), slice(0, 1), n), torch.zeros(3, 10, 10, dtype=torch.bool)])
    found = find_consensus(masks, FLAT.expand(len(masks), 10, 10))
    assert found.coverage == 0
    assert found.mask.sum() == n
    assert not found.in_place


def test_its_mask_and_coverage_decide() -> None:
    small = at(slice(0, 2), slice(0, 2))[0]
    assert Consensus(small, 0.8).in_place
    assert not Consensus(small, 0.79).in_place


def test_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="'consensus' argument must be 'auto', True or False. Got 'yes'"):
        Propagation(consensus="yes")
