"""The masks that a classifier is aligned with, of whatever origin."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lvlm_va.datasets.mask_files import NamedMasks
from lvlm_va.propagation import Propagated
from lvlm_va.rounds.drawn_masks import DrawnMasks
from lvlm_va.rounds.types import Round, chosen_indices
from lvlm_va.rounds.verdicts import round_masks
from lvlm_va.runs.shards import SHARD

# Where a mask comes from, by its number.
ORIGINS = ("critic", "propagated", "person")


@dataclass(frozen=True, eq=False)
class Marks:
    """Masks of some training images.

    Attributes
    ----------
    indices : Tensor of shape (m,), int64
        Rows of the training data, all different; of several findings per image, cases.
    masks : Tensor of shape (m, H, W), bool or floating
        1 where a pixel must not count.
    origins : Tensor of shape (m,), uint8
        Position in `ORIGINS`: verdicts of the critic (as somebody corrected them), verdicts that were extended, or a
        person's drawing.
    """

    indices: Tensor
    masks: Tensor
    origins: Tensor

    def named(self, names: Sequence[str]) -> NamedMasks:
        """Return the masks with the names of their images, in this order."""
        origins = [ORIGINS[number] for number in self.origins.tolist()]
        return NamedMasks(self.indices.numpy(), names, (self.masks > 0).numpy(), origins)


def find_marks(
    rounds: Sequence[Round], propagated: Propagated | None, drawn: DrawnMasks | None, dtype: torch.dtype
) -> Marks:
    """Return the masks that follow from verdicts and drawings; where there are both, what a person drew.

    Critiqued images come first, in the order of `chosen_indices`.
    """
    if propagated is not None:
        found = _of("propagated", propagated.indices, propagated.masks)
    elif rounds:
        found = _of("critic", chosen_indices(rounds), round_masks(rounds, dtype))
    else:
        assert drawn is not None
        found = _of("person", drawn.indices[:0], drawn.masks[:0].to(dtype))
    return found if drawn is None else _drawn_over(found, drawn)


def _of(origin: str, indices: Tensor, masks: Tensor) -> Marks:
    return Marks(indices, masks, torch.full(indices.shape, ORIGINS.index(origin), dtype=torch.uint8))


def _drawn_over(found: Marks, drawn: DrawnMasks) -> Marks:
    person = ORIGINS.index("person")
    replaced = found.origins.masked_fill(torch.isin(found.indices, drawn.indices), person)
    more = ~torch.isin(drawn.indices, found.indices)
    return Marks(
        torch.cat([found.indices, drawn.indices[more]]),
        torch.cat([drawn.over(found.indices, found.masks), drawn.masks[more].to(found.masks.dtype)]),
        torch.cat([replaced, torch.full((int(more.sum()),), person, dtype=torch.uint8)]),
    )


@dataclass(frozen=True, eq=False)
class KeptMarks:
    """Marks as a run directory holds them: without any image.

    Attributes
    ----------
    indices, origins : Tensor of shape (m,), int64 and uint8
        As in `Marks`.
    packed : Tensor of shape (m, ceil(H * W / 8)), uint8
        The masks' bits, row by row.
    size : Tensor of shape (2,), int64
        H and W.
    image_ids : str
        The images' names, a JSON list.
    """

    indices: Tensor
    origins: Tensor
    packed: Tensor
    size: Tensor
    image_ids: str

    @classmethod
    def of(cls, marks: Marks, names: Sequence[str]) -> KeptMarks:
        """Return marks on images that have these names."""
        packed = [np.packbits((part > 0).flatten(1).numpy(), axis=1) for part in marks.masks.split(SHARD)]
        size = torch.tensor(marks.masks.shape[1:])
        bits = torch.from_numpy(np.concatenate(packed))
        return cls(marks.indices, marks.origins, bits, size, json.dumps(list(names)))

    def unpacked(self) -> tuple[Marks, list[str]]:
        """Return the marks, with masks of bool, and the images' names."""
        height, width = self.size.tolist()
        bits = np.unpackbits(self.packed.numpy(), axis=1, count=height * width).astype(bool)
        masks = torch.from_numpy(bits.reshape(-1, height, width))
        names: list[str] = json.loads(self.image_ids)
        return Marks(self.indices, masks, self.origins), names
