"""Random numbers: a seed for each part of a run, and the user's generators left as they were."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_IN_USE = threading.RLock()


def derive_seed(seed: int, stream: int) -> int:
    """Return an independent seed for each stream of a run; epochs are streams, counted from 1.

    As every epoch's numbers follow from the run's seed alone, a resumed run needs no stored generator state, and
    callbacks that draw numbers change nothing.
    """
    return int(np.random.SeedSequence((seed, stream)).generate_state(1, np.uint64)[0])


@contextmanager
def isolated_generators(device: torch.device) -> Iterator[None]:
    """Give the global generators, from which dropout draws, their state back when the block ends.

    Other threads wait meanwhile, so that fits in threads, as in some searches, are reproducible.
    """
    devices = [_index(device)] if device.type == "cuda" else []
    with _IN_USE, torch.random.fork_rng(devices=devices):
        yield


def seed_generators(device: torch.device, seed: int) -> None:
    """Seed the global generators of the CPU and of `device`, and of no other device."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[_index(device)].manual_seed(seed)


def _index(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index
