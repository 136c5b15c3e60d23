"""Batches under way, in a folder with one small file for each."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from filelock import FileLock

from lvlm_va.common.files import write_json


@dataclass(frozen=True)
class KeptBatch:
    """A batch that was handed over, or was about to be.

    Attributes
    ----------
    keys : tuple of str
        Custom ids of the requests whose outcome was not taken yet.
    count : int
        Number of requests in the batch.
    batch_id : str
        The provider's name for the batch; empty where it is not known whether the provider has it.
    label : str
        Our own name for it.
    since : float
        Seconds since the epoch, before it was handed over.
    """

    keys: tuple[str, ...]
    count: int
    batch_id: str = ""
    label: str = field(default_factory=lambda: uuid.uuid4().hex)
    since: float = field(default_factory=time.time)


class TicketFolder:
    """Batches under way.

    Parameters
    ----------
    folder : Path
        Where they are kept, made when the first is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def exclusive(self) -> FileLock:
        """Return a lock on the folder, for a ``with`` block that one thread of one process enters at a time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / ".lock")

    def read(self) -> list[KeptBatch]:
        """Return all batches, oldest first.

        Raises
        ------
        ValueError
            If a file holds anything else.
        """
        return sorted((self._read(path) for path in self.folder.glob("[!.]*.json")), key=lambda b: b.since)

    def write(self, batch: KeptBatch) -> KeptBatch:
        """Write a batch, whole or not at all, and return it; one without keys is removed."""
        path = self.folder / f"{batch.label}.json"
        if batch.keys:
            write_json(path, asdict(batch))
        else:
            path.unlink(missing_ok=True)
        return batch

    def take(self, batch: KeptBatch, keys: Collection[str]) -> KeptBatch:
        """Forget some keys of a batch, and the batch with its last."""
        return self.write(replace(batch, keys=tuple(key for key in batch.keys if key not in keys)))

    def new(self, keys: Iterable[str]) -> KeptBatch:
        """Write that these requests are about to be handed over."""
        keys = tuple(keys)
        return self.write(KeptBatch(keys, len(keys)))

    def _read(self, path: Path) -> KeptBatch:
        try:
            content = json.loads(path.read_text())
            return KeptBatch(**{**content, "keys": tuple(content["keys"])})
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"The file {str(path)!r} does not hold a batch: {error}. Restore it, or move it away: what it held is "
                "asked for again."
            ) from error
