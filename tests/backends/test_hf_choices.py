"""Replies that are held to choices, and how likely each is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from lvlm_va.backends import ChatRequest, HFBackend, ImagePart, Turn
from lvlm_va.backends.hf.choices import choice_probs, group_choices, pick
from lvlm_va.backends.hf.decoding import Row, _Draw

IMAGE = np.random.default_rng(1).integers(0, 256, (30, 40, 3), np.uint8)
PROMPT = "<|user|>\n{mark}Is it?<|end|>\n<|assistant|>\n"


def ask(*choices: str, **more) -> ChatRequest:
    turns = (Turn("user", (ImagePart(IMAGE), "Is it?")),)
    return ChatRequest(turns, choices=choices, **{"want_choice_probs": True, **more})


def teacher_forced(folder, choices, end="") -> dict[str, float]:
    """Return the share of each choice, from one pass over prompt and choice each."""
    model = AutoModelForImageTextToText.from_pretrained(folder)
    processor = AutoProcessor.from_pretrained(folder)
    prompt = PROMPT.format(mark="<boi>" if "gemma" in folder.name else "<image>")
    weights = []
    for choice in choices:
        count = len(processor.tokenizer(choice + end, add_special_tokens=False).input_ids)
        inputs = processor(
            text=prompt + choice + end,
            images=[Image.fromarray(IMAGE)],
            add_special_tokens=True,
            return_tensors="pt",
        )
        ids = inputs["input_ids"][0, -count:]
        with torch.inference_mode():
            logits = model(**{k: v for k, v in inputs.items() if k != "labels"}).logits[0, -count - 1 : -1]
        weights.append(float(logits.double().log_softmax(1)[range(count), ids].sum().exp()))
    return {choice: weight / sum(weights) for choice, weight in zip(choices, weights, strict=True)}


@pytest.mark.parametrize(
    ("choices", "end"),
    [
        (("Yes", "No"), ""),
        (("spurious", "relevant", "unsure"), ""),
        (("ant", "and", "art"), ""),
        (("a", "ab", "ac"), "<|end|>"),
    ],
    ids=["words", "word and letters", "common beginning", "one begins another"],
)
def test_probabilities_are_those_of_a_direct_computation(any_folder, choices, end):
    (reply,) = HFBackend(any_folder).complete([ask(*choices)])
    assert reply.choice_probs == pytest.approx(teacher_forced(any_folder, choices, end), rel=1e-4)
    assert math.isclose(sum(reply.choice_probs.values()), 1)
    assert list(reply.choice_probs) == list(choices)
    assert reply.text == max(choices, key=reply.choice_probs.get)


def test_probabilities_come_only_when_wanted(tiny_folder):
    with_, without = HFBackend(tiny_folder("llava")).complete(
        [ask("Yes", "No"), ask("Yes", "No", want_choice_probs=False)]
    )
    assert without.choice_probs is None
    assert without.text == with_.text
    assert (with_.finish, with_.usage.output_tokens) == ("stop", 1)


def test_choices_in_a_batch_equal_those_alone(any_folder):
    backend = HFBackend(any_folder)
    requests = [ask("Yes", "No"), ask("unsure", "spurious"), ask("a", "ab"), ask("one")]
    for request, reply in zip(requests, backend.complete(requests), strict=True):
        (alone,) = backend.complete([request])
        assert reply.text == alone.text
        assert reply.choice_probs == pytest.approx(alone.choice_probs, rel=1e-4)


def test_a_temperature_draws_among_the_choices(tiny_folder):
    backend = HFBackend(tiny_folder("llava"))
    (likeliest,) = backend.complete([ask("spurious", "relevant")])
    drawn = backend.complete([ask("spurious", "relevant", temperature=1.0, seed=i) for i in range(60)])
    share = sum(reply.text == "spurious" for reply in drawn) / 60
    assert share == pytest.approx(likeliest.choice_probs["spurious"], abs=0.2)
    assert all(reply.choice_probs == pytest.approx(likeliest.choice_probs, rel=1e-4) for reply in drawn)


@pytest.mark.parametrize("choices", [("Yes", ""), ("Yes", "Yes")])
def test_choices_that_cannot_be_told_apart_are_refused(tiny_folder, choices):
    (failure,) = HFBackend(tiny_folder("llava")).complete([ask(*choices)])
    assert failure.kind == "bad_request"
    assert "The 'choices' of a request must" in failure.message


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4).map(tuple), min_size=1, max_size=6))
def test_one_pass_knows_all_that_its_choices_need(tokens):
    groups = group_choices(tokens)
    assert sorted(i for group in groups for i in group) == list(range(len(tokens)))
    for first, *others in groups:
        assert all(tokens[i][:-1] == tokens[first][: len(tokens[i]) - 1] for i in others)
    if all(len(choice) == 1 for choice in tokens):
        assert len(groups) == 1


@given(st.lists(st.floats(-800, 0), min_size=1, max_size=5), st.floats(0.1, 5), st.integers(0, 99))
def test_shares_sum_to_one_and_draws_are_choices(scores, temperature, seed):
    choices = [str(i) for i in range(len(scores))]
    probs = choice_probs(choices, scores)
    assert math.isclose(sum(probs.values()), 1)
    assert pick(probs, temperature, seed) in choices
    assert probs[pick(probs, 0, None)] == max(probs.values())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_from_the_models_distribution(temperature):
    """20,000 draws; the standard deviation of a share is at most 0.0036."""
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]])
    draw = _Draw([Row("", (), 1, temperature, seed=0)])
    drawn = [int(draw(torch.zeros(1, 1), logits).argmax()) for _ in range(20_000)]
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    assert shares == pytest.approx((logits[0] / temperature).softmax(0).numpy(), abs=0.015)
