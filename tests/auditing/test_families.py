"""Regions of many images, and the families that they fall into."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import HDBSCAN, AgglomerativeClustering, KMeans

from lvlm_va.attribution import Explainer, ReferenceSet, resolve_attributor
from lvlm_va.auditing import FewestGaussians, find_families, find_regions
from lvlm_va.auditing.families import exemplars
from lvlm_va.data.inputs import as_image_rows
from lvlm_va.data.stored_images import ImageReader, StoredImages
from lvlm_va.segmentation import Regions, pixel_effect
from tests.auditing.scenes import OBJECT, TAG, Reads, scene

EXPLAINER = Explainer(resolve_attributor("deeplift_shap"), ReferenceSet("blurred", None))


@pytest.fixture(scope="module")
def table():
    images, labels, _ = scene()
    return find_regions(Reads(1, 1), images, labels, EXPLAINER, Regions())


def test_every_region_has_a_row(table):
    images, labels, _ = scene()
    explanation = EXPLAINER.explain(Reads(1, 1), images, labels)
    found = Regions().segment(explanation.attributions, images, 0)
    assert len(table) == int(found.n_segments.sum())
    assert torch.equal(table.labels.long(), found.labels)
    assert np.allclose(np.bincount(table.rows, table.shares, len(images)), found.shares.sum(1))
    assert np.array_equal(table.targets, labels.numpy()[table.rows])
    masks = table.masks(np.arange(len(table)))
    for row in (0, len(table) // 2, len(table) - 1):
        inside = found.labels[table.rows[row]] == table.segments[row]
        assert torch.equal(masks[row], inside)
        assert table.area[row] == pytest.approx(float(inside.float().mean()))
        # Looks begin with the mean of each channel.
        assert table.looks[row, 0] == pytest.approx(
            float(images[table.rows[row], 0][inside].mean()), abs=1e-6
        )
    effect = pixel_effect(explanation.attributions, found.effect).sum((1, 2))
    assert torch.allclose(table.effect.double().sum((1, 2)), effect / effect.mean(), rtol=2e-2)


def test_images_that_are_not_in_memory_have_the_same_regions(table):
    images, labels, _ = scene()
    dataset = torch.utils.data.TensorDataset(images, labels)
    stored = as_image_rows(StoredImages(ImageReader(dataset, 0)), (1, 24, 24), torch.float32)
    again = find_regions(Reads(1, 1), stored, labels, EXPLAINER, Regions())
    assert np.array_equal(again.rows, table.rows)
    assert np.array_equal(again.shares, table.shares)


def centre_of(part):
    return np.array([(axis.start + axis.stop) / 2 / 24 for axis in part])


@pytest.mark.parametrize(
    "clusterer",
    [None, HDBSCAN(min_cluster_size=8, copy=True), KMeans(6, random_state=0), AgglomerativeClustering(6)],
)
def test_tag_and_object_are_families_of_their_own(table, clusterer):
    families, descriptors = find_families(table, clusterer)
    assert descriptors.shape[0] == len(table)
    effects = [table.shares[families == number].sum() for number in range(families.max() + 1)]
    assert effects == sorted(effects, reverse=True)
    near = {
        name: np.linalg.norm(table.place - centre_of(part), axis=1) < 0.08
        for name, part in (("tag", TAG), ("object", OBJECT))
    }
    assert near["tag"].sum() > 40
    assert near["object"].sum() > 40
    assert not set(families[near["tag"]]) & set(families[near["object"]]) - {-1}


@settings(max_examples=5, deadline=None)
@given(sizes=st.lists(st.integers(20, 40), min_size=1, max_size=4), seed=st.integers(0, 3))
def test_their_number_follows_from_the_data(sizes, seed):
    rng = np.random.default_rng(seed)
    centres = np.arange(len(sizes))[:, None] * 10.0 * np.ones((1, 3))
    rows = np.concatenate(
        [centre + rng.normal(0, 0.3, (n, 3)) for centre, n in zip(centres, sizes, strict=True)]
    )
    truth = np.repeat(np.arange(len(sizes)), sizes)
    found = FewestGaussians(12, random_state=seed).fit_predict(rows)
    # No cluster holds two things.
    assert all(len(set(truth[found == name])) == 1 for name in set(found))


def test_small_groups_are_no_families(table):
    class OneAlone:
        def fit_predict(self, X):
            return np.where(np.arange(len(X)) < 7, 0, 1)

    families, _ = find_families(table, OneAlone())
    assert set(families[:7]) == {-1}
    assert set(families[7:]) == {0}


def test_exemplars_are_typical_and_of_different_images():
    descriptors = np.array([[0.0], [0.1], [0.05], [9.0], [-0.1]])
    assert exemplars(descriptors, np.array([0, 0, 1, 2, 3]), 3).tolist() == [2, 0, 4]


def test_without_a_region_there_is_no_family(table):
    nothing = replace(
        table,
        **{
            name: getattr(table, name)[:0]
            for name in ("rows", "segments", "targets", "shares", "place", "area", "looks", "activations")
        },
    )
    with pytest.raises(ValueError, match="explanations have regions"):
        find_families(nothing)
