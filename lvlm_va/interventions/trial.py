"""Whether a classifier follows what was judged spurious: put it into other images, and count changed predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lvlm_va.common.randomness import derive_seed
from lvlm_va.data.training_data import TrainingData
from lvlm_va.interventions.transplants import draw_partners, shifted_apart, transplanted
from lvlm_va.metrics import PairedAccuracy
from lvlm_va.modules.heads import decisions
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

        Parameters
        ----------
        found : mapping
            What was written.

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
    data: TrainingData,
    cases: Tensor,
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
    data : TrainingData
        All images.
    cases : Tensor of shape (a,), int64
        Which of them have masks; where there are findings, what changes is what is said of a case's own.
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
    partners = _partners(data, cases[marked], generator)
    marked, others = marked[partners >= 0], partners[partners >= 0]
    if not len(others):
        return None
    there = masks[marked]
    elsewhere = shifted_apart(there, generator)
    donors, rows, findings = data.rows_of(cases[marked]), data.rows_of(others), data.findings_of(others)
    labels = data.labels[rows] if findings is None else data.labels[rows, findings]
    changed, right = torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2, len(rows), dtype=torch.bool)
    for part in torch.arange(len(rows)).split(batch_size):
        plain, given = data.images[rows[part]], data.images[donors[part]]
        put = [transplanted(plain, given, where[part].to(plain.device)) for where in (there, elsewhere)]
        for counts, is_right, module in zip(changed, right, modules, strict=True):
            logits = predict_logits(module, torch.cat([plain, *put]), batch_size=batch_size)
            said = decisions(logits, multilabel=findings is not None)
            if findings is not None:
                said = said.gather(1, findings[part].repeat(3)[:, None])
            same, *others_said = said.view(3, -1)
            counts += torch.stack([(other != same).sum() for other in others_said])
            is_right[part] = others_said[0] == labels[part]
    before, after = (Changes(*counts) for counts in changed.tolist())
    return TransplantTrial(len(rows), before, after, PairedAccuracy.of(*right))


def _partners(data: TrainingData, cases: Tensor, generator: torch.Generator) -> Tensor:
    """Return for each case one of another class, or of the same finding and the other label; -1 without any."""
    if not data.findings:
        return draw_partners(data.labels[cases], data.labels, 1, generator).flatten()
    partners, about = torch.full((len(cases),), -1), cases % len(data.findings)
    for finding in about.unique().tolist():
        own, labels = about == finding, data.labels[:, finding]
        rows = draw_partners(labels[data.rows_of(cases[own])], labels, 1, generator).flatten()
        partners[own] = torch.where(rows >= 0, rows * len(data.findings) + finding, -1)
    return partners
