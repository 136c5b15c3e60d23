"""Ask a critic about many images, and a judge about its words, and lose nothing that was said."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lvlm_va.common.files import DamagedFileError, atomic_path, reading
from lvlm_va.common.warnings import warn
from lvlm_va.critique.checks import check_all_judged, check_critiques, check_verdicts
from lvlm_va.critique.model_user import ModelStoppedError
from lvlm_va.critique.optional_methods import asks_by_batches, hands_over
from lvlm_va.critique.types import SPEAKS, Critic, Critique, CritiqueRequest, Judge, SegmentVerdict, Statement

# Images that a critic who asks by batches hands over at once; so many rendered images are in memory.
_BATCH_CHUNK = 256
# A model that leaves so many images in a row without an answer is down, though it has answered others before.
_MOST_FAILED = 16


def collect_critiques(
    critic: Critic,
    image_ids: Sequence[str],
    make_requests: Callable[[Sequence[int]], list[CritiqueRequest]],
    *,
    path: Path | None = None,
    chunk_size: int = 16,
    on_progress: Callable[[int], object] | None = None,
    judged: bool = True,
) -> list[Critique]:
    """Return one critique per image, asking the critic only for those not yet in the file.

    Parameters
    ----------
    critic : Critic
        Whoever judges. One that is to be asked by batches (`HandsOver`) first hands over all images.
    image_ids : sequence of str
        Names of the images, all different.
    make_requests : callable
        Makes the requests for the given positions in `image_ids`; called for one chunk at a time, so that no
        more than a chunk of rendered images is in memory.
    path : Path, optional
        JSON lines file: read first, and appended to (flushed to disk) after every chunk, so that an
        interrupted run repeats at most one chunk. None keeps nothing. Critiques that failed for want of an answer
        are not kept, so that the next run asks again.
    chunk_size : int, default=16
        Images per call of the critic.
    on_progress : callable, optional
        Gets the number of images done by each chunk.
    judged : bool, default=True
        Whether a judge may read what the critic says. Otherwise a critic that reaches no verdicts is found out by the
        first chunk.

    Returns
    -------
    list of Critique
        In the order of `image_ids`. Images without a segment are not sent to the critic.

    Raises
    ------
    ValueError
        If the critic's answer does not fit the requests, or lacks verdicts without a judge.
    ModelStoppedError
        If the critic's model cannot go on, after what it had finished was kept. Where it has answered before, here or
        in the file, some images without an answer do not stop it: they are ``unsure``, and not kept.
    """
    done = read_critiques(path)
    answered = any(critique.statements or critique.verdicts for critique in done.values())
    tolerance = _FailureTolerance(has_answered=answered)
    pending = [i for i, image_id in enumerate(image_ids) if image_id not in done]
    if on_progress is not None:
        on_progress(len(image_ids) - len(pending))
    if pending and hands_over(critic):
        for start in range(0, len(pending), _BATCH_CHUNK):
            requests = make_requests(pending[start : start + _BATCH_CHUNK])
            critic.hand_over_images([request for request in requests if request.n_segments])
        # What failed is handed over again chunk by chunk, and waited for.
        chunk_size = max(chunk_size, _BATCH_CHUNK)
    for start in range(0, len(pending), chunk_size):
        requests = make_requests(pending[start : start + chunk_size])
        asked = [request for request in requests if request.n_segments]
        try:
            answers = critic.critique(asked) if asked else []
        except ModelStoppedError as stop:
            if not tolerance.tolerates(stop, len(asked)):
                _append(path, stop.done)
                raise
            answers = list(stop.critiques)
        else:
            tolerance.reset(n_images=len(asked))
        check_critiques(asked, answers)
        critiques = list(answers)
        critiques += [
            Critique(request.image_id, f"No pixel {SPEAKS[request.effect_kind]} this class.")
            for request in requests
            if not request.n_segments
        ]
        _append(path, critiques)
        if not judged:
            check_all_judged(answers, [request.n_segments for request in asked])
        done.update({critique.image_id: critique for critique in critiques})
        if on_progress is not None:
            on_progress(len(requests))
    return [done[image_id] for image_id in image_ids]


def judge_critiques(
    judge: Judge,
    critiques: Sequence[Critique],
    n_segments: Sequence[int],
    *,
    path: Path | None = None,
    chunk_size: int = 16,
    on_progress: Callable[[int], object] | None = None,
) -> list[Critique]:
    """Return the critiques with verdicts, asking the judge only about those that hold none and are not in the file.

    Parameters
    ----------
    judge : Judge
        Whoever reads critiques.
    critiques : sequence of Critique
        What the critic said, of different images.
    n_segments : sequence of int
        Number of segments of each image.
    path : Path, optional
        JSON lines file, as in `collect_critiques`.
    chunk_size : int, default=16
        Critiques per call of the judge; a judge that asks by batches gets all in one call.
    on_progress : callable, optional
        Gets the number of images that were done before, then that of each call.

    Returns
    -------
    list of Critique
        In the same order, each with one verdict per segment.

    Raises
    ------
    ValueError
        If the judge does not return one verdict per segment.
    ModelStoppedError
        If the judge's model cannot go on, as in `collect_critiques`.
    """
    done = {key: kept.verdicts for key, kept in read_critiques(path).items()}
    tolerance = _FailureTolerance(has_answered=bool(done))
    done |= {critique.image_id: critique.verdicts for critique in critiques if critique.verdicts}
    pending = [
        (critique, count)
        for critique, count in zip(critiques, n_segments, strict=True)
        if count and critique.image_id not in done
    ]
    if pending and asks_by_batches(judge):
        chunk_size = max(1, len(pending))
    if on_progress is not None:
        on_progress(len(critiques) - len(pending))
    for start in range(0, len(pending), chunk_size):
        chunk = pending[start : start + chunk_size]
        asked = [critique for critique, _ in chunk]
        try:
            verdicts = judge.judge(asked, [count for _, count in chunk])
        except ModelStoppedError as stop:
            if not tolerance.tolerates(stop, len(asked)):
                _append(path, stop.done)
                raise
            verdicts = [critique.verdicts for critique in stop.critiques]
        else:
            tolerance.reset(n_images=sum(critique.answered for critique in asked))
        judged = check_verdicts(chunk, verdicts)
        _append(path, judged)
        done.update({critique.image_id: critique.verdicts for critique in judged})
        if on_progress is not None:
            on_progress(len(judged))
    return [replace(critique, verdicts=done.get(critique.image_id, ())) for critique in critiques]


def read_critiques(path: Path | None, *, strict: bool = False) -> dict[str, Critique]:
    """Return the critiques in a file of `collect_critiques` or `judge_critiques`, by image; none without a file.

    Parameters
    ----------
    path : Path or None
        The file.
    strict : bool, default=False
        Whether lines that are not as they were written, or were written into another file, are an error. Otherwise a
        warning tells of them, the file as it was is kept under another name, and only the others stay in it.

    Returns
    -------
    dict of str to Critique
        By the image's name.

    Raises
    ------
    DamagedFileError
        If it is strict and there are such lines.
    UnreadableFileError
        If the file cannot be opened.
    """
    if path is None or not path.exists():
        return {}
    with reading(path, "Restore it, or move it away: its images are critiqued again."):
        lines = path.read_bytes().splitlines()
    critiques, whole = {}, []
    n_damaged = 0
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):  # the line that a killed process left half written
            continue
        try:
            seal = record.pop("seal")
            if seal != _seal(path, record):
                raise ValueError
            verdicts = tuple(SegmentVerdict(**verdict) for verdict in record["verdicts"])
            statements = tuple(
                Statement(tuple(said["segments"]), said["text"], said["status"])
                for said in record["statements"]
            )
            critiques[record["image_id"]] = Critique(record["image_id"], record["text"], verdicts, statements)
            whole.append(line + b"\n")
        except (AttributeError, KeyError, TypeError, ValueError):
            n_damaged += 1
    if n_damaged:
        fault = f"{path} is damaged: {n_damaged} of its lines are broken or those of another run."
        mend = "Fit asks about their images again, and takes the replies of models that were kept."
        if strict:
            raise DamagedFileError("", fault, mend)
        path.with_name(f"{path.name}.damaged").write_bytes(b"\n".join(lines))
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"".join(whole))
        warn(f"{fault} {mend} The file as it was is kept as {path.name}.damaged.")
    return critiques


def _seal(path: Path, record: Mapping[str, Any]) -> str:
    """Return a checksum of what a file says of an image; the file's name has the key of what was asked."""
    return hashlib.sha256(f"{path.name} {json.dumps(record)}".encode()).hexdigest()[:16]


class _FailureTolerance:
    """How long to go on with a model that leaves images without an answer: a few it may never answer."""

    def __init__(self, *, has_answered: bool) -> None:
        self._has_answered, self._n_failed = has_answered, 0

    def reset(self, n_images: int) -> None:
        """Note that a call for so many images was answered."""
        if n_images:
            self._has_answered, self._n_failed = True, 0

    def tolerates(self, stop: ModelStoppedError, n_images: int) -> bool:
        """Return whether to go on with ``stop.critiques`` after a call for so many images without an answer."""
        if stop.failure.transient:
            self._n_failed += n_images
        passing = not stop.failure.fatal and len(stop.critiques) == n_images
        return passing and self._has_answered and self._n_failed < _MOST_FAILED


def _append(path: Path | None, critiques: Sequence[Critique]) -> None:
    kept = [critique for critique in critiques if critique.answered]
    if path is None or not kept:
        return
    with path.open("ab+") as stream:
        # A half-written last line must not swallow the next one.
        if stream.tell() and (stream.seek(-1, os.SEEK_END), stream.read(1))[1] != b"\n":
            stream.write(b"\n")
        for critique in kept:
            record = json.loads(json.dumps(asdict(critique)))
            stream.write(json.dumps(record | {"seal": _seal(path, record)}).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
