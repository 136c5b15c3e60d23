"""Work on many images a shard at a time: spread over processes, and begun again where it was broken off.

Which images a shard holds depends on nothing but their number, so that a result is the same, bit for bit, in one piece,
after a restart and on any number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeVar

from torch import Tensor
from tqdm.auto import tqdm

from lvlm_va.common.distributed import on_each, rank, world_size
from lvlm_va.common.errors import numbered
from lvlm_va.common.files import DamagedFileError, set_aside
from lvlm_va.runs.directory import RunDirectory, check_archive, read_dataclass, write_dataclass

# Images that are explained, segmented or described at a time: what bounds memory, and what SIGKILL may cost.
SHARD = 64

Part = TypeVar("Part")

Ahead = Callable[[Sequence[Tensor]], AbstractContextManager[None]]


def sharded(
    run: RunDirectory,
    stage: str,
    key: str,
    kind: type[Part],
    rows: Tensor,
    compute: Callable[[Tensor], Part],
    join: Callable[[Sequence[Part]], Part],
    *,
    progress: str | None = None,
    ahead: Ahead | None = None,
) -> Part:
    """Return a stage's result for some rows, made in shards and kept whole. All processes must call it.

    Parameters
    ----------
    run : RunDirectory
        Where shards are kept until the whole takes their place.
    stage, key : str
        Name of the stage, and key of its inputs and parameters.
    kind, rows, compute, progress, ahead
        As in `in_shards`.
    join : callable
        Makes one result of all.

    Returns
    -------
    kind
        The result.
    """
    folder = run.shards(stage, key)
    return run.cached(
        stage,
        key,
        kind,
        lambda: join(list(in_shards(folder, kind, rows, compute, progress=progress, ahead=ahead))),
        collective=True,
    )


def in_shards(
    folder: Path | None,
    kind: type[Part],
    rows: Tensor,
    compute: Callable[[Tensor], Part],
    *,
    name: str = "shard",
    size: int | None = None,
    progress: str | None = None,
    ahead: Ahead | None = None,
) -> Iterator[Part]:
    """Return what `compute` makes of each shard of rows, in their order.

    With several processes, each computes every so-many-th shard, and gets the others' results. All must call it.

    Parameters
    ----------
    folder : Path or None
        Where each result is kept, in a file of its own, as soon as it is there; what is there is not done again. It
        stands for all that the results depend on; see `RunDirectory.shards`. None keeps nothing.
    kind : type
        A dataclass whose fields are tensors on the CPU, arrays or strings.
    rows : Tensor of shape (n,), int64
        What to work on.
    compute : callable
        Makes a result of some of the rows.
    name : str, default="shard"
        Tells these shards from others in the same folder.
    size : int, default=None
        Rows in a shard; None takes `SHARD`.
    progress : str or None, default=None
        Title of a progress bar; None shows none.
    ahead : callable, default=None
        Gets the shards that this process will compute, in order, and returns a context in which that happens: for
        example, images are read ahead of their use.

    Returns
    -------
    iterator of kind
        Results, not all in memory at once unless several processes keep nothing.

    Raises
    ------
    RuntimeError
        On the other processes, if `compute` raised in one, where the error itself goes on.
    """
    parts = rows.split(SHARD if size is None else size)
    silent = progress is None or rank() > 0
    bar = tqdm(total=len(rows), desc=progress, unit="image", disable=silent, leave=False)
    if folder is None and world_size() == 1:
        return _computed(parts, compute, bar, ahead)

    mine = range(rank(), len(parts), world_size())
    with bar:
        if folder is None:
            found = on_each(lambda: list(_computed([parts[k] for k in mine], compute, bar, ahead)))
            return iter([found[k % world_size()][k // world_size()] for k in range(len(parts))])

        files = [folder / f"{name}-{k}-of-{len(parts)}.npz" for k in range(len(parts))]

        def keep() -> None:
            missing = [k for k in mine if not _is_whole(files[k])]
            bar.update(sum(len(parts[k]) for k in mine) - sum(len(parts[k]) for k in missing))
            for k, part in zip(
                missing, _computed([parts[k] for k in missing], compute, bar, ahead), strict=True
            ):
                write_dataclass(files[k], part)

        on_each(keep)
    return (read_dataclass(file, kind) for file in files)


def _is_whole(file: Path) -> bool:
    """Whether a shard is there and can be read; a damaged one is put out of the way."""
    if not file.exists():
        return False
    try:
        check_archive(file)
    except DamagedFileError as error:
        set_aside(file, error)
        return False
    return True


def _computed(
    parts: Sequence[Tensor], compute: Callable[[Tensor], Part], bar: tqdm[None], ahead: Ahead | None
) -> Iterator[Part]:
    with bar, nullcontext() if ahead is None else ahead(parts):
        for part in parts:
            with numbered(part.tolist()):
                result = compute(part)
            yield result
            bar.update(len(part))
