"""What every wrapper of a backend passes through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from lvlm_va.backends.streaming import Outcome, in_order
from lvlm_va.backends.types import Capabilities, ChatBackend, ChatRequest


class BackendWrapper(ABC):
    """A backend around another one, of the same name, capabilities and fingerprint.

    Parameters
    ----------
    backend : ChatBackend
        The backend inside.
    """

    def __init__(self, backend: ChatBackend) -> None:
        if not isinstance(backend, ChatBackend):
            raise TypeError(
                "The 'backend' argument must be a backend, with 'name', 'capabilities', 'fingerprint' and "
                f"'complete'. Got {type(backend).__name__} instead."
            )
        self.backend = backend

    @property
    def name(self) -> str:
        """Name of the backend inside."""
        return self.backend.name

    @property
    def capabilities(self) -> Capabilities:
        """What the backend inside can do."""
        return self.backend.capabilities

    def fingerprint(self) -> str:
        """Return the fingerprint of the backend inside: wrapping changes no reply."""
        return self.backend.fingerprint()

    @abstractmethod
    def complete_each(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, Outcome]]:
        """Yield each request's position and what came of it, as it comes; leave out what was not sent."""

    def complete(self, requests: Sequence[ChatRequest]) -> list[Outcome]:
        """Return a reply or a failure for each request, in order."""
        return in_order(len(requests), self.complete_each(requests))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.backend!r})"
