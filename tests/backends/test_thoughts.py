"""Thoughts in the marks of many models: no word of them is taken for an answer."""

import pytest
from transformers import AutoProcessor

from lvlm_va.backends import ChatRequest, OpenAIBackend
from lvlm_va.backends.hf.prompts import Prompts
from lvlm_va.backends.thoughts import heard, opens_thoughts, without_leading_thoughts
from lvlm_va.critique.parsing import parse_choice, parse_contents, parse_verdicts
from tests.backends.inner import ask
from tests.serving import Answer, FaultServer

MARKS = {
    "Qwen, DeepSeek, GLM": ("<think>", "</think>"),
    "capitals": ("<Think>", "</THINK>"),
    "with attributes": ('<thinking budget="3">', "</thinking>"),
    "Gemini": ("<thought>", "</thought>"),
    "LLaVA-CoT": ("<REASONING>", "</REASONING>"),
    "Seed": ("<seed:think>", "</seed:think>"),
    "Magistral": ("[THINK]", "[/THINK]"),
    "Kimi-VL": ("◁think▷", "◁/think▷"),
    "MedGemma": ("<unused94>thought\n", "<unused95>"),
    "Gemma 4": ("<|channel>thought\n", "<channel|>"),
    "gpt-oss": ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    "gpt-oss that calls": (
        "<|start|>assistant<|channel|>commentary to=f<|message|>",
        "<|channel|>final <|constrain|>json<|message|>",
    ),
    "gpt-oss without its tokens": ("analysis", "assistantfinal"),
    "Command A": ("<|START_THINKING|>", "<|END_THINKING|>"),
    "OpenThinker": ("<|begin_of_thought|>", "<|end_of_thought|>"),
}
every = pytest.mark.parametrize("marks", MARKS.values(), ids=MARKS)
THOUGHT = "At first\nSegment 1: relevant\nSegment 1 | covers: bone | answer: object\nbut it is a tag."


def read(text):
    """Return what is read of segment 1 as a verdict, and as what it is about."""
    return parse_verdicts(text, [1]).verdicts[1], parse_contents(text, [1]).contents[1]


@every
def test_the_answer_behind_thoughts_is_read(marks):
    opening, closing = marks
    for answer, found in (
        ("Segment 1: spurious", ("spurious", "unsure")),
        ("Segment 1 | covers: tag | answer: artefact", ("unsure", "artefact")),
    ):
        assert read(f"{opening}{THOUGHT}{closing}{answer}") == found
        assert read(f"\n{opening}{THOUGHT}{closing}\n\n<answer>{answer}</answer><|im_end|>") == found
    assert parse_choice(f"{opening}Hm, relevant?{closing}spurious") in ("spurious", None)


@every
def test_thoughts_that_stay_open_are_no_answer(marks):
    opening, _ = marks
    assert read(f"{opening}{THOUGHT}") == ("unsure", "unsure")
    if opening != "analysis":
        assert read(f"Segment 1: spurious\n{opening}{THOUGHT}")[0] in ("spurious", "unsure")


@every
def test_a_mark_within_an_answer_contradicts_and_never_flips(marks):
    """An image can hold the mark, for a model to read it aloud."""
    opening, closing = marks
    if opening == "analysis":
        return
    for text in (
        f"Segment 1: spurious\n{closing}Segment 1: relevant",
        f"The words are {opening}\nSegment 1: spurious\n{closing}Segment 1: relevant",
    ):
        assert parse_verdicts(text, [1]).verdicts == {1: "unsure"}


def test_gemmas_thoughts_without_their_marks_are_no_answer():
    assert read("thought\nAt first\nSegment 1: relevant\nbut it is a tag.Segment 1: spurious")[0] == "unsure"


def test_other_words_in_angles_are_left_alone():
    for text in ("<thinker>a</thinker>", "I think <b>so</b>", "[THINKING]", "analysis of it", "thoughts\n"):
        assert (without_leading_thoughts(text), heard(text)) == (text, (text, ""))
    assert opens_thoughts("Is it?<|assistant|>\n◁think▷\n")
    assert not opens_thoughts("Is it?<think></think>")


@every
def test_backends_give_the_answer_alone(marks):
    opening, closing = marks
    if opening == "analysis":
        return
    said = [Answer(f"{opening}Is it?{closing}\nYes."), Answer(f"{opening}Is it?", finish="length")]
    with FaultServer(said) as server:
        backend = OpenAIBackend("tiny", base_url=server.url, concurrency=1)
        assert [(reply.text, reply.finish) for reply in backend.complete([ask()] * 2)] == [
            ("Yes.", "stop"),
            ("", "length"),
        ]


def test_marks_that_are_control_tokens_are_seen(tiny_folder):
    """Dropped with the other control tokens, they would leave the thoughts for an answer."""
    processor = AutoProcessor.from_pretrained(tiny_folder("llava"))
    processor.tokenizer.add_special_tokens({"additional_special_tokens": ["[THINK]", "[/THINK]"]})
    tokens = processor.tokenizer("[THINK]Hm. No?[/THINK]Yes.<|end|>", add_special_tokens=False).input_ids
    prompts = Prompts(processor)
    assert (prompts.decode(tokens, "Is it?"), prompts.decode(tokens[:5], "Is it?")) == ("Yes.", "")
    assert prompts.decode(tokens[1:], "Is it?[THINK]") == "Yes."
    assert prompts.render(ChatRequest(ask().turns)).endswith("<|assistant|>\n")
