"""What may leave this machine: nothing, unless the user allows it by name."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_PATH = re.compile(r"[A-Za-z0-9._~/%:@-]*")
# Ollama hands these over to its own servers, although it is asked on this machine itself.
_CLOUD = re.compile(r"[-:]cloud$", re.IGNORECASE)


@dataclass(frozen=True)
class Endpoint:
    """Where a model is asked.

    Attributes
    ----------
    url : str
        Scheme, host, port and path, without a slash at the end.
    host : str
        Name or address of the host.
    local : bool
        Whether what is sent stays on this machine.
    """

    url: str
    host: str
    local: bool


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its very name: ``localhost``, 127.0.0.0/8 or ``::1``.

    No name is looked up: whatever a name server may answer, any other name is another machine.
    """
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback


def check_endpoint(base_url: object, model: object, allow_remote: object) -> Endpoint:
    """Return where a model is asked, if that is allowed; nothing is opened or looked up.

    Parameters
    ----------
    base_url : str
        ``http`` or ``https`` address, without user, password, query or fragment.
    model : str
        The model's name. One that ends in ``-cloud`` or ``:cloud`` runs on Ollama's servers, wherever it is
        asked for.
    allow_remote : bool
        Whether data may go to another machine.

    Returns
    -------
    Endpoint
        The address, put together anew from the parts that were checked.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If the address is not such a one, or is not of this machine and `allow_remote` is False.
    """
    if not isinstance(model, str) or not model.strip():
        raise TypeError(f"The 'model' argument must be the name of a model. Got {model!r} instead.")
    if not isinstance(allow_remote, bool):
        raise TypeError(f"The 'allow_remote' argument must be True or False. Got {allow_remote!r} instead.")
    url, host = _parse(base_url)
    if is_loopback(host):
        place = "the servers of Ollama, where models whose names end in 'cloud' run"
        local = not _CLOUD.search(model.strip())
    else:
        place, local = f"the host {host!r}, which is not this machine", False
    if not local and not allow_remote:
        raise ValueError(
            f"The 'allow_remote' argument must be True before images and texts go to {place}. Got False "
            "instead. Make sure that the data may leave this machine. A server on it is reached by a 'base_url' "
            "with the host localhost, 127.0.0.1 or [::1]."
        )
    return Endpoint(url, host, local)


def _parse(base_url: object) -> tuple[str, str]:
    # A refused address is not repeated: it may hold a password.
    refusal = ValueError(
        "The 'base_url' argument must be an address such as 'http://127.0.0.1:8000/v1', of a scheme http or "
        "https, a host (in ASCII), a port and a path, without user, password, query or fragment. Got something "
        "else instead. A key belongs in the 'api_key' argument."
    )
    if not isinstance(base_url, str):
        raise TypeError(
            f"The 'base_url' argument must be a string or None. Got {type(base_url).__name__} instead."
        )
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise refusal from None
    scheme, path = parts.scheme, parts.path.rstrip("/")
    if scheme not in ("http", "https") or not _HOST.fullmatch(host) or not _PATH.fullmatch(path):
        raise refusal
    netloc = (f"[{host}]" if ":" in host else host) + ("" if port is None else f":{port}")
    url = f"{scheme}://{netloc}{path}"
    # What the parts do not account for (user, query, fragment, control characters) is refused.
    if base_url.rstrip("/").lower() != url.lower():
        raise refusal
    return url, host
