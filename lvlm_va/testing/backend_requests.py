"""What a backend under test is asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lvlm_va.backends.types import ChatBackend, ChatRequest, ImagePart, Turn

WORDS = ("spurious", "relevant", "unsure")


def plain_requests(count: int, max_tokens: int = 12) -> list[ChatRequest]:
    """Return requests of text alone, of different lengths, at temperature 0."""
    texts = [f"Say the number {i}." + " Only the number." * i for i in range(count)]
    return [ChatRequest((Turn("user", (text,)),), max_tokens=max_tokens, temperature=0.0) for text in texts]


def image_requests(max_images: int | None) -> list[ChatRequest]:
    """Return requests with one image, and with three if that many are allowed.

    The first image is a part of a larger array and cannot be written to: both are usual.
    """
    rows, columns = np.mgrid[:96, :120]
    large = np.stack([rows, columns, 255 - rows], axis=2).astype(np.uint8)
    part = large[8:72:2, 10:110:2]
    part.flags.writeable = False
    request = ChatRequest(
        (
            Turn("system", ("Answer in one word.",)),
            Turn("user", ("Image 1: ", ImagePart(part), "Which colour is at the top?")),
        ),
        max_tokens=12,
        temperature=0.0,
    )
    if max_images is not None and max_images < 3:
        return [request]
    three = (
        *(
            part
            for i in (1, 2)
            for part in (f"Image {i}: ", ImagePart(np.full((40, 40, 3), 100 * i, np.uint8)))
        ),
        *request.turns[1].parts,
    )
    return [request, replace(request, turns=(request.turns[0], Turn("user", three)))]


def choice_requests(with_probs: bool) -> list[ChatRequest]:
    """Return requests whose choices differ, so that replies in another order show."""
    choices = [WORDS, ("Yes", "No"), ("alpha", "beta", "gamma"), ("one",)]
    return [
        replace(request, choices=of_one, want_choice_probs=with_probs)
        for request, of_one in zip(plain_requests(len(choices)), choices, strict=True)
    ]


def schema_request() -> ChatRequest:
    """Return a request for JSON of one field."""
    (request,) = plain_requests(1, max_tokens=200)
    schema = {
        "type": "object",
        "properties": {"number": {"type": "integer"}},
        "required": ["number"],
        "additionalProperties": False,
    }
    return replace(request, schema=schema)


def bad_requests(backend: ChatBackend) -> list[ChatRequest]:
    """Return requests that make no sense: some backends answer them nevertheless, none may raise."""
    (request,) = plain_requests(1)
    images = backend.capabilities.max_images
    bad = [replace(request, turns=(Turn("user", ()),)), replace(request, max_tokens=0)]
    if images is not None:
        image = ImagePart(np.zeros((16, 16, 3), np.uint8))
        bad.append(replace(request, turns=(Turn("user", (*[image] * (images + 1), "What is this?")),)))
    return bad
