"""Have a language model say what a classifier relies on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lvlm_va.backends import ChatBackend, ChatFailure, ChatReply, ChatRequest, Turn
from lvlm_va.common.validation import check_integer
from lvlm_va.critique.behaviour import BehaviourSummary, ClassBehaviour
from lvlm_va.critique.model_user import ModelUser, ask, check_backend_argument
from lvlm_va.critique.parsing import is_refusal, without_thoughts
from lvlm_va.critique.prompts import BehaviourPrompt, quoted

_NOTHING_SAID = "Nothing was said."
_MOST_LISTED = 12
_LONGEST = 4000


@dataclass(frozen=True)
class BehaviourWriter(ModelUser):
    """Ask a language model for an account of what a classifier relies on, class by class.

    The model reads the class, the expert's description, the shares of the effect and what the critic said of
    the segments, all fenced as data; it sees no image. What it writes changes no figure and no verdict.

    Parameters
    ----------
    backend : ChatBackend or str
        The model, as in `LVLMCritic`; it needs no images.
    prompt : BehaviourPrompt, optional
        What is asked.
    max_tokens : int, default=512
        Most tokens of an account.
    allow_remote, cache, record, budget, batch, batch_wait, batch_poll : optional
        As in `ModelUser`.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type or range.
    """

    prompt: BehaviourPrompt = field(default_factory=BehaviourPrompt)
    max_tokens: int = 512

    def __post_init__(self) -> None:
        check_backend_argument(self.backend)
        if not isinstance(self.prompt, BehaviourPrompt):
            raise TypeError(f"The 'prompt' argument must be a BehaviourPrompt. Got {self.prompt!r} instead.")
        check_integer("max_tokens", self.max_tokens, 1, expected="an integer of at least 1")

    def write(self, summary: BehaviourSummary, descriptions: Mapping[str, str]) -> BehaviourSummary:
        """Return the summary in the model's words.

        Parameters
        ----------
        summary : BehaviourSummary
            What was found.
        descriptions : mapping of str to str
            What the expert says should count, by class.

        Returns
        -------
        BehaviourSummary
            With the same figures. A class of which the model gives no whole account keeps the text that it had.
        """
        chats = [self._chat(found, descriptions.get(found.label, "")) for found in summary.classes]
        outcomes = ask(self.asked, chats)
        return BehaviourSummary(
            tuple(
                self._with_account(found, outcome)
                for found, outcome in zip(summary.classes, outcomes, strict=True)
            )
        )

    def _chat(self, found: ClassBehaviour, description: str) -> ChatRequest:
        listed = [
            f"{cover.verdict}: {cover}, {cover.n_segments} segment{'s' * (cover.n_segments > 1)}"
            for cover in found.covers[:_MOST_LISTED]
        ]
        question = self.prompt.fill(
            {
                "label": quoted(found.label),
                "description": quoted(description.strip() or _NOTHING_SAID),
                "findings": quoted("\n".join([found.text, *listed])),
            }
        )
        turns = (Turn("system", (self.prompt.system,)), Turn("user", (question,)))
        return ChatRequest(turns, max_tokens=self.max_tokens, temperature=0.0)

    def _with_account(self, found: ClassBehaviour, outcome: ChatReply | ChatFailure) -> ClassBehaviour:
        if isinstance(outcome, ChatFailure) or outcome.finish != "stop":
            return found
        words = " ".join(
            "".join(c if c.isprintable() else " " for c in without_thoughts(outcome.text)).split()
        )
        if not words or len(words) > _LONGEST or is_refusal(words):
            return found
        return replace(found, text=words, author=self.name)


def resolve_writer(spec: BehaviourWriter | ChatBackend | str | None) -> BehaviourWriter | None:
    """Return the writer that `spec` describes: one, a chat model or its name for one with defaults, None for none.

    Parameters
    ----------
    spec : BehaviourWriter, chat model, str or None
        As above.

    Returns
    -------
    BehaviourWriter or None
        The writer.
    """
    return spec if spec is None or isinstance(spec, BehaviourWriter) else BehaviourWriter(spec)
