"""One batch through a model: free replies, each with its own random numbers, and scores of given ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lvlm_va.backends.hf.prompts import Prompts
from lvlm_va.backends.types import ImagePart


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a batch.

    Attributes
    ----------
    prompt : str
        The prompt, with marks for the images.
    images : tuple of ImagePart
        Its images.
    max_tokens : int
        Most tokens of the reply.
    temperature : float, default=0
        0 for the likeliest token at each step.
    seed : int or None, default=None
        Of the random numbers with a temperature above 0. None for ever new ones.
    candidates : tuple of tuple of int, default=()
        Replies to be scored instead: the first whole, each other up to the token in which it leaves the first.
    """

    prompt: str
    images: tuple[ImagePart, ...]
    max_tokens: int
    temperature: float = 0.0
    seed: int | None = None
    candidates: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Decoded:
    """What came of a row.

    Attributes
    ----------
    tokens : tuple of int
        The reply's tokens, without the one that ends it; empty with candidates.
    ended : bool
        Whether the model ended the reply; otherwise its tokens ran out.
    input_tokens : int
        Tokens of the prompt, images included.
    log_likelihoods : tuple of float
        Natural logarithm of each candidate's probability, given the prompt.
    """

    tokens: tuple[int, ...]
    ended: bool
    input_tokens: int
    log_likelihoods: tuple[float, ...] = ()


def decode_rows(model: Any, prompts: Prompts, rows: Sequence[Row]) -> list[Decoded]:
    """Run rows that hold the same number of images, all with candidates or all without, as one batch.

    Raises
    ------
    ValueError
        If a prompt leaves no room for a reply.
    torch.OutOfMemoryError
        If the batch is too large for the memory.
    """
    inputs = prompts.encode([row.prompt for row in rows], [row.images for row in rows])
    inputs = inputs.to(model.device, model.dtype)
    lengths = inputs["attention_mask"].sum(dim=1).tolist()
    room = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    limits = [_limit(row, length, room) for row, length in zip(rows, lengths, strict=True)]
    ends = _end_tokens(model, prompts)
    scored = bool(rows[0].candidates)
    with torch.inference_mode():
        output = model.generate(
            **inputs,
            max_new_tokens=max(limits),
            do_sample=False,  # sampling is left to _Draw, whose numbers do not depend on the batch
            num_beams=1,
            temperature=None,
            top_p=None,
            top_k=None,
            eos_token_id=ends,
            pad_token_id=prompts.tokenizer.pad_token_id,
            logits_processor=[_Force(rows, inputs["input_ids"].shape[1]) if scored else _Draw(rows)],
            return_dict_in_generate=True,
            output_logits=scored,
        )
    if scored:
        scores = [_log_likelihoods(row, output.logits, i) for i, row in enumerate(rows)]
        return [Decoded((), True, n, score) for n, score in zip(lengths, scores, strict=True)]
    replies = output.sequences[:, inputs["input_ids"].shape[1] :].tolist()
    return [
        Decoded(*_until_end(reply[:limit], ends), n)
        for reply, limit, n in zip(replies, limits, lengths, strict=True)
    ]


class _Draw:
    """Add noise to scores so that their maximum is a draw from the row's distribution (Gumbel-max)."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = [
            (i, row.temperature, _generator(row.seed)) for i, row in enumerate(rows) if row.temperature > 0
        ]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if not self._rows:
            return scores
        scores = scores.clone()
        for i, temperature, generator in self._rows:
            # On the CPU, so that a seed gives the same numbers on every device.
            noise = torch.empty(scores.shape[1]).exponential_(generator=generator).log().neg()
            scores[i] = scores[i] / temperature + noise.to(scores.device)
        return scores


class _Force:
    """Let each row say its first candidate and nothing else."""

    def __init__(self, rows: Sequence[Row], prompt_length: int) -> None:
        self._tokens = [row.candidates[0] for row in rows]
        self._prompt_length = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        step = input_ids.shape[1] - self._prompt_length
        forced = torch.full_like(scores, -torch.inf)
        for i, tokens in enumerate(self._tokens):
            forced[i, tokens[min(step, len(tokens) - 1)]] = 0.0
        return forced


def _generator(seed: int | None) -> torch.Generator:
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator


def _limit(row: Row, length: int, room: int | None) -> int:
    wanted = max(map(len, row.candidates)) if row.candidates else row.max_tokens
    if room is None:
        return wanted
    if length + (wanted if row.candidates else 1) > room:
        raise ValueError(
            f"The request takes {length} tokens, but the model has room for {room} with the reply. Send fewer or "
            "smaller images, or less text."
        )
    return min(wanted, room - length)


def _end_tokens(model: Any, prompts: Prompts) -> list[int]:
    ends = model.generation_config.eos_token_id
    if ends is None:
        ends = prompts.tokenizer.eos_token_id
    return list(ends) if isinstance(ends, Sequence) else [int(ends)]


def _until_end(reply: list[int], ends: list[int]) -> tuple[tuple[int, ...], bool]:
    for i, token in enumerate(reply):
        if token in ends:
            return tuple(reply[:i]), True
    return tuple(reply), False


def _log_likelihoods(row: Row, logits: Sequence[torch.Tensor], i: int) -> tuple[float, ...]:
    steps = range(max(map(len, row.candidates)))
    log_probs = [logits[step][i].double().log_softmax(dim=0) for step in steps]
    return tuple(
        sum(float(log_probs[step][token]) for step, token in enumerate(candidate))
        for candidate in row.candidates
    )
