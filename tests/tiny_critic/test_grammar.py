"""Descriptions and the replies that they deserve."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvlm_va.critique.tiny.prompt import normalised, question, unknown_words
from tools.tiny_critic.grammar import describe, draw_description, draw_label, reply, vocabulary
from tools.tiny_critic.templates import HELD_OUT, TRAINED
from tools.tiny_critic.words import NAMED

WORDS = frozenset(vocabulary())


@given(st.integers(0, 2**32), st.sampled_from([TRAINED, HELD_OUT]))
def test_every_description_is_made_of_known_words_and_says_what_was_asked(seed, templates):
    rng = np.random.default_rng(seed)
    order = [str(kind) for kind in rng.permutation(NAMED)]
    matters, irrelevant = order[: rng.integers(1, 3)], order[3 : 3 + rng.integers(1, 3)]
    description = describe(rng, matters, irrelevant, label := draw_label(rng), templates)
    assert description.says == dict.fromkeys(matters, True) | dict.fromkeys(irrelevant, False)
    assert unknown_words(description.text, label, WORDS) == []
    assert normalised(description.text) == description.text
    assert "{" not in description.text + question(label, description.text)


@given(st.integers(0, 2**32))
def test_a_drawn_description_names_something(seed):
    rng = np.random.default_rng(seed)
    assert 1 <= len(draw_description(rng, "3").says) <= 5


def test_held_out_sentences_are_not_trained_on():
    for name in ("matters", "irrelevant", "contrasts"):
        assert not set(getattr(HELD_OUT, name)) & set(getattr(TRAINED, name))
        assert len(set(getattr(TRAINED, name))) == len(getattr(TRAINED, name))


@pytest.mark.parametrize(
    ("covers", "says", "answer"),
    [
        ("patch", {"patch": False, "figure": True}, "artefact"),
        ("patch", {"patch": True, "figure": False}, "object"),
        ("patch", {"figure": True}, "artefact"),
        ("figure", {"patch": False}, "object"),
        ("figure", {"patch": True, "figure": False}, "artefact"),
        ("tag", {"patch": False, "figure": True}, "artefact"),
        ("tag", {"figure": False}, "object"),
        ("tag", {"patch": False}, "artefact"),
        ("figure", {"patch": True, "tag": False}, "unsure"),
        ("background", {"patch": False, "figure": True}, "surroundings"),
        ("background", {"patch": True, "figure": False}, "surroundings"),
        ("background", {"background": False, "figure": True}, "surroundings"),
        ("background", {"background": True, "figure": False}, "object"),
        ("figure patch", {"patch": False, "figure": True}, "mixed"),
        ("figure patch", {"patch": True, "figure": True}, "object"),
        ("figure tag", {"patch": False, "figure": True}, "mixed"),
        ("figure tag", {"patch": True, "tag": False}, "unsure"),
    ],
)
def test_the_answer_follows_the_description(covers, says, answer):
    said = reply(covers.split(), says)
    assert said.endswith(f"Answer: {answer}")
    assert said.startswith("Segment covers the ")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("The digit\n counts", "The digit counts."),
        ("Patches don't matter!", "Patches do not matter."),
        ("The patch can\u2019t be trusted", "The patch cannot be trusted."),
        ("  ", ""),
    ],
)
def test_descriptions_are_put_on_one_line_without_short_forms(written, read):
    assert normalised(written) == read


@given(st.text(max_size=60))
def test_a_label_cannot_add_turns_or_images(label):
    text = question(label, "")
    assert "<" not in text
    assert "\n" not in text
    assert len(text) < 80


def test_unknown_words_are_listed_once_and_the_label_is_known():
    text = "The femur counts, the femur <image> 7 and the knee do not. The patch is noise."
    assert unknown_words(text, "knee 7", WORDS) == ["femur", "<", ">"]


def test_words_joined_by_hyphens_and_apostrophes_are_looked_up_one_by_one():
    assert unknown_words("A lance-shaped leaf's tip: it counts.", "", WORDS) == []
    assert unknown_words("The saw-toothed femur's end - counts.", "", WORDS) == ["femur", "-"]


@given(st.integers(0, 2**32))
def test_a_remark_says_nothing_and_comes_first(seed):
    rng = np.random.default_rng(seed)
    clauses = draw_description(rng, "3").clauses
    assert all(clause.says for clause in clauses[1:])
    assert clauses[0].says or len(clauses) > 1
