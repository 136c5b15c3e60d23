"""Ask a critic about many images, and lose nothing that it said."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from lvlm_va.critique.checks import check_critiques
from lvlm_va.critique.types import Critic, Critique, CritiqueRequest, SegmentVerdict


def collect_critiques(
    critic: Critic,
    image_ids: Sequence[str],
    make_requests: Callable[[Sequence[int]], list[CritiqueRequest]],
    *,
    path: Path | None = None,
    chunk_size: int = 16,
    on_progress: Callable[[int], object] | None = None,
) -> list[Critique]:
    """Return one critique per image, asking the critic only for those not yet in the file.

    Parameters
    ----------
    critic : Critic
        Whoever judges.
    image_ids : sequence of str
        Names of the images, all different.
    make_requests : callable
        Makes the requests for the given positions in `image_ids`; called for one chunk at a time, so that no
        more than a chunk of rendered images is in memory.
    path : Path, optional
        JSON lines file: read first, and appended to (flushed to disk) after every chunk, so that an
        interrupted run repeats at most one chunk. None keeps nothing.
    chunk_size : int, default=16
        Images per call of the critic.
    on_progress : callable, optional
        Gets the number of images done by each chunk.

    Returns
    -------
    list of Critique
        In the order of `image_ids`. Images without a segment are not sent to the critic.

    Raises
    ------
    ValueError
        If the critic's answer does not fit the requests.
    """
    done = _read(path)
    pending = [i for i, image_id in enumerate(image_ids) if image_id not in done]
    if on_progress is not None:
        on_progress(len(image_ids) - len(pending))
    for start in range(0, len(pending), chunk_size):
        requests = make_requests(pending[start : start + chunk_size])
        asked = [request for request in requests if request.n_segments]
        answers = critic.critique(asked) if asked else []
        check_critiques(asked, answers)
        critiques = list(answers)
        critiques += [
            Critique(request.image_id, "No pixel speaks for this class.")
            for request in requests
            if not request.n_segments
        ]
        _append(path, critiques)
        done.update({critique.image_id: critique for critique in critiques})
        if on_progress is not None:
            on_progress(len(requests))
    return [done[image_id] for image_id in image_ids]


def _read(path: Path | None) -> dict[str, Critique]:
    if path is None or not path.exists():
        return {}
    critiques = {}
    for line in path.read_bytes().splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # the line that a killed process left half written
            continue
        verdicts = tuple(SegmentVerdict(**verdict) for verdict in record["verdicts"])
        critiques[record["image_id"]] = Critique(record["image_id"], record["text"], verdicts)
    return critiques


def _append(path: Path | None, critiques: Sequence[Critique]) -> None:
    if path is None or not critiques:
        return
    with path.open("ab+") as stream:
        # A half-written last line must not swallow the next one.
        if stream.tell() and (stream.seek(-1, os.SEEK_END), stream.read(1))[1] != b"\n":
            stream.write(b"\n")
        for critique in critiques:
            stream.write(json.dumps(asdict(critique)).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
