"""What goes to a chat model and comes back: turns, replies, failures, and the one method a backend has."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length", "refusal"]
FailureKind = Literal[
    "rate_limit", "quota", "auth", "not_found", "bad_request", "server", "timeout", "connection", "malformed", "budget",
    "pending",
]  # fmt: skip
# What may go well when asked again.
TRANSIENT: frozenset[FailureKind] = frozenset(("rate_limit", "server", "timeout", "connection", "malformed"))
# What will go wrong for every later request too.
FATAL: frozenset[FailureKind] = frozenset(("quota", "auth", "not_found", "budget", "pending"))


@dataclass(frozen=True, eq=False)
class ImagePart:
    """An image within a turn.

    Attributes
    ----------
    array : ndarray of shape (H, W, 3), uint8
        The pixels (sRGB). Nothing else of the image, no metadata, reaches a model.

    Raises
    ------
    TypeError, ValueError
        If `array` is not such an array.
    """

    array: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if not isinstance(self.array, np.ndarray) or self.array.dtype != np.uint8:
            kind = getattr(self.array, "dtype", type(self.array).__name__)
            raise TypeError(f"The 'array' argument must be a uint8 array. Got {kind} instead.")
        if self.array.ndim != 3 or self.array.shape[2] != 3 or not self.array.size:
            raise ValueError(
                f"The 'array' argument must be of shape (H, W, 3), not empty. Got {self.array.shape} instead."
            )

    @cached_property
    def sha256(self) -> str:
        """Digest of size and pixels, the same however the image is compressed."""
        header = f"{self.array.shape}".encode()
        return hashlib.sha256(header + np.ascontiguousarray(self.array).tobytes()).hexdigest()


@dataclass(frozen=True)
class Turn:
    """What one side of a conversation says: text and images in order.

    Attributes
    ----------
    role : {"system", "user", "assistant"}
        Whose turn it is.
    parts : tuple of str or ImagePart
        What is said and shown.
    """

    role: Role
    parts: tuple[str | ImagePart, ...]


@dataclass(frozen=True)
class ChatRequest:
    """One conversation that a model is to continue.

    Attributes
    ----------
    turns : tuple of Turn
        The conversation; the last turn is the user's.
    max_tokens : int, default=1024
        Most tokens of the reply.
    temperature : float or None, default=None
        0 for the likeliest reply; None leaves it to the backend. Ignored without that capability.
    seed : int or None, default=None
        Seed of sampled replies. Ignored without that capability.
    choices : tuple of str or None, default=None
        The reply should be one of these. Held to where the backend can; the caller checks in any case.
    want_choice_probs : bool, default=False
        Whether to return the probability of each of `choices`, where the backend can.
    schema : mapping or None, default=None
        JSON schema that the reply should follow. Held to where the backend can.
    sample : int, default=0
        Number of the vote: requests that differ in nothing else are still asked separately.
    """

    turns: tuple[Turn, ...]
    max_tokens: int = 1024
    temperature: float | None = None
    seed: int | None = None
    choices: tuple[str, ...] | None = None
    want_choice_probs: bool = False
    schema: Mapping[str, Any] | None = None
    sample: int = 0

    @property
    def images(self) -> tuple[ImagePart, ...]:
        """All images of the conversation, in order."""
        return tuple(part for turn in self.turns for part in turn.parts if isinstance(part, ImagePart))


@dataclass(frozen=True)
class Usage:
    """Tokens that a reply took, as the model's server counts them; 0 where it does not say.

    Attributes
    ----------
    input_tokens, output_tokens : int
        Tokens sent and received.
    """

    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens)


@dataclass(frozen=True)
class ChatReply:
    """What a model answered.

    Attributes
    ----------
    text : str
        The answer, without hidden reasoning; may be empty.
    model : str
        The model that the server says has answered.
    finish : {"stop", "length", "refusal"}
        Why the reply ends. ``"length"``: the tokens ran out; with an empty text, they all went on reasoning.
    usage : Usage
        Tokens taken.
    choice_probs : mapping of str to float or None
        Probability of each choice, summing to 1, where asked for and known.
    cached : bool
        Whether the reply was read from a cache, and so cost nothing now.
    reply_id : str
        The server's name for the reply; may be empty.
    """

    text: str
    model: str
    finish: Finish = "stop"
    usage: Usage = Usage()
    choice_probs: Mapping[str, float] | None = None
    cached: bool = False
    reply_id: str = ""

    @property
    def broke_off(self) -> bool:
        """Whether the tokens ran out before the end: no whole answer, worth asking for again with more of them."""
        return self.finish == "length"

    @property
    def cut_short(self) -> bool:
        """Whether the tokens ran out before the first word, as when they all went on hidden reasoning."""
        return self.finish == "length" and not self.text.strip()


@dataclass(frozen=True)
class ChatFailure:
    """Why one request has no reply. A value, not an exception: the other requests are unharmed.

    Attributes
    ----------
    kind : str
        One of `FailureKind`. ``"pending"``: it was handed over and is not answered yet, and nobody waits for it.
    message : str
        What happened, in words, without secrets.
    retry_after : float or None
        Seconds that the server asked to wait.
    """

    kind: FailureKind
    message: str
    retry_after: float | None = None

    @property
    def transient(self) -> bool:
        """Whether the same request may go well later."""
        return self.kind in TRANSIENT

    @property
    def fatal(self) -> bool:
        """Whether every later request would fail too."""
        return self.kind in FATAL

    @property
    def stops(self) -> bool:
        """Whether the other requests should wait, or not be sent at all: fatal, or a rate limit."""
        return self.fatal or self.kind == "rate_limit"


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do; what it cannot is left out of what it sends.

    Attributes
    ----------
    max_images : int or None
        Most images in a request; 0 for a text-only model, None for no known limit.
    temperature, seed, schema, choices, choice_probs : bool
        Whether these fields of a request have an effect.
    local : bool
        Whether the data stay on this machine.
    batch_size : int
        Requests that are worth handing over at once.
    per_segment : bool
        Whether the model is better asked about one segment per request (small local models).
    batched : bool
        Whether requests go through a provider's batches: answered later, at the price of batches.
    """

    max_images: int | None = None
    temperature: bool = False
    seed: bool = False
    schema: bool = False
    choices: bool = False
    choice_probs: bool = False
    local: bool = True
    batch_size: int = 8
    per_segment: bool = False
    batched: bool = False

    def refusal(self, request: ChatRequest) -> ChatFailure | None:
        """Return why a request must not be sent, if it holds more images than the model takes."""
        if self.max_images is None or len(request.images) <= self.max_images:
            return None
        message = f"The model takes at most {self.max_images} images. Got {len(request.images)} instead."
        return ChatFailure("bad_request", message)


@runtime_checkable
class ChatBackend(Protocol):
    """Any chat model: the only interface that a plug-in has to offer."""

    @property
    def name(self) -> str:
        """Name by which what it says is signed, without secrets."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        ...

    def fingerprint(self) -> str:
        """Return text that differs wherever replies may: model, weights, host, settings. No secrets."""
        ...

    def complete(self, requests: Sequence[ChatRequest]) -> list[ChatReply | ChatFailure]:
        """Return a reply or a failure for each request, in order; never raise for a single request."""
        ...


class StreamingBackend(ChatBackend, Protocol):
    """A chat model that also hands over each reply as it comes. Optional: worthwhile for slow and remote ones.

    Wrappers look for the method and otherwise call ``complete`` on ``capabilities.batch_size`` requests at a
    time.
    """

    def complete_each(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, ChatReply | ChatFailure]]:
        """Yield each request's position and what came of it, in any order, each at most once.

        After a failure that :attr:`ChatFailure.stops`, no further request is started; those under way are
        still yielded, those not started are left out. Closing the iterator starts no further request either.

        Parameters
        ----------
        requests : sequence of ChatRequest
            What is asked.

        Yields
        ------
        (int, ChatReply or ChatFailure)
            Position of a request, and what came of it.
        """
        ...


@runtime_checkable
class WaitingBackend(ChatBackend, Protocol):
    """A chat model that itself waits for replies that may take days, such as those of people. Optional.

    It keeps by itself what was asked, so that a reply is found by whoever asks the same later.
    """

    def without_waiting(self) -> ChatBackend:
        """Return the same that hands over all requests of a call, but waits for none.

        What has no reply yet fails with the kind ``"pending"``.
        """
        ...


@dataclass(frozen=True)
class BatchTicket:
    """What is needed to fetch the replies of a batch, also by another process.

    Attributes
    ----------
    batch_id : str
        The provider's name for the batch.
    keys : tuple of str
        Custom ids of the requests in it: 64 hexadecimal digits each.
    """

    batch_id: str
    keys: tuple[str, ...]


@runtime_checkable
class BatchChatBackend(ChatBackend, Protocol):
    """A chat model that also takes many requests at once, to be answered within a day at a lower price. Optional.

    What cannot be done (a refusal, a cut connection) is a value here too, and never an exception.
    """

    def n_fitting(self, requests: Sequence[ChatRequest]) -> int:
        """Return how many of these requests, from the first on, one batch can hold; at least 1."""
        ...

    def submit(self, requests: Mapping[str, ChatRequest], label: str) -> BatchTicket | ChatFailure:
        """Hand over the requests by their custom ids, as one batch that bears a label where the provider keeps one."""
        ...

    def find(self, label: str, count: int, since: float) -> list[str] | ChatFailure:
        """Return the ids of batches that may be the one of this label, oldest first.

        A provider that keeps no labels goes by the number of requests, and the time (seconds since the epoch)
        before which it was not submitted.

        Parameters
        ----------
        label : str
            What the batch was handed over under.
        count : int
            Number of its requests.
        since : float
            Seconds since the epoch.

        Returns
        -------
        list of str or ChatFailure
            The ids, or why they cannot be known.
        """
        ...

    def collect(self, ticket: BatchTicket) -> dict[str, ChatReply | ChatFailure] | ChatFailure | None:
        """Return what came of every key; None while the batch is not finished, a failure where asking failed."""
        ...
