"""Chat models, local or remote, behind one small interface; cache, retries and budgets wrap any of them."""

from lvlm_va.backends.types import (
    Capabilities,
    ChatBackend,
    ChatFailure,
    ChatReply,
    ChatRequest,
    ImagePart,
    Turn,
    Usage,
)

__all__ = [
    "Capabilities",
    "ChatBackend",
    "ChatFailure",
    "ChatReply",
    "ChatRequest",
    "ImagePart",
    "Turn",
    "Usage",
]
