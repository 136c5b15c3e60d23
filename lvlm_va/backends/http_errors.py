"""What a server's error reply, a cut connection or a garbled reply means."""

from __future__ import annotations

import email.utils
import json
import math
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from lvlm_va.backends.types import ChatFailure, FailureKind
from lvlm_va.common.printable import printable

# 409 and 425 pass by themselves; a redirection is not followed, so the address is wrong.
_KINDS: dict[int, FailureKind] = {
    401: "auth",
    402: "quota",
    403: "auth",
    404: "not_found",
    405: "not_found",
    408: "timeout",
    409: "server",
    425: "server",
    429: "rate_limit",
    504: "timeout",
}
# Of OpenAI and those who speak its language, and of Anthropic: waiting does not help.
_QUOTA_CODES = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error"}
_QUOTA_WORDS = re.compile(r"credit balance is too low", re.IGNORECASE)
_REFUSED_CODES = {"unsupported_parameter", "unsupported_value", "unknown_parameter"}
_REFUSED_WORDS = re.compile(
    r"unsupported|not supported|n.t support|unknown|unrecogni[sz]ed|unexpected|not permitted|not allowed|"
    r"deprecated|no longer|only the default|invalid schema|not available",
    re.IGNORECASE,
)
# TGI and its kin take no temperature of 0.
_POSITIVE_WORDS = re.compile(
    r"\btemperature\b.*(?:\bpositive\b|\b(?:greater|larger|more|higher) than 0(?:\.0+)?(?![.\d])|"
    r"> ?0(?:\.0+)?(?![.\d])|\babove 0(?:\.0+)?(?![.\d]))",
    re.IGNORECASE | re.DOTALL,
)
_TAG = re.compile(r"<[^>]*>")
_MOST_SHOWN = 300
# Of an error's words: patterns take quadratic time in some texts.
_MOST_READ = 4096


class GarbledReplyError(ValueError):
    """A reply came, but says nothing that can be understood."""


@dataclass(frozen=True)
class ErrorReply:
    """What a server says with an error status.

    Attributes
    ----------
    status : int
        HTTP status.
    message, code, parameter : str
        In words, by name, and what of the request it is about; empty where the server does not say.
    retry_after : float or None
        Seconds to wait.
    """

    status: int
    message: str
    code: str
    parameter: str
    retry_after: float | None

    @property
    def failure(self) -> ChatFailure:
        """The failure of the request that met with it."""
        about = self.message
        if 300 <= self.status < 400:
            about = (
                "the server sends on to another address, which is not followed. Give the final 'base_url'."
            )
        return ChatFailure(self._kind, f"HTTP {self.status}: {about}", self.retry_after)

    @property
    def _kind(self) -> FailureKind:
        if self.status in (400, 403, 429) and (
            self.code in _QUOTA_CODES or _QUOTA_WORDS.search(self.message)
        ):
            return "quota"
        if self.status < 400:
            return "not_found"
        return _KINDS.get(self.status, "bad_request" if self.status < 500 else "server")

    @property
    def wants_positive_temperature(self) -> bool:
        """Whether the server says that it takes no temperature of 0, but one above."""
        return self.status in (400, 422) and _POSITIVE_WORDS.search(self.message) is not None

    def refused_parameter(self, sent: Collection[str]) -> str | None:
        """Return which of the parameters that were sent the server does not take, if it says so."""
        if self.status not in (400, 422, 501):
            return None
        if self.code not in _REFUSED_CODES and not _REFUSED_WORDS.search(self.message):
            return None
        # A word of the message counts only where the server does not say by itself what it is about.
        words = re.findall(r"\w+", self.parameter or self.message)
        return next((word for word in words if word in sent), None)


def read_error_reply(status: int, headers: Mapping[str, str], body: str) -> ErrorReply:
    """Return what a response with an error status says.

    Parameters
    ----------
    status : int
        Its status.
    headers : mapping of str to str
        Its headers, found by lower-case names.
    body : str
        Its body: JSON of one of the usual shapes, or anything else, such as a proxy's HTML page.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    error: Any = content.get("error", content) if isinstance(content, dict) else content
    if isinstance(error, dict):
        message = error.get("message") or error.get("detail") or error
        code, parameter = error.get("code"), error.get("param")
        if not isinstance(code, str):
            code = error.get("type")
    else:
        message, code, parameter = error or _TAG.sub(" ", body[:_MOST_READ]), None, None
    return ErrorReply(
        status,
        (message if isinstance(message, str) else json.dumps(message))[:_MOST_READ],
        code if isinstance(code, str) else "",
        parameter if isinstance(parameter, str) else "",
        retry_after(headers),
    )


def error_within(content: Mapping[str, Any]) -> ChatFailure | None:
    """Return the failure that a reply with a status of success speaks of, if it does, as some servers' do."""
    error = content.get("error")
    if not error:
        return None
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 400
    said = read_error_reply(status, {}, json.dumps(content))
    kind = said.failure.kind
    # It may have been worked on, and be billed.
    return ChatFailure(
        "malformed" if kind == "server" else kind, f"An error in the place of a reply: {said.message}"
    )


def shown(text: str) -> str:
    """Return a server's words on one line, cut to a length for reading, without what a terminal would obey."""
    line = " ".join(text.encode("utf-8", "replace").decode().split())
    return printable(line if len(line) <= _MOST_SHOWN else line[:_MOST_SHOWN] + " ...")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds a server asks to wait: ``retry-after-ms``, else ``retry-after`` (or its date)."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        return max(0.0, seconds) if math.isfinite(seconds) else None
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
        seconds = date.replace(tzinfo=date.tzinfo or UTC).timestamp() - time.time()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return max(0.0, seconds)
