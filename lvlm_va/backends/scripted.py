"""Replies that are written beforehand, for tests of what stands on a model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from lvlm_va.backends.streaming import Outcome
from lvlm_va.backends.types import Capabilities, ChatFailure, ChatReply, ChatRequest

Answer = str | ChatReply | ChatFailure


class ScriptedBackend:
    """Answer from a script.

    Parameters
    ----------
    replies : callable, mapping or sequence
        What comes back, each a text, a :class:`ChatReply` or a :class:`ChatFailure`. A callable is given the
        request. Of a mapping, the first key that occurs in the texts of the request gives the reply. A sequence is
        given out in order, one reply for each request. Where a script has no reply, the request fails.
    name : str, default="scripted"
        The backend's name, and the model's.
    capabilities : Capabilities or None, default=None
        What it is to say that it can do. None: the defaults of :class:`Capabilities`.

    Attributes
    ----------
    requests : list of ChatRequest
        What it was asked, in order.

    Raises
    ------
    TypeError
        If `replies` is none of these; from ``complete``, if a callable returns something else; from
        ``fingerprint``, if a callable stands on objects that cannot be told apart. What a callable raises is
        raised.

    Notes
    -----
    Copies made by ``copy.deepcopy``, as by :func:`sklearn.base.clone`, are the same backend.

    Examples
    --------
    >>> from lvlm_va.backends import ChatRequest, ScriptedBackend, Turn
    >>> backend = ScriptedBackend({"segment 1": "It is spurious."})
    >>> backend.complete([ChatRequest((Turn("user", ("What of segment 1?",)),))])[0].text
    'It is spurious.'
    """

    def __init__(
        self,
        replies: Callable[[ChatRequest], Answer] | Mapping[str, Answer] | Sequence[Answer],
        *,
        name: str = "scripted",
        capabilities: Capabilities | None = None,
    ) -> None:
        if isinstance(replies, str) or not (callable(replies) or isinstance(replies, Mapping | Sequence)):
            raise TypeError(
                "The 'replies' argument must be a callable, a mapping or a sequence. Got "
                f"{type(replies).__name__} instead."
            )
        self.name = name
        self.capabilities = capabilities or Capabilities()
        self.requests: list[ChatRequest] = []
        self._replies = replies
        self._lock = threading.RLock()  # a script may hold the backend itself
        self._fingerprint: str | None = None

    def fingerprint(self) -> str:
        """Return a digest of the script, as it was when first asked for."""
        with self._lock:
            if self._fingerprint is None:
                from lvlm_va.common.fingerprint import fingerprint  # imports torch

                self._fingerprint = f"scripted-{fingerprint(self.name, self._replies)}"
            return self._fingerprint

    def complete(self, requests: Sequence[ChatRequest]) -> list[Outcome]:
        """Return a reply or a failure for each request, in order."""
        return [self._outcome(request) for request in requests]

    def _outcome(self, request: ChatRequest) -> Outcome:
        with self._lock:
            position = len(self.requests)
            self.requests.append(request)
        answer = self._answer(request, position)
        if isinstance(answer, str):
            return ChatReply(answer, self.name)
        if isinstance(answer, ChatReply | ChatFailure):
            return answer
        raise TypeError(
            "A scripted reply must be a text, a ChatReply or a ChatFailure. Got "
            f"{type(answer).__name__} instead."
        )

    def _answer(self, request: ChatRequest, position: int) -> Answer:
        if callable(self._replies):
            return self._replies(request)
        if isinstance(self._replies, Mapping):
            texts = [part for turn in request.turns for part in turn.parts if isinstance(part, str)]
            for key, answer in self._replies.items():
                if any(key in text for text in texts):
                    return answer
            return ChatFailure("bad_request", "The script has no reply to this request.")
        if position < len(self._replies):
            return self._replies[position]
        return ChatFailure("bad_request", f"The script ends after {len(self._replies)} replies.")

    def __deepcopy__(self, memo: object) -> ScriptedBackend:
        return self

    def __repr__(self) -> str:
        return f"ScriptedBackend(name={self.name!r})"
