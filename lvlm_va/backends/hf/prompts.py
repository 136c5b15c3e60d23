"""Requests as the text that a checkpoint was trained on, and images beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from lvlm_va.backends.thoughts import opens_thoughts, without_leading_thoughts
from lvlm_va.backends.types import ChatRequest, ImagePart, Turn

Message = dict[str, Any]
_PROBE = "lvlm-va-system-probe"


class Prompts:
    """Turn requests into a checkpoint's own prompts and token numbers.

    Parameters
    ----------
    processor : transformers.ProcessorMixin
        The checkpoint's, padding on the left.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self._control = re.compile("|".join(map(re.escape, self._control_tokens())) or r"(?!)")
        self._takes_system = self._probe_system()

    def render(self, request: ChatRequest) -> str:
        """Return the prompt of a request, with a mark for each image and the beginning of the reply."""
        return self._template(self._messages(request), add_generation_prompt=True)

    def choices(self, request: ChatRequest) -> tuple[str, list[tuple[int, ...]]]:
        """Return a prompt and, for each of the request's choices, the tokens that follow it.

        The tokens are those of the choice within the whole conversation, since many tokenizers write a word
        in another way when it stands alone.

        Raises
        ------
        ValueError
            If a choice is empty, or two choices have the same tokens.
        """
        choices = request.choices or ()
        if not all(choices):
            raise ValueError(f"The 'choices' of a request must not be empty. Got {choices!r} instead.")
        messages = self._messages(request)
        talks = [[*messages, _message("assistant", [choice])] for choice in choices]
        wholes = [self._template(talk, continue_final_message=True) for talk in talks]
        prompt, tokens = self._split(wholes, choices, self.render(request))
        if any(a != b and b[: len(a)] == a for a in tokens for b in tokens):
            # One choice begins another: only the end of the reply tells them apart.
            end = self._end_of_turn(talks[0], wholes[0])
            tokens = [(*sequence, end) for sequence in tokens]
        if len(set(tokens)) < len(tokens) or not all(tokens):
            raise ValueError(
                f"The 'choices' of a request must differ in their tokens. Got {choices!r} instead."
            )
        return prompt, tokens

    def encode(self, prompts: Sequence[str], images: Sequence[Sequence[ImagePart]]) -> Any:
        """Return what the model takes, padded on the left; all prompts hold the same number of images."""
        pictures = [[Image.fromarray(np.ascontiguousarray(i.array)) for i in of_one] for of_one in images]
        inputs = self.processor(
            text=list(prompts),
            images=pictures if pictures[0] else None,
            padding=True,
            return_tensors="pt",
            add_special_tokens=self._adds_special(prompts[0]),
        )
        inputs.pop("labels", None)
        return inputs

    def decode(self, tokens: Sequence[int], prompt: str) -> str:
        """Return the text of a reply, without reasoning that the model marks as hidden."""
        opened = "<think>" if opens_thoughts(prompt) else ""
        # Some models' marks are control tokens.
        whole = opened + self.tokenizer.decode(list(tokens), skip_special_tokens=False)
        text = without_leading_thoughts(whole)
        if text != whole:
            return self._control.sub("", text)
        plain: str = self.tokenizer.decode(list(tokens), skip_special_tokens=True)
        return plain

    def _split(
        self, wholes: Sequence[str], choices: Sequence[str], prompt: str
    ) -> tuple[str, list[tuple[int, ...]]]:
        """Return what stands before all choices, and the tokens of each from there on."""
        ids = [self._ids(whole) for whole in wholes]
        # A template may open a reply of its own accord in another way than before one that is given.
        for before in (wholes[0].removesuffix(choices[0]), prompt):
            head = self._ids(before)
            if all(whole[: len(head)] == head and len(whole) > len(head) for whole in ids):
                return before, [tuple(whole[len(head) :]) for whole in ids]
        alone = [self.tokenizer(choice, add_special_tokens=False).input_ids for choice in choices]
        return prompt, [tuple(sequence) for sequence in alone]

    def _end_of_turn(self, talk: list[Message], unfinished: str) -> int:
        """Return the token with which the template ends a reply."""
        length, finished = len(self._ids(unfinished)), self._ids(self._template(talk))
        return int(finished[length] if len(finished) > length else self.tokenizer.eos_token_id)

    def _messages(self, request: ChatRequest) -> list[Message]:
        turns = [Turn(turn.role, _joined(turn.parts)) for turn in request.turns]
        if len(turns) > 1 and turns[0].role == "system" and not self._takes_system:
            system, first = turns[:2]
            turns[:2] = [Turn(first.role, (*system.parts, "\n\n", *first.parts))]
        return [_message(turn.role, map(self._plain, turn.parts)) for turn in turns]

    def _plain(self, part: Any) -> Any:
        """Return text in which nothing is a control token, so that no description can end a turn."""
        if not isinstance(part, str):
            return part
        return self._control.sub(lambda match: f"{match[0][0]} {match[0][1:]}", part)

    def _control_tokens(self) -> list[str]:
        added = self.tokenizer.added_tokens_decoder.values()
        named = [getattr(self.processor, name, None) for name in ("image_token", "boi_token", "eoi_token")]
        tokens = {*self.tokenizer.all_special_tokens, *(token.content for token in added if token.special)}
        tokens |= {token for token in named if isinstance(token, str)}
        return sorted((token for token in tokens if token), key=len, reverse=True)

    def _probe_system(self) -> bool:
        """Whether the template shows what a system turn says; some drop it, some refuse it."""
        from jinja2 import TemplateError

        messages = [_message("system", [_PROBE]), _message("user", ["Hello"])]
        try:
            return _PROBE in self._template(messages, add_generation_prompt=True)
        except TemplateError:
            return False

    def _template(self, messages: list[Message], **options: bool) -> str:
        text: str = self.processor.apply_chat_template(messages, tokenize=False, **options)
        return text

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=self._adds_special(text)).input_ids
        return ids

    def _adds_special(self, prompt: str) -> bool:
        """Whether the tokenizer is to begin the text; the template may have done it already."""
        bos = self.tokenizer.bos_token
        return not (bos and prompt.startswith(bos))


def _joined(parts: tuple[str | ImagePart, ...]) -> tuple[str | ImagePart, ...]:
    """Return texts without images as one, a line each, as they go to a server too."""
    texts = [part for part in parts if isinstance(part, str)]
    return ("\n".join(texts),) if len(texts) == len(parts) else parts


def _message(role: str, parts: Any) -> Message:
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"} for part in parts
    ]
    return {"role": role, "content": content}
