"""Whether a classifier follows what was judged spurious: put it into other images, and count changed predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lvlm_va.common.randomness import derive_seed
from lvlm_va.data.stored_images import ImageRows
from lvlm_va.interventions.transplants import draw_partners, shifted_apart, transplanted
from lvlm_va.metrics import PairedAccuracy
from lvlm_va.modules.logits import predict_logits

# Pairs of images, each with a donor of its own.
N_PAIRS = 100


@dataclass(frozen=True)
class Changes:
    """Predictions of one classifier that changed when pixels of another image were put in.

    Attributes
    ----------
    spurious : int
        When these were the pixels judged spurious.
    elsewhere : int
        When they were as many pixels of the same images elsewhere: what putting in does by itself.
    """

    spurious: int
    elsewhere: int


@dataclass(frozen=True)
class TransplantTrial:
    """What putting spurious pixels into images of other classes did to predictions.

    Attributes
    ----------
    n_pairs : int
        Images that got pixels, each from another donor.
    before, after : Changes
        Of the classifier before and after alignment.
    right : PairedAccuracy
        How often it is right about the images with the spurious pixels in them.
    """

    n_pairs: int
    before: Changes
    after: Changes
    right: PairedAccuracy

    def __str__(self) -> str:
        return (
            f"Put into {self.n_pairs} images of other classes, what was judged spurious changed {self.before.spurious} "
            f"predictions before alignment and {self.after.spurious} after (as many other pixels: "
            f"{self.before.elsewhere} and {self.after.elsewhere})."
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> TransplantTrial:
        """Return what `to_json` wrote.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it is no such object.
        """
        n_pairs = int(found["n_pairs"])
        before, after = (
            Changes(int(part["spurious"]), int(part["elsewhere"]))
            for part in (found["before"], found["after"])
        )
        right = PairedAccuracy.from_json(found["right"])
        counts = (before.spurious, before.elsewhere, after.spurious, after.elsewhere)
        if right.n != n_pairs or not all(0 <= count <= n_pairs for count in counts):
            raise ValueError("A trial must have pairs, and no more changes than pairs.")
        return cls(n_pairs, before, after, right)


def transplant_trial(
    modules: tuple[nn.Module, nn.Module],
    images: ImageRows,
    labels: Tensor,
    donors: Tensor,
    masks: Tensor,
    *,
    batch_size: int,
    seed: int,
) -> TransplantTrial | None:
    """Put spurious pixels into images of other classes, in their places, and count changed predictions.

    A classifier that does not look at what was judged spurious says the same of an image with another class's spurious
    pixels in it. Forwards only: three for each pair and classifier.

    Parameters
    ----------
    modules : (torch.nn.Module, torch.nn.Module)
        The classifier before and after.
    images : Tensor or StoredImages of shape (n, C, H, W)
        All images.
    labels : Tensor of shape (n,), int64
        Their classes.
    donors : Tensor of shape (a,), int64
        Which of them have masks.
    masks : Tensor of shape (a, H, W), bool
        What is spurious in these.
    batch_size : int
        Images at a time.
    seed : int
        Of the pairs.

    Returns
    -------
    TransplantTrial or None
        None where nothing is spurious, or no image is of another class.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, 0))
    marked = masks.flatten(1).any(1).nonzero().flatten()
    marked = marked[torch.randperm(len(marked), generator=generator)[:N_PAIRS]]
    partners = draw_partners(labels[donors[marked]], labels, 1, generator).flatten()
    marked, rows = marked[partners >= 0], partners[partners >= 0]
    if not len(rows):
        return None
    there = masks[marked]
    elsewhere = shifted_apart(there, generator)
    changed, right = torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2, len(rows), dtype=torch.bool)
    for part in torch.arange(len(rows)).split(batch_size):
        plain, given = images[rows[part]], images[donors[marked[part]]]
        put = [transplanted(plain, given, where[part].to(plain.device)) for where in (there, elsewhere)]
        for counts, is_right, module in zip(changed, right, modules, strict=True):
            said = predict_logits(module, torch.cat([plain, *put]), batch_size=batch_size).argmax(1)
            same, *others = said.view(3, -1)
            counts += torch.stack([(other != same).sum() for other in others])
            is_right[part] = others[0] == labels[rows[part]]
    before, after = (Changes(*counts) for counts in changed.tolist())
    return TransplantTrial(len(rows), before, after, PairedAccuracy.of(*right))
