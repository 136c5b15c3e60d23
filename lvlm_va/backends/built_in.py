"""What the names of our own backends stand for."""

from __future__ import annotations

from typing import Any

from lvlm_va.backends.types import ChatBackend


def load_hf(path: str, *, allow_remote: bool, **options: Any) -> ChatBackend:
    """Return a model of transformers in this process."""
    from lvlm_va.backends.hf import HFBackend

    return HFBackend(path, **options)


def load_openai(model: str, *, allow_remote: bool, **options: Any) -> ChatBackend:
    """Return a model that OpenAI's service, or the `base_url` among the options, offers."""
    from lvlm_va.backends.openai_backend import OpenAIBackend

    return OpenAIBackend(model, allow_remote=allow_remote, **options)


def load_anthropic(model: str, *, allow_remote: bool, **options: Any) -> ChatBackend:
    """Return a model that Anthropic's service, or the `base_url` among the options, offers."""
    from lvlm_va.backends.anthropic_backend import AnthropicBackend

    return AnthropicBackend(model, allow_remote=allow_remote, **options)


def load_folder(path: str, *, allow_remote: bool, **options: Any) -> ChatBackend:
    """Return who answers questions in a folder."""
    from lvlm_va.backends.folder_backend import FolderBackend

    return FolderBackend(path, **options)


def load_http(rest: str, *, allow_remote: bool, **options: Any) -> ChatBackend:
    """Return a model of the server at an address, ``//HOST:PORT/PATH#MODEL``."""
    return _load_address("http", rest, allow_remote=allow_remote, **options)


def load_https(rest: str, *, allow_remote: bool, **options: Any) -> ChatBackend:
    """Return a model of the server at an encrypted address, ``//HOST:PORT/PATH#MODEL``."""
    return _load_address("https", rest, allow_remote=allow_remote, **options)


def _load_address(scheme: str, rest: str, *, allow_remote: bool, **options: Any) -> ChatBackend:
    address, _, model = rest.partition("#")
    if not address.startswith("//") or not model:
        raise ValueError(
            "The 'spec' argument must hold an address and a model, as in "
            f"'{scheme}://127.0.0.1:8000/v1#MODEL'. Got '{scheme}:{rest}' instead."
        )
    return load_openai(model, base_url=f"{scheme}:{address}", allow_remote=allow_remote, **options)
