"""Backends by name, ours and those of other packages."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from lvlm_va.backends.types import ChatBackend
from lvlm_va.common.errors import unknown_name

GROUP = "lvlm_va.backends"
_BUILT_IN = tuple(
    EntryPoint(name, f"lvlm_va.backends.built_in:load_{name}", GROUP)
    for name in ("hf", "openai", "anthropic", "folder", "http", "https")
)


def load_backend(spec: str, *, allow_remote: bool = False, **options: Any) -> ChatBackend:
    """Return the backend that a text names.

    Parameters
    ----------
    spec : str
        ``"hf:PATH"`` for a model in this process (:class:`HFBackend`), ``"http://127.0.0.1:8000/v1#MODEL"`` (or
        https) for a server that speaks OpenAI's protocol, ``"openai:MODEL"``, ``"anthropic:MODEL"``,
        ``"folder:PATH"`` for whoever answers questions in a folder (:class:`FolderBackend`), or ``"NAME:..."`` with a
        name that an installed package offers.
    allow_remote : bool, default=False
        Whether texts and images may leave this machine.
    **options
        Further arguments of the backend.

    Returns
    -------
    ChatBackend
        The backend, without any wrapper.

    Raises
    ------
    TypeError
        If `spec` is not text, or an installed package offers something that is not a backend.
    ValueError
        If the name is unknown, or something is missing from `spec`; also if the backend sends data elsewhere
        without `allow_remote`.
    ImportError
        If the backend needs a package that is not installed.

    Notes
    -----
    A package offers a backend by an entry point of the group ``lvlm_va.backends``. It names a callable that takes
    what follows the colon, ``allow_remote`` and the options, and returns a backend. Our own names come first.
    """
    if not isinstance(spec, str):
        raise TypeError(f"The 'spec' argument must be text, such as 'hf:PATH'. Got {spec!r} instead.")
    name, colon, rest = spec.partition(":")
    loaders = {entry.name: entry for entry in (*entry_points(group=GROUP), *_BUILT_IN)}
    if name not in loaders:
        raise unknown_name("spec", name, loaders) if colon else _no_name(spec)
    if not rest:
        raise ValueError(
            f"The 'spec' argument must say which model, as in '{name}:MODEL'. Got {spec!r} instead."
        )
    backend = loaders[name].load()(rest, allow_remote=allow_remote, **options)
    if not isinstance(backend, ChatBackend):
        raise TypeError(
            f"The entry point {loaders[name].value!r} must return a backend, with 'name', 'capabilities', "
            f"'fingerprint' and 'complete'. Got {type(backend).__name__} instead."
        )
    if not backend.capabilities.local and not allow_remote:
        raise ValueError(
            f"The 'allow_remote' argument must be True for {name!r}, which sends texts and images to another "
            "machine. Got False instead. Make sure that the data may leave yours."
        )
    return backend


def _no_name(spec: str) -> ValueError:
    return ValueError(
        "The 'spec' argument must name a kind of backend and a model, such as 'hf:PATH', 'openai:MODEL' or "
        f"'http://127.0.0.1:8000/v1#MODEL'. Got {spec!r} instead."
    )
