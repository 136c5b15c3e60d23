"""What requests will take, before anything is sent."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lvlm_va.backends.request_json import plain_schema
from lvlm_va.backends.types import ChatRequest, Usage
from lvlm_va.common.validation import check_real

ImageTokens = Callable[[int, int], int]
# Bytes of UTF-8 text that make a token, about, for the tokenizers of large models.
BYTES_PER_TOKEN = 4
# What marks the beginning, the role and the end of a turn.
_TOKENS_PER_TURN = 4


@dataclass(frozen=True)
class Prices:
    """What a model's provider charges.

    Attributes
    ----------
    input_per_million, output_per_million : float
        Price of a million tokens sent and received, not negative.
    currency : str, default="USD"
        In which money.
    batch_factor : float, default=0.5
        Share of the price that is charged for requests sent in batches, not negative.

    Raises
    ------
    ValueError
        If a price or the factor is negative.
    """

    input_per_million: float
    output_per_million: float
    currency: str = "USD"
    batch_factor: float = 0.5

    def __post_init__(self) -> None:
        for argument in ("input_per_million", "output_per_million", "batch_factor"):
            check_real(
                argument, getattr(self, argument), "[0, inf]", expected="a price or a factor, not negative"
            )

    def in_batches(self) -> Prices:
        """Return the prices of what is sent in batches."""
        factor = self.batch_factor
        return Prices(
            factor * self.input_per_million, factor * self.output_per_million, self.currency, batch_factor=1.0
        )

    def cost(self, usage: Usage) -> float:
        """Return the price of so many tokens."""
        millions = self.input_per_million * usage.input_tokens + self.output_per_million * usage.output_tokens
        return millions / 1e6


@dataclass(frozen=True)
class Estimate:
    """What requests take; ``+`` adds two, ``sum(estimates, Estimate())`` many.

    Attributes
    ----------
    requests, images : int
        Requests sent, and images in them.
    input_tokens, output_tokens : int
        Tokens sent and received.
    cost : float or None
        Money; None where no price is known.
    currency : str
        Of `cost`; empty where there is none.
    """

    requests: int = 0
    images: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = 0.0
    currency: str = ""

    def __add__(self, other: Estimate) -> Estimate:
        if self.currency and other.currency and self.currency != other.currency:
            raise ValueError(
                f"Estimates must be in one currency to be added. Got {self.currency} and {other.currency} "
                "instead."
            )
        return Estimate(
            self.requests + other.requests,
            self.images + other.images,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            None if self.cost is None or other.cost is None else self.cost + other.cost,
            self.currency or other.currency,
        )

    def __str__(self) -> str:
        money = "cost unknown" if self.cost is None else f"{self.cost:,.2f} {self.currency}".rstrip()
        return (
            f"{self.requests:,} requests, {self.images:,} images, {self.input_tokens:,} tokens in, "
            f"{self.output_tokens:,} tokens out, {money}"
        )


def image_tokens(width: int, height: int) -> int:
    """Return ``ceil(width * height / 750)``, about what large hosted models take for an image of this size."""
    return math.ceil(width * height / 750)


def estimate_tokens(request: ChatRequest, image_tokens: ImageTokens = image_tokens) -> Usage:
    """Return about how many tokens a request takes in, and the most that its reply may take.

    Parameters
    ----------
    request : ChatRequest
        The request.
    image_tokens : callable, optional
        Tokens of an image from its width and height in pixels; models differ here by a factor of several.

    Returns
    -------
    Usage
        Input: a token for every 4 bytes of text (UTF-8), schema and choices included, 4 for each turn, and
        those of the images. Output: ``max_tokens``, an upper bound.
    """
    texts = [part for turn in request.turns for part in turn.parts if isinstance(part, str)]
    texts += request.choices or ()
    if request.schema is not None:
        texts.append(json.dumps(plain_schema(request.schema), ensure_ascii=False))
    tokens = sum(math.ceil(len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN) for text in texts)
    tokens += _TOKENS_PER_TURN * len(request.turns)
    tokens += sum(image_tokens(image.array.shape[1], image.array.shape[0]) for image in request.images)
    return Usage(tokens, request.max_tokens)


def estimate(
    requests: Iterable[ChatRequest], prices: Prices | None = None, image_tokens: ImageTokens = image_tokens
) -> Estimate:
    """Return about what requests take, each sent once.

    Parameters
    ----------
    requests : iterable of ChatRequest
        What is to be sent.
    prices : Prices or None, default=None
        The provider's. None leaves the cost unknown.
    image_tokens : callable, optional
        Tokens of an image from its width and height in pixels.

    Returns
    -------
    Estimate
        The sum of :func:`estimate_tokens` over the requests. Output tokens and cost are upper bounds as far as
        the image rule and 4 bytes per token hold; retries come on top.
    """
    usage, count, images = Usage(), 0, 0
    for request in requests:
        usage += estimate_tokens(request, image_tokens)
        count, images = count + 1, images + len(request.images)
    return priced(count, images, usage, prices)


def priced(requests: int, images: int, usage: Usage, prices: Prices | None) -> Estimate:
    """Return the estimate with its cost at the given prices, unknown without any."""
    cost = None if prices is None else prices.cost(usage)
    currency = "" if prices is None else prices.currency
    return Estimate(requests, images, usage.input_tokens, usage.output_tokens, cost, currency)
