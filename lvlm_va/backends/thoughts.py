"""Thoughts: the marks that models set around what they say to themselves, and what is said outside them."""

from __future__ import annotations

import re

_OPENED, _CLOSED = "<think>", "</think>"
# In the place of thoughts that were cut out: neither a line nor a JSON object goes on behind it.
_SEAM = "\n\0\n"
_NAMES = r"(?:think(?:ing)?|thoughts?|reasoning|seed:think)"
# Qwen, DeepSeek, GLM, Gemini and kin; Magistral; Kimi; MedGemma; Gemma 4; Cohere; OpenThinker; gpt-oss.
_OPENING = re.compile(
    rf"<{_NAMES}(?:\s[^<>\n]{{0,99}})?>|\[THINK\]|◁think▷|<unused94>(?:thought\b)?|<\|channel>(?:thought\b)?"
    r"|<\|START_THINKING\|>|<\|begin_of_thought\|>|(?:<\|start\|>assistant)?<\|channel\|>(?:analysis|commentary)\b"
    r"|<\|think(?:ing)?\|>",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    rf"</{_NAMES}\s?>|\[/THINK\]|◁/think▷|<unused95>|<channel\|>|<\|END_THINKING\|>|<\|end_of_thought\|>"
    r"|(?:<\|start\|>assistant)?<\|channel\|>final\b(?:[^<\n]{0,99}(?:<\|constrain\|>[^<\n]{0,99})?<\|message\|>)?"
    r"|<\|/think(?:ing)?\|>",
    re.IGNORECASE,
)
# What is left of gpt-oss's and Gemma's marks where a server drops control tokens.
_BARE = re.compile(r"\A\s*(?:analysis(?=[A-Z])|thought\s*\n)")
_BARE_CLOSING = "assistantfinal"
# Marks of the end of a turn and around an answer; what they stand beside is said all the same.
_CONTROL = re.compile(
    r"<\|(?:im_(?:start|end)|end|eot_id|eom_id|eot|endoftext|(?:begin|end)_of_(?:text|box|solution|sentence|turn)|"
    r"return|call|user|assistant|observation|(?:start|end)_(?:response|text|of_turn_token)|message)\|>"
    r"|</?s>|<(?:start|end)_of_turn>|<(?:bos|eos|pad|end_of_utterance)>|</?answer>|\[/?INST\]"
    r"|<\uff5c(?:begin|end)\u2581of\u2581sentence\uff5c>",
    re.IGNORECASE,
)


def without_leading_thoughts(text: str) -> str:
    """Return an answer without the marked thoughts before it, closed or cut off; empty where there is nothing else."""
    marked = _with_plain_marks(text)
    return marked.partition(_CLOSED)[2].lstrip() if marked.lstrip().startswith(_OPENED) else text


def opens_thoughts(prompt: str) -> bool:
    """Return whether a prompt ends in a mark that opens thoughts, so that a reply begins within them."""
    return _with_plain_marks(prompt[-200:]).rstrip().endswith(_OPENED)


def heard(text: str) -> tuple[str, str]:
    """Return what a text says outside its thoughts, and what may wrongly pass for thoughts; empty where nothing does.

    A mark at the beginning opens thoughts up to the first that closes some. Any other mark, such as a closing one whose
    opening one the server has swallowed, cuts them out too; but an image can hold such a mark, for a model to read it
    aloud, so a verdict that was cut out by it must not contradict what is left.
    """
    rest = text = _with_plain_marks(text)
    bare = _BARE.match(text)
    if bare:
        rest = text = _OPENED + text[bare.end() :].replace(_BARE_CLOSING, _CLOSED)
    if text.lstrip().startswith(_OPENED):
        rest = text.partition(_CLOSED)[2]
    first, *parts = rest.split(_OPENED)
    outside = [first, *(part.partition(_CLOSED)[2] for part in parts if _CLOSED in part)]
    spoken = _SEAM.join(outside).rpartition(_CLOSED)[2]
    doubtful = "" if spoken == rest else rest.replace(_OPENED, "\n").replace(_CLOSED, "\n")
    return _CONTROL.sub(" ", spoken), _CONTROL.sub(" ", doubtful)


def _with_plain_marks(text: str) -> str:
    """Return a text in which all marks are those of the first kind."""
    return _CLOSING.sub(_CLOSED, _OPENING.sub(_OPENED, text))
