"""What each training step is about: batches, and the losses of the three stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lvlm_va.critique.tiny.prompt import question
from tools.tiny_critic.grammar import Description, draw_description, draw_label, reply
from tools.tiny_critic.model import END, IMAGE, N_IMAGE_TOKENS, PAD
from tools.tiny_critic.pool import Pool
from tools.tiny_critic.words import COVERED, KINDS, NAMED

_IMAGES, _TEXTS = 64, 32
_IGNORED = -100
# The words of a reply that decide; the rest follows from them.
_DECISIVE = ("figure", "patch", "strip", "tag", "background", "and", "artefact", "object", "surroundings", "mixed",
             "unsure")  # fmt: skip
_DECISIVE_WEIGHT = 5.0
_N_AREAS = 2 * len(KINDS) - 1


@dataclass(frozen=True, eq=False)
class Loss:
    """A loss, and the share of a batch that came out right."""

    value: Tensor
    right: float


class _Texts(NamedTuple):
    ids: Tensor
    targets: Tensor
    clause_ends: Tensor
    clause_says: Tensor


class Lessons:
    """Batches and losses for a model, from one stream of random numbers.

    Parameters
    ----------
    model : LlavaForConditionalGeneration
        The model to train.
    tokenizer : PreTrainedTokenizerFast
        Its tokenizer.
    rng : numpy.random.Generator
        Where scenes and descriptions come from.
    """

    def __init__(self, model: Any, tokenizer: Any, rng: np.random.Generator) -> None:
        self._model, self._tokenizer, self._rng = model, tokenizer, rng
        self._vision, self._language = model.model.vision_tower, model.model.language_model
        seen, said = self._vision.config.hidden_size, self._language.config.hidden_size
        # Helpers that only training needs.
        self._areas, self._kind = nn.Linear(seen, _N_AREAS), nn.Linear(seen, len(COVERED))
        self._clauses = nn.Linear(said, 2 * len(NAMED))
        self._pool = Pool(rng)
        self._encoded: dict[str, list[int]] = {}
        self._weights = torch.ones(len(tokenizer))
        self._weights[[self._encode(f" {word}")[0] for word in _DECISIVE]] = _DECISIVE_WEIGHT

    def parameters(self, stage: str) -> list[nn.Parameter]:
        """Return what a stage trains: ``"look"``, ``"read"`` or ``"speak"``."""
        parts: dict[str, tuple[nn.Module, ...]] = {
            "look": (self._vision, self._areas, self._kind),
            "read": (self._language, self._clauses),
            "speak": (self._model, self._clauses),
        }
        return [parameter for part in parts[stage] for parameter in part.parameters()]

    def look(self) -> Loss:
        """Say for each patch of the image what lies there, and for the image what the segment covers."""
        pixels, covers, areas = self._draw_images(_IMAGES)
        numbers = torch.tensor([COVERED.index(covered) for covered in covers])
        tokens = self._vision(pixel_values=pixels).last_hidden_state[:, 1:]
        pooled = self._kind(tokens.mean(1))
        value = F.binary_cross_entropy_with_logits(self._areas(tokens), areas) + F.cross_entropy(
            pooled, numbers
        )
        return Loss(value, (pooled.argmax(1) == numbers).float().mean().item())

    def read(self) -> Loss:
        """Reply to descriptions without an image; the reply's first words have to guess, the rest must follow."""
        return self._reply(self._draw_texts(None), None)

    def speak(self) -> Loss:
        """Look, read and reply."""
        pixels, covers, _ = self._draw_images(_TEXTS)
        return self._reply(self._draw_texts(covers), pixels)

    def _reply(self, texts: _Texts, pixels: Tensor | None) -> Loss:
        if pixels is None:
            out = self._language(input_ids=texts.ids, output_hidden_states=True)
        else:
            mask = (texts.ids != PAD).long()
            out = self._model.model(
                input_ids=texts.ids, pixel_values=pixels, attention_mask=mask, output_hidden_states=True
            )
        targets = texts.targets[:, 1:]
        asked = targets != _IGNORED
        logits = self._model.lm_head(out.last_hidden_state[:, :-1][asked])
        # What a clause says must be known before the last layer, where the reply needs it.
        ends = out.hidden_states[2][texts.clause_ends[:, 0], texts.clause_ends[:, 1]]
        value = F.cross_entropy(logits, targets[asked], weight=self._weights)
        value = value + 4 * F.binary_cross_entropy_with_logits(self._clauses(ends), texts.clause_says)
        right = torch.ones_like(asked)
        right[asked] = logits.argmax(1) == targets[asked]
        return Loss(value, right.all(1).float().mean().item())

    def _draw_images(self, n: int) -> tuple[Tensor, list[tuple[str, ...]], Tensor]:
        """Return pixels (n, 3, 56, 56) in [-1, 1], what is covered, and the areas that `look` asks for."""
        batch = self._pool.draw(n)
        pixels = torch.from_numpy(batch.views).permute(0, 3, 1, 2).float() / 127.5 - 1
        return pixels, batch.covers, torch.from_numpy(batch.areas)

    def _draw_texts(self, covers: list[tuple[str, ...]] | None) -> _Texts:
        rows, targets, ends, says = [], [], [], []
        for row in range(_TEXTS):
            description = draw_description(self._rng, label := draw_label(self._rng))
            covered = covers[row] if covers else self._guessable(description)
            ids = self._encode("<|im_start|>user\n") + [IMAGE] * (N_IMAGE_TOKENS if covers else 0)
            before, after = question(label, "\n").split("\n")
            ids += self._encode(before.rstrip())
            for number, clause in enumerate(description.clauses):
                ids = ids + self._encode(clause.text if number else f" {clause.text}")
                ends.append((row, len(ids) - 1))
                says.append([float(clause.says.get(k) is good) for good in (True, False) for k in NAMED])
            ids += self._encode(after) + self._encode("<|im_end|>\n<|im_start|>assistant\n")
            answer = [*self._encode(reply(covered, description.says)), END]
            rows.append(ids + answer)
            targets.append([_IGNORED] * len(ids) + answer)
        return _Texts(_padded(rows, PAD), _padded(targets, _IGNORED), torch.tensor(ends), torch.tensor(says))

    def _guessable(self, description: Description) -> tuple[str, ...]:
        named = [(kind,) for kind in description.says if kind in KINDS]
        pool = named if named and self._rng.random() < 0.6 else COVERED
        return pool[int(self._rng.integers(len(pool)))]

    def _encode(self, text: str) -> list[int]:
        if text not in self._encoded:
            self._encoded[text] = self._tokenizer.encode(text)
        return self._encoded[text]


def _padded(rows: list[list[int]], value: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows])
