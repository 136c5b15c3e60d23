"""From a name or an object to a segmenter; several segmentations to one; the docstrings' examples."""

from __future__ import annotations

import doctest
import importlib

import pytest
import torch

from lvlm_va.segmentation import PPEPSWGM, SLIC, Grid, concatenate_segmentations, resolve_segmenter


@pytest.mark.parametrize("kind", [PPEPSWGM, Grid, SLIC])
def test_names(kind):
    assert resolve_segmenter(kind.name) == kind()


def test_objects_stay_as_they_are():
    grid = Grid(2, 2)
    assert resolve_segmenter(grid) is grid


def test_unknown_names_get_a_suggestion():
    with pytest.raises(ValueError, match=r"'segmenter' argument must be one of .* Did you mean 'ppeps_wgm'"):
        resolve_segmenter("ppeps-wgm")


def test_a_class_is_not_a_segmenter():
    with pytest.raises(TypeError, match=r"Got the class Grid instead. Use Grid\(\)"):
        resolve_segmenter(Grid)


def test_other_objects_are_refused():
    with pytest.raises(TypeError, match=r"an object with a 'segment' method. Got int instead"):
        resolve_segmenter(5)


def test_concatenation_is_as_wide_as_the_widest():
    attributions = torch.rand(2, 1, 6, 6)
    parts = [
        PPEPSWGM(n_segments=2).segment(attributions, attributions, 0),
        Grid(2, 2).segment(attributions, attributions, 0),
    ]
    whole = concatenate_segmentations(parts)
    assert whole.labels.shape == (4, 6, 6)
    assert whole.shares.shape == (4, 4)
    assert (whole.shares[:2, 2:] == 0).all()
    assert whole.means[:2, 2:].isnan().all()
    assert whole.covariances[:2, 2:].isnan().all()
    assert torch.equal(whole.shares[2:], parts[1].shares)
    assert torch.equal(whole.n_segments, torch.cat([part.n_segments for part in parts]))


def test_concatenation_of_nothing():
    with pytest.raises(ValueError, match=r"at least one Segmentation. Got none instead"):
        concatenate_segmentations([])


@pytest.mark.parametrize("name", ["effect", "ppeps_wgm", "resolve"])
def test_docstrings_hold(name):
    results = doctest.testmod(importlib.import_module(f"lvlm_va.segmentation.{name}"))
    assert results.attempted > 0
    assert results.failed == 0
