"""Descriptions in two parts: one text, made in one place."""

import pytest

from lvlm_va import LVLMVAClassifier
from lvlm_va.critique import TinyCritic
from lvlm_va.critique.specifications import as_texts
from tests.critique.making import corner_and_centre, verdicts_of

PARTS = {"counts": "the digit", "does_not_count": "the patch in the corner"}
TEXT = "What counts is the digit. What does not count is the patch in the corner."


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("The digit.", "The digit."),
        (PARTS, TEXT),
        (dict(reversed(PARTS.items())), TEXT),
        ({"counts": " The digit, round or not!\n"}, "What counts is The digit, round or not!"),
        ({"does_not_count": "the patch"}, "What does not count is the patch."),
        ({"counts": " ", "does_not_count": ""}, ""),
        ({}, ""),
    ],
)
def test_one_text(said, text):
    assert as_texts({3: said, "cat": said}) == {"3": text, "cat": text}
    assert as_texts(None) == {}


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        ({"count": "the digit"}, ValueError, "'specifications' argument must be one of .*Did you mean 'counts'"),
        ({"counts": ["the digit"]}, TypeError, "'specifications' argument must hold text under 'counts'.*class '3'"),
        (["the digit"], TypeError, "'specifications' argument must map each class to text.*for class '3'"),
        (None, TypeError, "'specifications' argument must map each class to text"),
    ],
)  # fmt: skip
def test_what_is_neither_text_nor_its_parts(said, error, message, blobs):
    with pytest.raises(error, match=message):
        as_texts({3: said})
    with pytest.raises(error, match="'specifications' argument"):
        LVLMVAClassifier(specifications={0: said}).fit(*blobs)


def test_the_tiny_critic_reads_it():
    requests = [
        corner_and_centre(description=text) for text in (TEXT, "The digit counts. The patch does not count.")
    ]
    parts, plain = verdicts_of(TinyCritic().critique(requests))
    assert parts == plain != ["unsure", "unsure"]


def test_critics_verdicts_and_keys_know_the_text_alone(blobs, tmp_path):
    class Listening:
        name = "listening"

        def __init__(self):
            self.heard = []

        def fingerprint(self):
            return self.name

        def critique(self, requests):
            from lvlm_va.critique import RegionCritic

            self.heard += [request.description for request in requests]
            return RegionCritic({"irrelevant": ["corners"]}).critique(requests)

    parameters = {"n_align": 4, "epochs": 1, "align_epochs": 0, "random_state": 0, "run_dir": tmp_path}
    for said, heard in ((PARTS, 4), (TEXT, 0)):
        critic = Listening()
        clf = LVLMVAClassifier("mlp", critic=critic, specifications={0: said, 1: said}, **parameters)
        assert clf.fit(*blobs).verdicts_.specifications == {"0": TEXT, "1": TEXT}
        assert critic.heard == [TEXT] * heard  # the second time it was known
