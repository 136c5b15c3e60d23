"""From findings on segments to an account of what a classifier relies on."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvlm_va.backends import ChatFailure, ChatReply
from lvlm_va.critique import VERDICTS, BehaviourPrompt, BehaviourWriter, SegmentFinding, summarize_behaviour
from lvlm_va.critique.behaviour import what_it_covers
from tests.critique.scripted import Scripted, text_of

FOUND = [
    SegmentFinding("a", "ill", 1, 0.75, "top left", "spurious", "Segment 1 covers the tag."),
    SegmentFinding("a", "ill", 2, 0.25, "centre", "relevant", "Segment 2 covers the bone."),
    SegmentFinding(
        "b", "ill", 1, 0.5, "top", "spurious", "3. Segment 1 covers the Tag.\nSegment 1: spurious"
    ),
    SegmentFinding("b", "ill", 2, 0.5, "centre", "unsure", "Who knows?\nNot I."),
    SegmentFinding("c", "well", 1, 1.0, "centre", "relevant", "98 % of its effect lies in the centre"),
]


def test_shares_and_what_is_covered():
    summary = summarize_behaviour(FOUND)
    ill = summary["ill"]
    assert [found.label for found in summary.classes] == ["ill", "well"]
    assert (ill.n_images, ill.author) == (2, "template")
    assert ill.shares == {"spurious": 0.625, "relevant": 0.125, "unsure": 0.25}
    first, second, third = ill.covers
    assert (first.what, first.verdict, first.share, first.n_segments, first.place) == (
        "the tag", "spurious", 0.625, 2, "top left",
    )  # fmt: skip
    assert (second.what, second.verdict, second.share) == (
        "something that the critique does not name", "unsure", 0.25,
    )  # fmt: skip
    assert str(third) == "the bone (12 % of the effect, mostly centre)"
    assert ill.text == (
        "2 images were critiqued. Of what speaks for the class in them, 62 % lies in segments that are spurious, 12 % "
        "in relevant ones, and on 25 % there is no verdict. So, by these verdicts, it relies mostly on what should not "
        "count. Judged spurious: the tag (62 % of the effect, mostly top left). Judged relevant: the bone (12 % of the "
        "effect, mostly centre). Unsure: something that the critique does not name (25 % of the effect, mostly centre)."
    )
    without = summarize_behaviour(FOUND[:1])["ill"].text
    assert "and on 0 % there is no verdict; 25 % lies in no segment. So" in without
    absolute = summarize_behaviour([replace(finding, effect="absolute") for finding in FOUND])
    assert "Of what speaks for or against the class in them, 62 %" in absolute["ill"].text
    assert str(summary["well"].covers[0]) == (
        "98 % of its effect lies in the centre (100 % of the effect, mostly centre)"
    )
    assert str(summary).startswith("Class ill: 2 images were")
    with pytest.raises(KeyError):
        summary["unheard of"]


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ((0.6, 0.4, 0.0), "mostly on what should not count"),
        ((0.2, 0.8, 0.0), "in part on what should not count"),
        ((0.05, 0.95, 0.0), "mostly on what should count"),
        ((0.2, 0.2, 0.6), "yet to be judged"),
        ((0.05, 0.47, 0.48), "less than half of it was judged to count"),
    ],
)
def test_the_conclusion_follows_the_shares(shares, words):
    found = [
        SegmentFinding("a", "ill", k, share, "top", verdict)
        for k, (share, verdict) in enumerate(zip(shares, VERDICTS, strict=True), start=1)
    ]
    assert words in summarize_behaviour(found)["ill"].text


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Segment covers a grey patch in a corner.", "a grey patch in a corner"),
        ("Step 3: segment #2 mostly covers the ruler; segment 1 the skin.", "the ruler"),
        ("**Segment 2** lies on the border\nof the image", "the border"),
        ("Segment 1 covers the hand. Segment 2 shows a plaster!", "a plaster"),
        ("100 % of its effect lies in the corners, declared irrelevant", "100 % of its effect lies in the "
         "corners, declared irrelevant"),
        ("Nothing\nto say", ""),
        ("x" * 500, ""),
        ("", ""),
    ],
)  # fmt: skip
def test_what_a_segment_covers_in_the_critics_words(reason, words):
    assert what_it_covers(reason, 2) == words


@given(st.text(max_size=80), st.integers(1, 9))
def test_what_it_covers_is_a_short_printable_line(text, segment):
    for reason in (text, f"Segment {segment} covers {text}", f"Segment {segment} covers {text * 9}"):
        words = what_it_covers(reason, segment)
        assert len(words) <= 164
        assert words.isprintable()


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.sampled_from(VERDICTS),
            st.sampled_from(["tag", "bone"]),
            st.integers(0, 100),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_every_thing_is_called_what_it_was_judged_and_every_figure_is_kept(table):
    found = [
        SegmentFinding(
            "x", label, k, 1 / len(table), "top", verdict, f"{figure} % of it lies on the {thing}, # %"
        )
        for k, (label, verdict, thing, figure) in enumerate(table, start=1)
    ]
    for behaviour in summarize_behaviour(found).classes:
        for cover in behaviour.covers:
            figures = [
                figure
                for label, verdict, thing, figure in table
                if (label, verdict) == (behaviour.label, cover.verdict)
                and cover.what.endswith(f"the {thing}, # %")
            ]
            low, high = min(figures), max(figures)
            assert cover.n_segments == len(figures)
            assert cover.what.startswith(f"{low} % of it" if low == high else f"{low} to {high} % of it")
            head = {"spurious": "Judged spurious", "relevant": "Judged relevant", "unsure": "Unsure"}[
                cover.verdict
            ]
            listed = behaviour.text.partition(f"{head}: ")[2].partition(". ")[0]
            assert str(cover) in listed


# In a model's words.


def test_a_model_is_given_figures_and_words_as_data():
    backend = Scripted("The net reads the tag.\n\nNot the bone.")
    told = BehaviourWriter(backend).write(summarize_behaviour(FOUND), {"ill": "The bone counts."})
    assert told["ill"].text == "The net reads the tag. Not the bone."
    assert told["ill"].author == "scripted"
    first, second = map(text_of, backend.asked)
    assert "<class_description>\n| The bone counts.\n</class_description>" in first
    assert "| spurious: the tag (62 % of the effect, mostly top left), 2 segments" in first
    assert "| Nothing was said." in second
    assert not backend.asked[0].images


@pytest.mark.parametrize(
    "answer",
    [
        ChatFailure("quota", "no more"),
        ChatFailure("timeout", "slow"),
        ChatReply("The net", "m", "length"),
        ChatReply("No.", "m", "refusal"),
        "I'm sorry, I can't help with that.",
        "",
        " \n",
        "<think>so",
        "x" * 9999,
    ],
)
def test_without_a_whole_account_the_template_stays(answer):
    summary = summarize_behaviour(FOUND)
    assert BehaviourWriter(Scripted(answer)).write(summary, {}) == summary


def test_one_failure_leaves_the_other_classes_theirs():
    backend = Scripted(lambda request, i: ChatFailure("server", "down") if i else "It reads the tag.")
    told = BehaviourWriter(backend).write(summarize_behaviour(FOUND), {})
    assert [found.author for found in told.classes] == ["scripted", "template"]


def test_nothing_found_is_nothing_asked():
    backend = Scripted("?")
    assert BehaviourWriter(backend).write(summarize_behaviour([]), {}).classes == ()
    assert backend.asked == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": 3}, "'backend' argument"),
        ({"prompt": "?"}, "'prompt' argument must be a BehaviourPrompt"),
        ({"max_tokens": 0}, "'max_tokens'"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        BehaviourWriter(**{"backend": Scripted("?"), **options})
    with pytest.raises(ValueError, match=r"\{findings\}"):
        BehaviourPrompt("a", "{label}")
