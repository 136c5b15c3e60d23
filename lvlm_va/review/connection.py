"""Connections of which slow clients cannot have so many that others get none."""

from __future__ import annotations

import asyncio
import itertools

from lvlm_va.report._extra import needs_report_extra

with needs_report_extra("uvicorn"):
    from uvicorn.protocols.http.h11_impl import H11Protocol

# Far below the number of files that a process may open; a browser has six.
MOST_WAITING = 128
_numbers = itertools.count()


class Connection(H11Protocol):
    """A connection that may be ended while no request of it is being answered.

    There is no limit on how long a client may take to send a request. Instead, when more than `MOST_WAITING`
    connections are without one, the oldest is ended: whoever sends a request at once is answered.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection in, and end the oldest one without a request where there are too many."""
        super().connection_made(transport)
        self._number = next(_numbers)
        waiting = [each for each in self.connections if isinstance(each, Connection) and each._is_waiting()]
        for each in sorted(waiting, key=lambda each: each._number)[:-MOST_WAITING]:
            each.transport.close()

    def _is_waiting(self) -> bool:
        return not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete)
