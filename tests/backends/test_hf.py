"""Models of three architectures in this process: alone, in batches, and where memory ends."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from lvlm_va.backends import ChatRequest, HFBackend, ImagePart, Turn
from lvlm_va.backends.hf.decoding import Row, decode_rows
from tests.backends.inner import kinds, texts

RNG = np.random.default_rng(0)


def picture() -> ImagePart:
    height, width = RNG.integers(20, 70, 2)
    return ImagePart(RNG.integers(0, 256, (height, width, 3), np.uint8))


def ask(text="What is it?", images=0, **more) -> ChatRequest:
    turns = (Turn("system", ("Be brief.",)), Turn("user", (*(picture() for _ in range(images)), text)))
    return ChatRequest(turns, **{"max_tokens": 10, **more})


# Of different lengths, with different numbers and sizes of images, greedy and drawn.
REQUESTS = [
    *(ask("What is it? " * (1 + i % 4), images=i % 3, max_tokens=6 + i) for i in range(9)),
    *(ask("Draw.", images=1, temperature=1.0, seed=3, sample=i) for i in range(3)),
    ask("Choose.", images=1, choices=("spurious", "relevant", "unsure")),
    ask("Choose.", images=2, choices=("Yes", "No"), temperature=2.0, seed=1),
]


@pytest.fixture(scope="module")
def backend(any_folder) -> HFBackend:
    return HFBackend(any_folder, batch_size=4)


@pytest.fixture
def llava(tiny_folder) -> HFBackend:
    return HFBackend(tiny_folder("llava"))


def test_a_batch_equals_single_requests(backend):
    together = backend.complete(REQUESTS)
    alone = [backend.complete([request])[0] for request in REQUESTS]
    assert kinds(together) == ["reply"] * len(REQUESTS)
    assert [replace(reply, choice_probs=None) for reply in together] == alone
    assert len({reply.text for reply in together[:9]}) == 9


def test_replies_are_those_of_transformers(backend, any_folder):
    model = AutoModelForImageTextToText.from_pretrained(any_folder)
    processor = AutoProcessor.from_pretrained(any_folder)
    image = picture()
    request = ChatRequest((Turn("user", ("This: ", image, "What is it?")),), max_tokens=20)
    content = [
        {"type": "text", "text": "This: "},
        {"type": "image", "image": Image.fromarray(image.array)},
        {"type": "text", "text": "What is it?"},
    ]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    inputs.pop("labels", None)
    output = model.generate(**inputs, do_sample=False, max_new_tokens=20)
    expected = processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert texts(backend.complete([request])) == [expected]


def test_what_a_model_sees_matters(backend):
    request = ask("What is it?", images=2)
    (system, user) = request.turns
    first, second, text = user.parts
    others = [
        ChatRequest((system, Turn("user", (second, first, text))), max_tokens=10),
        ChatRequest((system, Turn("user", (first, second, "What is this?"))), max_tokens=10),
        ChatRequest((Turn("system", ("Be long.",)), user), max_tokens=10),
    ]
    asked = [replace(r, choices=("Yes", "No"), want_choice_probs=True) for r in (request, *others)]
    shares = sorted(reply.choice_probs["Yes"] for reply in backend.complete(asked))
    assert min(np.diff(np.log(shares))) > 1e-3


@pytest.fixture(scope="module")
def sized(tiny_folder):
    """Return what gives a backend of a batch size."""
    return cache(lambda size: HFBackend(tiny_folder("llava"), batch_size=size))


@given(order=st.lists(st.sampled_from(range(len(REQUESTS))), max_size=7), size=st.integers(1, 7))
@settings(max_examples=10, deadline=None)
def test_neighbours_and_batch_sizes_change_nothing(sized, order, size):
    expected = texts(sized(4).complete(REQUESTS))
    assert texts(sized(size).complete([REQUESTS[i] for i in order])) == [expected[i] for i in order]


def test_threads_take_turns(llava):
    expected = texts(llava.complete(REQUESTS))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: texts(llava.complete(REQUESTS)), range(4))) == [expected] * 4


def test_draws_follow_seed_and_sample_and_leave_the_global_generator_alone(llava):
    request = ask("Draw.", temperature=1.0, seed=0, max_tokens=16)
    state = torch.get_rng_state()
    first, second = (texts(llava.complete([request]))[0] for _ in range(2))
    others = [replace(request, seed=1), replace(request, sample=1), replace(request, temperature=0.0)]
    assert first == second
    assert len({first, *texts(llava.complete(others))}) == 4
    unseeded = [replace(request, seed=None)] * 4
    assert len(set(texts(llava.complete(unseeded)))) == 4
    assert torch.equal(torch.get_rng_state(), state)


def test_usage_and_finish_are_told(llava):
    (reply,) = llava.complete([ask("Hello.", images=1, max_tokens=7)])
    assert (reply.finish, reply.usage.output_tokens, reply.model) == (
        "length",
        7,
        llava.name.removeprefix("hf:"),
    )
    # Marks of two turns and of the reply, with their line ends, the texts in bytes, and four tokens of the image.
    assert reply.usage.input_tokens == 2 * 4 + 2 + len("Be brief.") + len("Hello.") + 4


def test_a_reply_ends_where_the_model_ends_it(llava, monkeypatch):
    request = ask("Hello.", images=1, max_tokens=8)
    row = Row(llava._prompts.render(request), request.images, 8)
    (decoded,) = decode_rows(llava._model, llava._prompts, [row])
    monkeypatch.setattr(llava._model.generation_config, "eos_token_id", [2, decoded.tokens[3]])
    other, reply = llava.complete([ask("What else?", images=1, max_tokens=8), request])
    position = decoded.tokens.index(decoded.tokens[3])
    assert (reply.finish, reply.usage.output_tokens) == ("stop", position + 1)
    assert reply.text == llava._prompts.decode(decoded.tokens[:position], row.prompt)
    assert other.usage.output_tokens == 8


def out_of_memory_above(backend, monkeypatch, rows):
    """Let the model refuse batches of more than so many rows; return the sizes that it was given."""
    generate, sizes = backend._model.generate, []

    def refuse(**inputs):
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > rows:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return generate(**inputs)

    monkeypatch.setattr(backend._model, "generate", refuse)
    return sizes


def test_a_batch_out_of_memory_is_halved_and_the_size_remembered(llava, monkeypatch):
    requests = [ask(f"Number {i}", images=1) for i in range(8)]
    expected = texts(llava.complete(requests))
    sizes = out_of_memory_above(llava, monkeypatch, 3)
    assert texts(llava.complete(requests)) == expected
    assert sizes == [8, 4, 2, 2, 2, 2]
    assert llava.capabilities.batch_size == 2
    assert texts(llava.complete(requests[:3])) == expected[:3]
    assert sizes[6:] == [2, 1]


def test_a_request_that_never_fits_fails_alone(llava, monkeypatch):
    sizes = out_of_memory_above(llava, monkeypatch, 0)
    outcomes = llava.complete([ask(images=1), ask(images=1)])
    assert kinds(outcomes) == ["bad_request"] * 2
    assert "does not fit into the memory. OutOfMemoryError: CUDA" in outcomes[0].message
    assert sizes == [2, 1, 1]


def test_other_errors_belong_to_their_request(llava, monkeypatch):
    requests = [ask("fine"), ask("long " * 2000), ask("fine too"), ask(max_tokens=0), ChatRequest(())]
    outcomes = llava.complete(requests)
    assert kinds(outcomes) == ["reply", "bad_request", "reply", "bad_request", "bad_request"]
    assert "takes 10019 tokens, but the model has room for 4096" in outcomes[1].message
    assert "'max_tokens' of a request must be at least 1. Got 0" in outcomes[3].message
    assert texts(outcomes)[0] == texts(llava.complete(requests[:1]))[0]


def test_a_copy_is_the_same_backend_and_a_pickled_one_loads_again(llava):
    assert copy.deepcopy(llava) is llava
    again = pickle.loads(pickle.dumps(llava))
    assert again.fingerprint() == llava.fingerprint()
    assert texts(again.complete(REQUESTS[:2])) == texts(llava.complete(REQUESTS[:2]))
