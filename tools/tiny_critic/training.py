"""Train the tiny critic from nothing: first it learns to look, then to read, then to speak."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lvlm_va.common.randomness import isolated_generators, seed_generators
from lvlm_va.common.threads import one_thread
from tools.tiny_critic.lessons import Lessons, Loss
from tools.tiny_critic.model import build_model, build_processor, build_tokenizer, save

_WARM_UP = 50
_LAST_SHARE_OF_RATE = 0.03
_LOG_EVERY = 50


@dataclass(frozen=True)
class Steps:
    """Number of optimiser steps of each stage."""

    look: int = 1600
    read: int = 1400
    speak: int = 750


def train_tiny_critic(
    out: str | os.PathLike[str],
    *,
    seed: int = 0,
    steps: Steps | None = None,
    echo: Callable[[str], Any] = lambda line: None,
) -> None:
    """Train the tiny critic and write its folder.

    The vision tower learns alone, from helper heads that say what lies where; the language model alone, from
    descriptions and replies without an image; then both together. One thread and a fixed number of steps: the same
    seed gives the same weights on the same machine.

    Parameters
    ----------
    out : path-like
        Folder for the model; made when missing, files in it replaced.
    seed : int, default=0
        Seed of weights, scenes and descriptions.
    steps : Steps, optional
        Length of each stage.
    echo : callable, optional
        Gets a line of text every 50 steps.
    """
    steps = steps or Steps()
    cpu = torch.device("cpu")
    with one_thread(), isolated_generators(cpu):
        seed_generators(cpu, seed)
        tokenizer = build_tokenizer()
        model = build_model(len(tokenizer)).train()
        lessons = Lessons(model, tokenizer, np.random.default_rng(seed + 1))
        stages = (
            ("look", lessons.look, steps.look, 3e-3),
            ("read", lessons.read, steps.read, 4e-3),
            ("speak", lessons.speak, steps.speak, 2e-3),
        )
        for name, lesson, n, rate in stages:
            for line in _run(name, lesson, lessons.parameters(name), n, rate):
                echo(line)
    save(model.eval(), build_processor(tokenizer), out)


def _run(
    name: str, lesson: Callable[[], Loss], parameters: list[torch.nn.Parameter], n: int, rate: float
) -> Iterator[str]:
    """Take `n` steps and yield how well they went, now and then."""
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.02, betas=(0.9, 0.98))
    right: list[float] = []
    for step in range(n):
        cosine = 0.5 * (1 + np.cos(np.pi * step / n))
        share = _LAST_SHARE_OF_RATE + (1 - _LAST_SHARE_OF_RATE) * cosine
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / _WARM_UP) * share
        loss = lesson()
        optimizer.zero_grad()
        loss.value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        right.append(loss.right)
        if (step + 1) % _LOG_EVERY == 0 or step + 1 == n:
            recent = np.mean(right[-_LOG_EVERY:])
            yield f"{name}, step {step + 1} of {n}: loss {loss.value.item():.3f}, {recent:.1%} right"
