"""Families of segments before critics: their pictures, their words, and votes on their members."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lvlm_va.backends import ScriptedBackend
from lvlm_va.critique import CriticPrompt, LVLMCritic, RegionRenderer, SegmentVerdict, TileSheet, TinyCritic
from lvlm_va.critique.families import FamilyVerdicts, pooled
from lvlm_va.critique.optional_methods import judges_families
from lvlm_va.critique.resolve import resolve_critic
from lvlm_va.critique.types import FamilyRequest
from tests.critique.making import make_request

SIDE = 48


def family(n: int = 3, **more) -> FamilyRequest:
    """A red square that moves over grey images."""
    members = []
    for k in range(n):
        segments = np.zeros((SIDE, SIDE), int)
        segments[4:14, 4 + 8 * k : 14 + 8 * k] = 1
        image = np.full((SIDE, SIDE, 3), 90, np.uint8)
        image[segments == 1] = (200, 30, 30)
        members.append(replace(make_request(segments, index=k), image=image, description="The knee counts."))
    return FamilyRequest(
        **vars(replace(members[0], image_id="family 1")), members=tuple(members), name="1", **more
    )


def test_a_sheet_shows_each_example_as_it_is_lit_and_enlarged():
    sheet = TileSheet(tile=96)
    originals, tiles = sheet.render(family())
    assert originals.image.array.shape == (96 + 24 + 16, 3 * 104 + 8, 3)
    assert tiles.image.array.shape == (2 * 128 + 8, 3 * 104 + 8, 3)  # a tile and an enlarged one for each
    (both,) = sheet.render(family(), max_images=1)
    assert both.image.array.shape == (3 * 128 + 8, 4 * 104 + 8, 3)  # nine tiles, four in a row
    red = (both.image.array.astype(int) - (200, 30, 30)).__abs__().max(-1) < 8
    grey = (both.image.array == 90).all(-1)
    assert red.any()
    for k in range(3):  # the originals, in tiles 0, 3 and 6: grey, where the others are shaded
        row, column = divmod(3 * k, 4)
        tile = slice(8 + 128 * row + 24, 128 * (row + 1)), slice(8 + 104 * column, 104 * (column + 1))
        assert grey[tile].mean() > 0.8
    assert grey.mean() < 0.5
    assert "examples 1 to 3" in sheet.describe_marks(family(), [1])


def test_a_model_is_asked_once_and_told_what_the_pictures_are():
    backend = ScriptedBackend(lambda request: "Segment 1 | covers: a red square | answer: artefact")
    critic = LVLMCritic(backend)
    (critique,) = critic.critique([family()])
    ((verdict,),) = critic.judge_for(None).judge([critique], [1])
    assert (verdict.image_id, verdict.segment, verdict.verdict) == ("family 1", 1, "spurious")
    (request,) = backend.requests
    text = "\n".join(part for turn in request.turns for part in turn.parts if isinstance(part, str))
    assert "The knee counts." in text
    assert "Answer once" in text
    own = LVLMCritic(backend, prompt=CriticPrompt("", "{description} {facts} Which of {segments}?"))
    words = own.chat_requests([family()])[0].turns[1].parts[-1]
    assert "Answer once" in words
    assert "Example 3: 4 % of the image, top" in words
    assert judges_families(critic)
    assert not judges_families(LVLMCritic(backend, renderer=RegionRenderer()))


@pytest.mark.parametrize(
    ("votes", "verdict"),
    [
        ("ssssss", "spurious"),
        ("sssrss", "spurious"),
        ("ssrr", "unsure"),
        ("sssr" "r", "unsure"),  # three fifths are no two thirds
        ("rr", "relevant"),
        ("uuu", "unsure"),
        ("ssu", "spurious"),
    ],
)  # fmt: skip
def test_two_thirds_of_the_members_decide(votes, verdict):
    words = {"s": "spurious", "r": "relevant", "u": "unsure"}
    said = [
        SegmentVerdict(str(k), k + 1, words[vote], reason=vote, source="rule") for k, vote in enumerate(votes)
    ]
    (found,) = pooled("family 1", said).verdicts
    assert (found.image_id, found.segment, found.verdict, found.source) == ("family 1", 1, verdict, "rule")


def test_the_tiny_critic_looks_at_the_examples_one_by_one():
    pytest.importorskip("transformers")
    backend = ScriptedBackend(
        ["Segment covers a patch. Answer: artefact"] * 2
        + ["Segment covers a digit. Answer: object"] * 2
        + ["Segment covers a digit. Answer: object"]
    )
    described = family(4)
    words = "The digit counts."
    members = tuple(replace(one, description=words) for one in described.members)
    request = replace(described, members=members, description=words)
    alone = replace(members[0], image_id="alone")
    mixed, single = TinyCritic(backend).critique([request, alone])
    assert len(backend.requests) == 5
    assert [verdict.verdict for verdict in mixed.verdicts] == ["unsure"]
    assert [(v.image_id, v.verdict) for v in single.verdicts] == [("alone", "relevant")]


def test_a_mapping_is_a_critic_of_the_families_that_it_names():
    critic = resolve_critic({"families": "ab", 1: "spurious", "2.1": "unsure"})
    requests = [replace(family(), name=name, families="ab") for name in ("1", "2.1", "3")]
    said = [critique.verdicts[0].verdict for critique in critic.critique(requests)]
    assert said == ["spurious", "unsure", "relevant"]
    with pytest.raises(ValueError, match="families that are found here"):
        critic.critique([replace(requests[0], families="cd")])
    with pytest.raises(ValueError, match="says nothing of image"):
        critic.critique(list(requests[0].members))
    with pytest.raises(ValueError, match="'critic'"):
        FamilyVerdicts({"families": "ab", 1: "bad"})
    with pytest.raises(ValueError, match="name families"):
        FamilyVerdicts({"families": "ab", "tag": "spurious"})
    assert FamilyVerdicts({}).critique(requests[:1])[0].verdicts[0].verdict == "relevant"
