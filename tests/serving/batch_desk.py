"""The batch interfaces of a fault server: files, batches and results, in the languages of OpenAI and Anthropic."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from tests.serving.answers import Answer, Language

BatchCall = Literal["upload", "validate", "submit", "list", "poll", "results"]
BatchScript = Callable[[BatchCall, int], Answer]
# From the body of a request in a batch to the script's answer, and its status and body.
AnswerEntry = Callable[[Language, dict[str, Any]], tuple[Answer, int, bytes]]

_ROUTES: tuple[tuple[str, str, BatchCall], ...] = (
    ("POST", r"/files", "upload"),
    ("GET", r"/files/([\w-]+)/content", "results"),
    ("GET", r"/messages/batches/([\w-]+)/results", "results"),
    ("POST", r"(?:/messages)?/batches", "submit"),
    ("GET", r"(?:/messages)?/batches", "list"),
    ("GET", r"(?:/messages)?/batches/([\w-]+)", "poll"),
)


@dataclass
class Batch:
    """A batch that was accepted.

    Attributes
    ----------
    language : {"openai", "anthropic"}
        In which it was handed over.
    entries : list of dict
        What it holds, as it came.
    batch_id : str
        Its name.
    metadata : dict
        What was kept with it (OpenAI).
    refused : dict or None
        Code and message, if it failed validation.
    polls : int
        How often it was looked at.
    lines : dict of str to bytes
        Its files of results, by name, once it is finished.
    created : float
        Seconds since the epoch.
    """

    language: Language
    entries: list[dict[str, Any]]
    batch_id: str
    metadata: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] | None = None
    polls: int = 0
    lines: dict[str, bytes] | None = None
    created: float = field(default_factory=time.time)

    @property
    def ids(self) -> list[str]:
        """Custom ids of the requests."""
        return [entry["custom_id"] for entry in self.entries]


class BatchDesk:
    """Keep batches and answer them after some looks; see :class:`FaultServer`."""

    def __init__(self, answer: AnswerEntry, script: BatchScript | None, ready_after: int, page: int) -> None:
        self._answer, self._ready_after, self._page = answer, ready_after, page
        self._script: BatchScript = script or (lambda call, number: Answer())
        self._files: dict[str, bytes] = {}
        self._counts: dict[BatchCall, int] = {}
        self._lock = threading.Lock()
        self.batches: list[Batch] = []

    def handle(self, method: str, target: str, content: bytes) -> tuple[int, bytes, Answer] | None:
        """Return status, body and how to send them; None for what is no call of a batch interface."""
        url = urlsplit(target)
        for verb, pattern, call in _ROUTES:
            match = re.fullmatch(r"(?:/v1)?" + pattern, url.path)
            if verb == method and match:
                language: Language = "anthropic" if "/messages" in url.path else "openai"
                with self._lock:
                    fault = self._next(call)
                    if fault.status >= 400:
                        return fault.status, _error(language, fault.text or "", fault.code), fault
                    name = (match.groups() or ("",))[0]
                    status, body = self._do(call, language, name, content, parse_qs(url.query))
                return status, body, fault
        return None

    def _next(self, call: BatchCall) -> Answer:
        number = self._counts.get(call, 0)
        self._counts[call] = number + 1
        return self._script(call, number)

    def _do(
        self, call: BatchCall, language: Language, name: str, content: bytes, query: dict[str, list[str]]
    ) -> tuple[int, bytes]:
        if call == "upload":
            file_id = f"file-{len(self._files)}"
            # The file is the part of the form that holds JSON lines.
            self._files[file_id] = b"\n".join(line for line in content.splitlines() if line.startswith(b"{"))
            return 200, json.dumps({"id": file_id, "object": "file"}).encode()
        if call == "submit":
            return self._submit(language, json.loads(content))
        if call == "list":
            return 200, self._list(language, query)
        if call == "results":
            return self._results(language, name)
        batch = self._find(name)
        if batch is None:
            return 404, _error(language, f"No batch {name}.", "not_found_error")
        batch.polls += 1
        if batch.polls >= self._ready_after and batch.refused is None:
            self._finish(batch)
        return 200, json.dumps(_shown(batch)).encode()

    def _submit(self, language: Language, body: dict[str, Any]) -> tuple[int, bytes]:
        if language == "anthropic":
            entries, metadata = body["requests"], {}
        else:
            lines = self._files[body["input_file_id"]].splitlines()
            entries, metadata = [json.loads(line) for line in lines], body.get("metadata", {})
        batch = Batch(language, entries, f"batch_{len(self.batches)}", metadata)
        if len(set(batch.ids)) < len(batch.ids):
            batch.refused = {"code": "duplicate_custom_id", "message": "A custom_id occurs twice."}
        fault = self._next("validate")
        if fault.status >= 400:
            batch.refused = {"code": fault.code, "message": fault.text or ""}
        if batch.refused and language == "anthropic":
            return 400, _error(language, batch.refused["message"], "invalid_request_error")
        self.batches.append(batch)
        return 200, json.dumps(_shown(batch)).encode()

    def _list(self, language: Language, query: dict[str, list[str]]) -> bytes:
        newest_first = [batch for batch in self.batches[::-1] if batch.language == language]
        after = query.get("after", query.get("after_id", [""]))[0]
        start = 1 + [batch.batch_id for batch in newest_first].index(after) if after else 0
        page = newest_first[start : start + self._page]
        more = start + len(page) < len(newest_first)
        return json.dumps({"data": [_shown(batch) for batch in page], "has_more": more}).encode()

    def _results(self, language: Language, name: str) -> tuple[int, bytes]:
        for batch in self.batches:
            lines = batch.lines or {}
            if name == batch.batch_id and batch.lines is not None:
                return 200, b"".join(lines.values())
            if name in lines:
                return 200, lines[name]
        return 404, _error(language, f"No results {name}.", "not_found_error")

    def _find(self, name: str) -> Batch | None:
        return next((batch for batch in self.batches if batch.batch_id == name), None)

    def _finish(self, batch: Batch) -> None:
        if batch.lines is not None:
            return
        good, bad = b"", b""
        # Results come in any order.
        for entry in batch.entries[::-1]:
            body = entry["params"] if batch.language == "anthropic" else entry["body"]
            answer, status, content = self._answer(batch.language, body)
            if answer.cut_after is not None:
                continue
            if answer.body is not None:
                good += answer.body + b"\n"
                continue
            failed = status >= 400
            line = _line(batch.language, entry["custom_id"], status, json.loads(content), answer.code)
            good, bad = (good, bad + line) if failed else (good + line, bad)
        files = {f"output-{batch.batch_id}": good, f"error-{batch.batch_id}": bad}
        batch.lines = {name: lines for name, lines in files.items() if lines}


def _line(language: Language, key: str, status: int, content: Any, code: str) -> bytes:
    line: dict[str, Any] = {"custom_id": key}
    if language == "anthropic":
        if code in ("expired", "canceled"):
            line["result"] = {"type": code}
        elif status >= 400:
            line["result"] = {"type": "errored", "error": content}
        else:
            line["result"] = {"type": "succeeded", "message": content}
    elif code == "expired":
        line |= {"response": None, "error": {"code": "batch_expired", "message": "Not executed in time."}}
    else:
        line |= {"response": {"status_code": status, "body": content}, "error": None}
    return json.dumps(line).encode() + b"\n"


def _shown(batch: Batch) -> dict[str, Any]:
    done, lines = batch.lines is not None, batch.lines or {}
    if batch.language == "anthropic":
        counts = {"processing": 0 if done else len(batch.entries), "succeeded": len(batch.entries) * done}
        return {
            "id": batch.batch_id,
            "type": "message_batch",
            "processing_status": "ended" if done else "in_progress",
            "request_counts": counts,
            "created_at": datetime.fromtimestamp(batch.created, UTC).isoformat(),
        }
    shown: dict[str, Any] = {
        "id": batch.batch_id,
        "object": "batch",
        "status": "failed" if batch.refused else "completed" if done else "in_progress",
        "metadata": batch.metadata,
        "created_at": int(batch.created),
        "errors": {"data": [batch.refused]} if batch.refused else None,
    }
    for kind in ("output", "error"):
        name = f"{kind}-{batch.batch_id}"
        shown[f"{kind}_file_id"] = name if name in lines else None
    return shown


def _error(language: Language, message: str, code: str) -> bytes:
    error = {"type": code or "error", "message": message}
    if language == "anthropic":
        return json.dumps({"type": "error", "error": error}).encode()
    return json.dumps({"error": {**error, "code": code or None}}).encode()
