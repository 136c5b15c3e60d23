"""How many images, references and pairs fit into memory at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from lvlm_va.attribution.tape import Tape

# Where the free memory cannot be read (only Linux tells it in a file).
_ASSUMED_FREE = 4 * 2**30

# A backward pass holds about this many times a pair's largest activation: multipliers in and out, of a
# branch beside it, and the temporaries of a rule.
_BACKWARD_COPIES = 8

# On a CPU the activations of fewer rows stay nearer to the cache: bytes of the largest one.
_CPU_ACTIVATION = 2**25

# References that pass by are forwarded this many bytes at a time: a few rows alone would keep no processor busy.
_PASSING = 2**28


def free_memory(device: torch.device) -> int:
    """Return the free memory of a device in bytes."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    info = Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return _ASSUMED_FREE


@dataclass(frozen=True)
class Plan:
    """Rows that are worked on at a time.

    Attributes
    ----------
    references : int
        References forwarded and recorded together.
    images : int
        Images forwarded together.
    pairs : int
        References that one backward pass of those images covers.
    """

    references: int
    images: int
    pairs: int

    @classmethod
    def fit(
        cls, single: Tape, n: int, n_references: int, per_image: bool, device: torch.device, limit: int
    ) -> Plan:
        """Return the plan that keeps within `limit` bytes, at the least one row of each.

        Where one block holds all images, references pass by as they are needed, so that memory does not grow with
        their number. Else as many as fit are kept, not to be forwarded again for each block.

        Parameters
        ----------
        single : Tape
            A pass over one image: the cost of a row.
        n, n_references : int
            Number of images and of references.
        per_image : bool
            Whether each image brings references of its own.
        device : torch.device
            Where the work is done.
        limit : int
            Bytes.
        """
        row, pair = max(single.n_bytes, 1), max(_BACKWARD_COPIES * single.largest, 1)
        share = limit // 3
        rows = max(1, share // pair)
        if device.type == "cpu":
            rows = max(1, min(rows, _CPU_ACTIVATION // max(single.largest, 1)))
        images = max(1, min(n, rows, share // row))
        if per_image:
            images = max(1, min(images, share // (2 * row)))
        pairs = max(1, min(n_references, rows // images))
        kept = share // (row * images if per_image else row)
        passing = max(pairs, _PASSING // row)
        references = max(1, min(n_references, kept, passing if images == n else n_references))
        return cls(references, images, min(pairs, references))
