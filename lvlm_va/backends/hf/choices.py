"""A reply held to given choices, and the probability of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch


def group_choices(tokens: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Return which choices one pass over the model can score together.

    Parameters
    ----------
    tokens : sequence of tuple of int
        Tokens of each choice.

    Returns
    -------
    list of list of int
        Positions in `tokens`. Within a group, every choice but for its last token begins the group's first.
        All choices of one token are one group.
    """
    groups: list[list[int]] = []
    for i in sorted(range(len(tokens)), key=lambda i: -len(tokens[i])):
        begun = tokens[i][:-1]
        for group in groups:
            if tokens[group[0]][: len(begun)] == begun:
                group.append(i)
                break
        else:
            groups.append([i])
    return groups


def choice_probs(choices: Sequence[str], log_likelihoods: Sequence[float]) -> dict[str, float]:
    """Return each choice's share of the choices' probabilities."""
    highest = max(log_likelihoods)
    weights = [math.exp(value - highest) for value in log_likelihoods]
    return {choice: weight / sum(weights) for choice, weight in zip(choices, weights, strict=True)}


def pick(probs: Mapping[str, float], temperature: float, seed: int | None) -> str:
    """Return the likeliest choice, or one drawn from ``probs ** (1 / temperature)``."""
    if temperature <= 0:
        return max(probs, key=probs.__getitem__)
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    highest = max(probs.values())
    weights = torch.tensor([(p / highest) ** (1 / temperature) for p in probs.values()], dtype=torch.float64)
    return list(probs)[int(torch.multinomial(weights, 1, generator=generator))]
