"""Regions put into other images and taken out of their own, against nets of which it is known what they read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lvlm_va.attribution import Explainer, ReferenceSet, resolve_attributor
from lvlm_va.auditing import Count, Swaps, alarming, draw_pairs, find_regions, suspicion, swap
from lvlm_va.auditing.suspicion import holm
from lvlm_va.modules.logits import predict_logits
from lvlm_va.segmentation import Regions
from tests.auditing.scenes import OBJECT, TAG, Reads, scene

EXPLAINER = Explainer(resolve_attributor("deeplift_shap"), ReferenceSet("blurred", None))


def tried(net, part, *, one=False):
    images, labels, _ = scene()
    logits = predict_logits(net, images, batch_size=64)
    table = find_regions(
        net, images, labels, Explainer(EXPLAINER.attributor, EXPLAINER.references, sigmoid=one), Regions()
    )
    centre = np.array([(axis.start + axis.stop) / 2 / 24 for axis in part])
    members = np.flatnonzero((np.linalg.norm(table.place - centre, axis=1) < 0.08) & (table.targets == 1))
    pairs = draw_pairs(table, members, labels.numpy(), 40, 0)
    return table, pairs, swap(net, images, table, logits, pairs, batch_size=16, seed=0)


@pytest.mark.parametrize("one", [False, True])
def test_a_tag_turns_predictions_and_its_loss_loses_them(one):
    net = Reads(10, 1, one=one)
    table, pairs, found = tried(net, TAG, one=one)
    assert found.transplants == Count(40, 40)
    assert found.controls.changed == 0
    assert found.moved.changed < 10
    assert found.log_odds > 3
    assert {way: count.changed for way, count in found.occlusions.items()} == {
        "blur": 40,
        "mean": 40,
        "other": 40,
    }
    assert found.overlap < 0.05
    assert found.p_value < 1e-9
    assert (table.targets[pairs.regions] == 1).all()
    assert not set(pairs.receivers) & set(np.flatnonzero(scene()[1]))
    assert not (pairs.receivers == pairs.controls).any()


def test_what_a_net_does_not_read_turns_nothing():
    images, labels, _ = scene()
    _, pairs, _ = tried(Reads(10, 1), TAG)
    table = find_regions(Reads(10, 1), images, labels, EXPLAINER, Regions())
    blind = Reads(0, 10)
    found = swap(
        blind, images, table, predict_logits(blind, images, batch_size=64), pairs, batch_size=64, seed=0
    )
    assert found.transplants.changed == found.controls.changed == 0
    assert found.p_value == 1.0
    assert sum(count.changed for count in found.occlusions.values()) == 0


def test_what_is_said_already_is_no_change():
    images, _, _ = scene()
    table, pairs, _ = tried(Reads(10, 1), TAG)
    always = Reads(10, 1)
    with torch.no_grad():
        always.linear.bias.fill_(100.0)
    logits = predict_logits(always, images, batch_size=64)
    found = swap(always, images, table, logits, pairs, batch_size=64, seed=0)
    assert found.transplants == found.controls == found.moved == Count(0, 0)


def test_a_quick_trial_is_the_same_without_the_rest():
    images, _, _ = scene()
    net = Reads(5, 5)
    table, pairs, thorough = tried(net, OBJECT)
    logits = predict_logits(net, images, batch_size=64)
    quick = swap(net, images, table, logits, pairs, batch_size=64, seed=0, thorough=False)
    assert (quick.transplants, quick.controls, quick.p_value) == (
        thorough.transplants,
        thorough.controls,
        thorough.p_value,
    )
    assert quick.moved is None
    assert not quick.occlusions


@given(n=st.integers(1, 200), data=st.data())
def test_an_interval_holds_the_rate(n, data):
    changed = data.draw(st.integers(0, n))
    low, high = Count(changed, n).interval
    assert 0 <= low <= changed / n <= high <= 1
    assert "95 % interval" in str(Count(changed, n))


def swaps(turned, control, overlap=0.0, n=100):
    p = 1e-6 if turned > control + 10 else 0.5
    return Swaps(Count(turned, n), Count(control, n), p, overlap, 1.0)


@given(st.integers(0, 99), st.integers(0, 99), st.floats(0, 0.9))
def test_suspicion_grows_with_what_is_turned_and_falls_with_what_excuses_it(turned, control, overlap):
    found = suspicion(swaps(turned, control, overlap))
    assert 0 < found <= 2550
    assert suspicion(swaps(turned + 1, control, overlap)) > found
    assert suspicion(swaps(turned, control + 1, overlap)) < found
    assert suspicion(swaps(turned, control, overlap + 0.1)) < found


def test_an_alarm_needs_suspicion_many_predictions_and_more_than_chance():
    many, few = swaps(60, 0), swaps(4, 0)
    chance = Swaps(Count(60, 100), Count(0, 100), 0.03, 0.0, 1.0)
    covered = swaps(60, 0, overlap=0.3)
    assert alarming([many, few, chance, covered]) == [True, False, False, False]
    # Alone, the same p-value is below the level.
    assert alarming([chance]) == [True]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_agrees_with_its_definition(p_values):
    corrected = holm(np.array(p_values))
    m, order = len(p_values), np.argsort(p_values, kind="stable")
    highest = 0.0
    for step, place in enumerate(order):
        highest = max(highest, min(1.0, (m - step) * p_values[place]))
        assert corrected[place] == pytest.approx(highest)


def test_of_several_images_the_one_least_covered_receives():
    images, labels, _ = scene()
    net = Reads(10, 1)
    table = find_regions(net, images, labels, EXPLAINER, Regions())
    # In all images of class 0 but these, all effect is under the tag.
    free = np.flatnonzero(labels.numpy() == 0)[::2]
    table.effect[:] = 0
    table.effect[:, *TAG] = 1 / 9
    table.effect[torch.from_numpy(free)] = 0
    tags = table.masks(np.arange(len(table)))[:, *TAG].any((1, 2)).numpy()
    members = np.flatnonzero(tags & (table.targets == 1))
    pairs = draw_pairs(table, members, labels.numpy(), 60, 0)
    # Of 8 of which each is free with even odds, none is less than once in 200 draws.
    assert np.isin(pairs.receivers, free).mean() > 0.95
