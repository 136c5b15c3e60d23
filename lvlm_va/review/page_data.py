"""What the page is told, as JSON objects."""

from __future__ import annotations

import shlex
import time
from typing import Any

from lvlm_va.critique import CONTENTS, TileSheet, position_in_words
from lvlm_va.review.changes import EXAMPLES, Address
from lvlm_va.review.entries import Entry
from lvlm_va.review.reviewed import NO_CRITIC, ReviewedRun

_MOST_ENTRIES = 300
_LEAST_TILE = 56  # only to see how many there are
_MOST_CHANGES = 5  # of each entry in the history


def whole_state(run: ReviewedRun) -> dict[str, Any]:
    """Return all but the critiques, which `image_detail` gives one by one."""
    record, command = run.record, run.record.command
    reason = run.why_not_realign()
    return {
        **present(run, since=run.journal.revision),
        "images": [
            {"id": name, "label": record.label(row), "segments": _segments(run, row)}
            for row, name in enumerate(record.image_ids)
        ],
        "classes": list(record.class_names),
        "direction": record.direction,
        "follows": {content: record.policy.verdict(content) for content in CONTENTS},
        "descriptions": {a.name: v for a, v in run.journal.values.items() if a.kind == "description"},
        "examples": run.journal.values.get(EXAMPLES, []),
        "critic": {"reason": NO_CRITIC} if run.models is None else {"name": run.models.critic},
        "command": {"reason": reason}
        if command is None or reason
        else {"text": shlex.join(command.arguments), "folder": command.folder},
        "measured": "" if record.measures is None else record.measures.images,
        "alignments": _alignments(run),
        "job": job(run),
    }


def present(run: ReviewedRun, *, since: int) -> dict[str, Any]:
    """Return the number of the present state, and the changes that led to it from an earlier one."""
    entries = [entry for entry in run.journal.entries if entry.revision > since]
    return {
        "revision": run.journal.revision,
        "undo": run.journal.can_undo,
        "redo": run.journal.can_redo,
        "changes": [change.to_json() for entry in entries for change in entry.changes],
    }


def image_detail(run: ReviewedRun, row: int) -> dict[str, Any]:
    """Return what is shown of the image that is looked at, besides the state."""
    found, request, sheet = run.record.segmentation, run.record.request(row), TileSheet(tile=_LEAST_TILE)
    return {
        "text": run.said(row),
        "segments": [
            {
                "position": position_in_words(*found.means[row, segment].tolist()),
                "enlarged": len(sheet.tiles(request, segment + 1)) > 1,
            }
            for segment in range(int(found.n_segments[row]))
        ],
    }


def history(run: ReviewedRun) -> dict[str, Any]:
    """Return the last entries of the journal, the newest first."""
    return {"entries": [_entry(entry) for entry in reversed(run.journal.entries[-_MOST_ENTRIES:])]}


def job(run: ReviewedRun) -> dict[str, Any] | None:
    """Return how the work stands that goes on, or that was last done."""
    found = run.job
    if found is None:
        return None
    done, total, text = run.progress()
    return {
        "kind": found.kind,
        "status": found.status,
        "started": found.started,
        "seconds": time.time() - found.started,
        "done": done,
        "total": total,
        "text": text,
        "lines": list(found.lines),
    }


def _segments(run: ReviewedRun, row: int) -> list[dict[str, Any]]:
    name, found = run.record.image_ids[row], run.record.segmentation
    nothing = {"verdict": "unsure", "content": "", "reason": "", "source": ""}
    return [
        {
            **run.journal.values.get(Address("verdict", name, segment), nothing),
            "share": round(float(found.shares[row, segment - 1]), 4),
        }
        for segment in range(1, int(found.n_segments[row]) + 1)
    ]


def _alignments(run: ReviewedRun) -> list[dict[str, Any]]:
    """Return the figures of the run as it was when the review began, and of each alignment since."""
    found: list[dict[str, Any]] = []
    for entry in run.journal.entries:
        if entry.action == "start":
            found = []
        if figures := entry.facts.get("figures"):
            of = entry.facts.get("of", entry.revision)
            first = entry.action == "start"
            found.append({"first": first, "at": entry.at, "by": entry.by, "revision": of, **figures})
    return found


def _entry(entry: Entry) -> dict[str, Any]:
    found = entry.to_json()
    return {**found, "changes": found["changes"][:_MOST_CHANGES], "n_changes": len(found["changes"])}
