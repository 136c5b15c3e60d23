"""One small interface to chat models, and a cache, retries, a budget and a record around any of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvlm_va.backends.anthropic_backend import AnthropicBackend
from lvlm_va.backends.batches import BatchedBackend
from lvlm_va.backends.budget import Budget, BudgetedBackend
from lvlm_va.backends.cache import CachedBackend
from lvlm_va.backends.estimates import Estimate, Prices, estimate, estimate_tokens
from lvlm_va.backends.folder_backend import FolderBackend
from lvlm_va.backends.openai_backend import OpenAIBackend
from lvlm_va.backends.record import RecordingBackend, read_exchanges
from lvlm_va.backends.registry import load_backend
from lvlm_va.backends.reply_store import CacheInfo
from lvlm_va.backends.retry import RetryingBackend
from lvlm_va.backends.scripted import ScriptedBackend
from lvlm_va.backends.stack import wrap_backend
from lvlm_va.backends.streaming import complete_each
from lvlm_va.backends.types import (
    BatchChatBackend,
    BatchTicket,
    Capabilities,
    ChatBackend,
    ChatFailure,
    ChatReply,
    ChatRequest,
    ImagePart,
    StreamingBackend,
    Turn,
    Usage,
    WaitingBackend,
)

if TYPE_CHECKING:
    from lvlm_va.backends.hf import HFBackend

__all__ = [
    "AnthropicBackend",
    "BatchChatBackend",
    "BatchTicket",
    "BatchedBackend",
    "Budget",
    "BudgetedBackend",
    "CacheInfo",
    "CachedBackend",
    "Capabilities",
    "ChatBackend",
    "ChatFailure",
    "ChatReply",
    "ChatRequest",
    "Estimate",
    "FolderBackend",
    "HFBackend",
    "ImagePart",
    "OpenAIBackend",
    "Prices",
    "RecordingBackend",
    "RetryingBackend",
    "ScriptedBackend",
    "StreamingBackend",
    "Turn",
    "Usage",
    "WaitingBackend",
    "complete_each",
    "estimate",
    "estimate_tokens",
    "load_backend",
    "read_exchanges",
    "wrap_backend",
]


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import; who asks a server need not wait for it.
    if name != "HFBackend":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lvlm_va.backends.hf import HFBackend

    return HFBackend


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
