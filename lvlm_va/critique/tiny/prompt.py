"""What the tiny critic is asked, and what it cannot be asked: words that it was never taught."""

from __future__ import annotations

import re
from collections.abc import Collection

WORDS_FILE = "words.json"
MOST_WORDS = 90
_SHORT_FORMS = (("\u2019", "'"), ("can't", "cannot"), ("n't", " not"))
_LABEL_LENGTH = 20


def question(label: str, description: str) -> str:
    """Return the text that goes with the view of a segment."""
    safe = re.sub(r"[^A-Za-z0-9 ]+", " ", label).strip()[:_LABEL_LENGTH]
    return f"Class: {safe or 'unnamed'}. {description} What is marked?"


def normalised(description: str) -> str:
    """Return a description on one line, without short forms ("don't"), ending in a full stop."""
    text = " ".join(description.split())
    for short, long in _SHORT_FORMS:
        text = re.sub(re.escape(short), long, text, flags=re.IGNORECASE)
    return text if not text or text.endswith(".") else text.rstrip("!;,") + "."


def unknown_words(description: str, label: str, known: Collection[str]) -> list[str]:
    """Return what in a description was never taught, each once, in order: words, numbers, odd characters.

    The words of the class label are known.
    """
    own = set(re.findall(r"[a-z]+|[0-9]+", label.lower()))
    joined = re.sub(r"(?<=[a-z])[-'](?=[a-z])", " ", description.lower())
    found = re.findall(r"[a-z]+|[0-9]+|[^a-z0-9\s.,;:]+", joined)
    return [word for word in dict.fromkeys(found) if word not in known and word not in own]
