"""When two requests are the same question."""

import json
from dataclasses import fields, replace
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from lvlm_va.backends import ChatReply, ChatRequest, ImagePart, Turn, Usage
from lvlm_va.backends.request_json import reply_from_json, reply_to_json, request_key, request_to_json
from tests.backends.inner import ask

images = st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda size: npst.arrays(np.uint8, (*size, 3), elements=st.integers(0, 255))
)
anything = st.text(st.characters(exclude_categories=[]), max_size=20)  # lone surrogates too

# For each field, a strategy of values that all differ in meaning.
FIELDS = {
    "turns": st.lists(
        st.builds(
            Turn,
            st.sampled_from(["system", "user", "assistant"]),
            st.lists(anything, max_size=3).map(tuple),
        ),
        max_size=3,
    ).map(tuple),
    "max_tokens": st.integers(1, 10_000),
    "temperature": st.none() | st.floats(0, 2),
    "seed": st.none() | st.integers(0, 2**63),
    "choices": st.none() | st.lists(anything, max_size=3).map(tuple),
    "want_choice_probs": st.booleans(),
    "schema": st.none()
    | st.dictionaries(anything, anything | st.integers() | st.lists(anything), max_size=3),
    "sample": st.integers(0, 100),
}
requests = st.builds(ChatRequest, **FIELDS)


def test_every_field_has_its_strategy():
    assert set(FIELDS) == {field.name for field in fields(ChatRequest)}


@given(images)
def test_equal_pixels_give_equal_keys_however_they_lie_in_memory(pixels):
    padded = np.zeros((pixels.shape[0] + 2, pixels.shape[1] * 2, 3), np.uint8)
    padded[1:-1, ::2] = pixels
    layouts = [
        pixels.copy(),
        np.asfortranarray(pixels),
        padded[1:-1, ::2],
        pixels[::-1, ::-1].copy()[::-1, ::-1],
        np.ascontiguousarray(pixels.transpose(2, 0, 1)).transpose(1, 2, 0),
    ]
    assert len({request_key(ask(image=layout), "f") for layout in layouts}) == 1


@given(images, st.data())
def test_any_differing_pixel_gives_another_key(pixels, data):
    place = tuple(data.draw(st.integers(0, n - 1)) for n in pixels.shape)
    other = pixels.copy()
    other[place] ^= data.draw(st.integers(1, 255))
    assert request_key(ask(image=pixels), "f") != request_key(ask(image=other), "f")


def test_the_size_counts_where_the_bytes_are_equal():
    tall, wide = np.zeros((2, 8, 3)), np.zeros((8, 2, 3))
    assert request_key(ask(image=tall), "f") != request_key(ask(image=wide), "f")


@given(requests, st.sampled_from(sorted(FIELDS)), st.data())
def test_any_differing_field_gives_another_key(request, name, data):
    value = data.draw(FIELDS[name].filter(lambda value: value != getattr(request, name)))
    assert request_key(request, "f") != request_key(replace(request, **{name: value}), "f")
    assert request_key(request, "f") != request_key(request, "g")


@given(requests)
def test_equal_requests_give_equal_keys(request):
    schema = None if request.schema is None else MappingProxyType(dict(request.schema))
    assert request_key(request, "f") == request_key(replace(request, schema=schema), "f")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ask("ab"), ChatRequest((Turn("user", ("a", "b")),))),
        (ask(schema={"a": 1, "b": 2}), ask(schema={"b": 2, "a": 1})),
        (ask(schema={}), ask()),
        (ask(choices=()), ask()),
        (ask(temperature=0.0), ask()),
        (ask("x", np.zeros((2, 2, 3))), ask(f"x{np.zeros((2, 2, 3))}")),
    ],
    ids=["split text", "order of schema", "empty schema", "no choices", "temperature 0", "image or its text"],
)
def test_near_misses_differ(one, other):
    assert request_key(one, "f") != request_key(other, "f")


def test_numbers_count_by_value():
    plain, numpy = (
        ask(max_tokens=5, temperature=0.0, seed=1),
        ask(max_tokens=np.int64(5), temperature=0, seed=1),
    )
    assert request_key(plain, "f") == request_key(numpy, "f")


def test_a_schema_that_is_not_json_is_named():
    with pytest.raises(TypeError, match="'schema' of a request must hold JSON values only. Got a set"):
        request_key(ask(schema={"enum": {"a"}}), "f")


def test_images_are_described_not_held():
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    described = request_to_json(ask("Look.", pixels))
    assert described["turns"][0]["parts"][1] == {
        "image": ImagePart(pixels).sha256,
        "height": 2,
        "width": 3,
    }


@given(
    st.builds(
        ChatReply,
        text=anything,
        model=anything,
        finish=st.sampled_from(["stop", "length", "refusal"]),
        usage=st.builds(Usage, st.integers(0, 2**60), st.integers(0, 2**60)),
        choice_probs=st.none() | st.dictionaries(anything, st.floats(0, 1), max_size=3),
        cached=st.booleans(),
        reply_id=anything,
    )
)
def test_a_reply_comes_back_from_json(reply):
    assert reply_from_json(json.loads(json.dumps(reply_to_json(reply)))) == reply
