"""What tells one checkpoint from another: its content, wherever it lies."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch

# Raise it when prompts or replies are made in another way from the same checkpoint.
_VERSION = 1
# Parts of configurations that say where or with what a checkpoint was written, not what it does.
_IRRELEVANT = frozenset(("_name_or_path", "name_or_path", "transformers_version"))


def checkpoint_digest(model: Any, processor: Any) -> str:
    """Return 64 hexadecimal digits (SHA-256) over weights, dtypes, configurations, tokenizer and chat template.

    Reads all weights once: about a second for a gigabyte.
    """
    content = [
        _VERSION,
        type(model).__name__,
        _relevant(model.config.to_dict()),
        _relevant(model.generation_config.to_dict()),
        type(processor).__name__,
        _relevant(processor.to_dict()),
        processor.chat_template,
        _tokenizer_content(processor.tokenizer),
    ]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _relevant(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _relevant(item) for k, item in value.items() if k not in _IRRELEVANT}
    if isinstance(value, list | tuple):
        return [_relevant(item) for item in value]
    return value


def _tokenizer_content(tokenizer: Any) -> Any:
    if not getattr(tokenizer, "is_fast", False):
        return [type(tokenizer).__name__, sorted(tokenizer.get_vocab().items())]
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    # How the last text was padded and cut is kept there too.
    return {key: value for key, value in content.items() if key not in ("padding", "truncation")}
