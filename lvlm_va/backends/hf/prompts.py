"""Requests as the text that a checkpoint was trained on, and images beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from PIL import Image

from lvlm_va.backends.types import ChatRequest, Turn

Message = dict[str, Any]
_PROBE = "lvlm-va-system-probe"
_END_OF_REASONING = "</think>"


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
        messages, prompt = self._messages(request), self.render(request)
        if not all(choices):
            raise ValueError(f"The 'choices' of a request must not be empty. Got {choices!r} instead.")
        wholes = [
            self._template([*messages, _message("assistant", [choice])], continue_final_message=True)
            for choice in choices
        ]
        tokens = [self.tokenizer(choice, add_special_tokens=False).input_ids for choice in choices]
        ids = [self._ids(whole) for whole in wholes]
        for before in (prompt, wholes[0].removesuffix(choices[0])):
            head = self._ids(before)
            if all(whole[: len(head)] == head and len(whole) > len(head) for whole in ids):
                prompt, tokens = before, [whole[len(head) :] for whole in ids]
                break
        found = [tuple(sequence) for sequence in tokens]
        if any(a != b and b[: len(a)] == a for a in found for b in found):
            # One choice begins another: only the end of the reply tells them apart.
            found = [(*sequence, self.tokenizer.eos_token_id) for sequence in found]
        if len(set(found)) < len(found) or not all(found):
            raise ValueError(
                f"The 'choices' of a request must differ in their tokens. Got {choices!r} instead."
            )
        return prompt, found

    def encode(self, prompts: Sequence[str], images: Sequence[Sequence[Image.Image]]) -> Any:
        """Return what the model takes, padded on the left; all prompts hold the same number of images."""
        inputs = self.processor(
            text=list(prompts),
            images=[list(of_one) for of_one in images] if images[0] else None,
            padding=True,
            return_tensors="pt",
            add_special_tokens=self._adds_special(prompts[0]),
        )
        inputs.pop("labels", None)
        return inputs

    def decode(self, tokens: Sequence[int], prompt: str) -> str:
        """Return the text of a reply, without reasoning that the model marks as hidden."""
        text: str = self.tokenizer.decode(list(tokens), skip_special_tokens=True)
        if _END_OF_REASONING in text:
            return text.rpartition(_END_OF_REASONING)[2].lstrip()
        if text.lstrip().startswith("<think>") or prompt.rstrip().endswith("<think>"):
            return ""
        return text

    def _messages(self, request: ChatRequest) -> list[Message]:
        turns = list(request.turns)
        if turns and turns[0].role == "system" and not self._takes_system and len(turns) > 1:
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


def _message(role: str, parts: Any) -> Message:
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"} for part in parts
    ]
    return {"role": role, "content": content}
