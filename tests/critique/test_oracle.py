"""The oracle: right by the masks, wrong as often as it is told to be."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvlm_va.critique import OracleCritic, VerdictPolicy
from tests.critique.making import corner_and_centre, make_request, verdicts_of

MASK = np.zeros((1, 28, 28), bool)
MASK[0, :4, :4] = True


@pytest.mark.parametrize("masks", [MASK, MASK.tolist(), MASK.astype(np.uint8) * 255, torch.from_numpy(MASK)])
def test_a_segment_inside_the_mask_is_spurious(masks):
    assert verdicts_of(OracleCritic(masks).critique([corner_and_centre()])) == [["spurious", "relevant"]]


def test_effect_decides_and_not_area():
    segments = np.ones((2, 2), int)
    masks = np.array([[[1, 0], [0, 0]]])
    request = make_request(segments, effect=[[3, 1], [1, 1]])  # half of the effect in a quarter of the area
    assert verdicts_of(OracleCritic(masks).critique([request])) == [["spurious"]]
    assert verdicts_of(OracleCritic(masks, threshold=0.51).critique([request])) == [["relevant"]]
    assert "50 % of its effect" in OracleCritic(masks).critique([request])[0].text


def test_a_segment_without_effect_is_relevant():
    request = make_request([[1, 2], [2, 2]], effect=[[0, 1], [1, 1]])
    assert verdicts_of(OracleCritic(np.ones((1, 2, 2))).critique([request])) == [["relevant", "spurious"]]


@settings(deadline=None, derandomize=True, max_examples=20)
@given(st.integers(0, 2**32), st.permutations(range(12)), st.integers(1, 11))
def test_wrong_verdicts_do_not_depend_on_order_or_batches(seed, order, cut):
    critic = OracleCritic(np.repeat(MASK, 12, 0), verdict_accuracy=0.5, random_state=seed)
    requests = [corner_and_centre(index=i) for i in range(12)]
    whole = {critique.image_id: critique for critique in critic.critique(requests)}
    shuffled = [requests[i] for i in order]
    parts = critic.critique(shuffled[:cut]) + critic.critique(shuffled[cut:])
    assert {critique.image_id: critique for critique in parts} == whole


def test_verdict_accuracy_is_the_share_of_right_verdicts():
    n = 4000
    requests = [make_request([[1, 2]], index=0, image_id=str(i)) for i in range(n)]
    masks = np.array([[[True, False]]])
    for accuracy in (0.0, 0.8, 1.0):
        critiques = OracleCritic(masks, verdict_accuracy=accuracy, random_state=0).critique(requests)
        right = np.array(verdicts_of(critiques)) == ["spurious", "relevant"]
        # Four standard deviations of a share of n, for each kind of segment: the noise is symmetric.
        assert np.abs(right.mean(axis=0) - accuracy).max() <= 4 * np.sqrt(accuracy * (1 - accuracy) / n)
    wrong = OracleCritic(masks, verdict_accuracy=0).critique(requests[:1])[0]
    assert "wrong on purpose" in wrong.verdicts[0].reason


def test_seeds_differ_and_none_draws_anew():
    requests = [corner_and_centre(index=0, image_id=str(i)) for i in range(100)]

    def judged(seed):
        return verdicts_of(OracleCritic(MASK, verdict_accuracy=0.5, random_state=seed).critique(requests))

    assert judged(1) == judged(1) != judged(2)
    assert judged(None) != judged(None)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"masks": np.zeros((28, 28))},
            ValueError,
            r"'masks' argument must be of shape \(n, H, W\).* \(28, 28\)",
        ),
        ({"masks": [[["a"]]]}, TypeError, "'masks' argument must be boolean"),
        ({"verdict_accuracy": 1.1}, ValueError, r"'verdict_accuracy' argument must be a number in \[0, 1\]"),
        ({"verdict_accuracy": "high"}, TypeError, "'verdict_accuracy' argument must be a number"),
        ({"threshold": 0}, ValueError, r"'threshold' argument must be a number in \(0, 1\]"),
        ({"threshold": float("nan")}, ValueError, "'threshold'"),
        ({"random_state": 0.5}, TypeError, "'random_state' argument must be an integer or None"),
        ({"object_masks": MASK[0]}, ValueError, r"'object_masks' argument must be of shape \(n, H, W\)"),
        ({"object_masks": [[["a"]]]}, TypeError, "'object_masks' argument must be boolean"),
        ({"object_masks": MASK[:, 1:]}, ValueError, r"'masks', \(1, 28, 28\). Got \(1, 27, 28\)"),
        (
            {"confuses": "surrounding"},
            ValueError,
            "'confuses' argument must be one of.*Did you mean 'surroundings'",
        ),
        ({"confuses": "surroundings"}, ValueError, "'object_masks' argument must be given with confuses="),
    ],
)
def test_wrong_parameters(arguments, error, message):
    with pytest.raises(error, match=message):
        OracleCritic(**{"masks": MASK, **arguments})


def test_masks_must_fit_the_images():
    with pytest.raises(ValueError, match=r"height and width \(28, 28\). Got masks of \(8, 8\)"):
        OracleCritic(np.zeros((1, 8, 8))).critique([corner_and_centre()])
    for index in (-1, 1):
        with pytest.raises(ValueError, match=f"Got 1 masks, but image 'x' is row {index}"):
            OracleCritic(MASK).critique([corner_and_centre(index=index, image_id="x")])


def said(critic, **request):
    return [(v.content, v.verdict) for v in critic.critique([three(**request)])[0].verdicts]


def three(**request):
    """Of three segments the first lies in the shortcut, the second by a quarter in the object, the third in neither."""
    return make_request(
        [[1, 1, 0, 0], [2, 2, 2, 2], [3, 3, 3, 3]],
        effect=[[1, 1, 0, 0], [1, 1, 1, 1], [9, 0, 0, 0]],
        **request,
    )


SHORTCUT = np.array([[[1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]])
OBJECT = np.array([[[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 1, 1]]])


def test_object_masks_tell_what_a_segment_is_about():
    right = [("artefact", "spurious"), ("object", "relevant"), ("surroundings", "relevant")]
    assert said(OracleCritic(SHORTCUT, object_masks=OBJECT)) == right
    assert said(OracleCritic(SHORTCUT, object_masks=torch.from_numpy(OBJECT))) == right
    unknown = [("artefact", "spurious"), ("", "relevant"), ("", "relevant")]
    assert said(OracleCritic(SHORTCUT)) == unknown


def test_confused_it_takes_all_surroundings_for_artefacts_and_nothing_else():
    critic = OracleCritic(SHORTCUT, object_masks=OBJECT, confuses="surroundings")
    wrong = [("artefact", "spurious"), ("object", "relevant"), ("artefact", "spurious")]
    assert all(said(critic, image_id=str(i)) == wrong for i in range(20))
    assert "surroundings, taken for an artefact on purpose" in critic.critique([three()])[0].text


def test_noise_comes_on_top_and_the_content_says_what_the_verdict_follows_from():
    critic = OracleCritic(SHORTCUT, 0.5, 0, object_masks=OBJECT, confuses="surroundings")
    found = [said(critic, image_id=str(i)) for i in range(200)]
    assert {verdicts[2] for verdicts in found} == {("artefact", "spurious"), ("object", "relevant")}
    assert all(verdict == VerdictPolicy().verdict(content) for each in found for content, verdict in each)
    turned = OracleCritic(SHORTCUT, 0.0, 0, object_masks=OBJECT)
    assert said(turned) == [("object", "relevant"), ("artefact", "spurious"), ("artefact", "spurious")]
