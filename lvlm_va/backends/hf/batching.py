"""Batches that fit into the memory, in which no row harms another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from lvlm_va.backends.hf.decoding import Decoded, Row, decode_rows
from lvlm_va.backends.hf.prompts import Prompts
from lvlm_va.backends.types import ChatFailure

RowOutcome = Decoded | ChatFailure


class BatchRunner:
    """Run rows in batches.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The model, in evaluation mode.
    prompts : Prompts
        Of its processor.
    batch_size : int
        Most rows at once.

    Attributes
    ----------
    batch_size : int
        Halved whenever a batch was too large for the memory.
    """

    def __init__(self, model: Any, prompts: Prompts, batch_size: int) -> None:
        self.batch_size = batch_size
        self._model = model
        self._prompts = prompts

    def run(self, rows: Sequence[Row]) -> list[RowOutcome]:
        """Return what came of each row, in order.

        Rows with equally many images, and decoded in the same way, share batches.
        """
        groups: dict[tuple[int, bool], list[int]] = {}
        for i, row in enumerate(rows):
            groups.setdefault((len(row.images), bool(row.candidates)), []).append(i)
        outcomes: dict[int, RowOutcome] = {}
        for group in groups.values():
            results = self._in_batches([rows[i] for i in group])
            outcomes.update(zip(group, results, strict=True))
        return [outcomes[i] for i in range(len(rows))]

    def _in_batches(self, rows: Sequence[Row]) -> list[RowOutcome]:
        results: list[RowOutcome] = []
        while len(results) < len(rows):
            results += self._batch(rows[len(results) : len(results) + self.batch_size])
        return results

    def _batch(self, rows: Sequence[Row]) -> list[RowOutcome]:
        try:
            return list(decode_rows(self._model, self._prompts, rows))
        except Exception as error:  # whatever the model stumbles over belongs to a row, not to its neighbours
            out_of_memory, message = _is_out_of_memory(error), f"{type(error).__name__}: {error}"
        # From here on the failed batch's tensors are free.
        if out_of_memory and torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(rows) == 1:
            hint = "A single request does not fit into the memory. " if out_of_memory else ""
            return [ChatFailure("bad_request", hint + message)]
        if out_of_memory:
            self.batch_size = len(rows) // 2
            return self._in_batches(rows)
        return [result for row in rows for result in self._batch([row])]


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)
