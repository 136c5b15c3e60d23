"""The table of verdicts, and the JSON file that a person edits."""

import copy
import dataclasses
import json
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lvlm_va.critique import (
    CONTENTS,
    VERDICTS,
    JudgeExample,
    ParserJudge,
    SegmentVerdict,
    VerdictPolicy,
    VerdictTable,
)
from lvlm_va.critique.decision import Opinion, decide
from lvlm_va.critique.policy import consistent, policy_of

names = st.text(max_size=8)
verdicts = st.builds(
    SegmentVerdict,
    image_id=names,
    segment=st.integers(1, 9),
    verdict=st.sampled_from(VERDICTS),
    p_spurious=st.none() | st.floats(0, 1),
    reason=names,
    source=names,
    content=st.sampled_from(("", *CONTENTS)),
)
tables = st.builds(
    VerdictTable,
    verdicts=st.lists(verdicts, max_size=12, unique_by=lambda v: (v.image_id, v.segment)).map(tuple),
    specifications=st.dictionaries(names, names, max_size=3),
    examples=st.lists(st.builds(JudgeExample, names, st.sampled_from(VERDICTS), names), max_size=3).map(
        tuple
    ),
)
quick = settings(deadline=None, derandomize=True, max_examples=50)


@settings(quick, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables)
def test_round_trip(tmp_path, table):
    path = tmp_path / "verdicts.json"
    table.save(path)
    assert VerdictTable.load(path) == table
    assert pickle.loads(pickle.dumps(table)) == copy.deepcopy(table) == table


@quick
@given(tables, st.lists(verdicts, max_size=5, unique_by=lambda v: (v.image_id, v.segment)))
def test_replace_changes_what_is_edited_and_nothing_else(table, edits):
    before = {(v.image_id, v.segment): v for v in table.verdicts}
    edited = table.replace(edits)
    expected = before | {(v.image_id, v.segment): dataclasses.replace(v, source="human") for v in edits}
    assert {(v.image_id, v.segment): v for v in edited.verdicts} == expected
    assert all(edited[key] == edited.get(*key) == verdict for key, verdict in expected.items())
    assert (edited.specifications, edited.examples) == (table.specifications, table.examples)
    assert sum(edited.counts().values()) == len(expected)
    assert {(v.image_id, v.segment): v for v in table.verdicts} == before


def test_verdicts_are_kept_by_image_and_segment():
    table = VerdictTable(tuple(SegmentVerdict(i, s, "unsure") for i, s in (("b", 2), ("a", 1), ("b", 1))))
    assert [(v.image_id, v.segment) for v in table.verdicts] == [("b", 1), ("b", 2), ("a", 1)]
    assert table.counts() == {"spurious": 0, "relevant": 0, "unsure": 3}
    assert table.get("c", 1) is None
    with pytest.raises(KeyError, match="'c', 1"):
        table["c", 1]


@pytest.mark.parametrize(
    ("edit", "content", "source"),
    [
        ({}, "artefact", "critic"),
        ({"content": ""}, "artefact", "critic"),  # nothing said of it
        ({"verdict": "relevant"}, "", "human"),  # which no artefact is
        ({"verdict": "relevant", "content": "surroundings"}, "surroundings", "human"),
        ({"verdict": "spurious", "content": "surroundings"}, "surroundings", "human"),  # by some policy
        ({"verdict": "spurious", "content": "mixed"}, "mixed", "human"),
        ({"verdict": "unsure"}, "", "human"),
        ({"reason": "A letter."}, "artefact", "human"),
    ],
)
def test_a_correction_keeps_no_content_that_contradicts_it(edit, content, source):
    found = SegmentVerdict("a", 1, "spurious", None, "It is a tag.", "critic", "line", "artefact")
    table = VerdictTable((found,)).corrected_by(VerdictTable((dataclasses.replace(found, **edit),)))
    assert (table["a", 1].content, table["a", 1].source) == (content, source)
    assert table["a", 1].verdict == edit.get("verdict", "spurious")


@pytest.mark.parametrize("content", CONTENTS)
def test_what_follows_by_any_policy_is_consistent(content):
    policies = [VerdictPolicy(s, m) for s in ("keep", "mask") for m in ("unsure", "mask", "keep")]
    possible = {policy.verdict(content) for policy in policies}
    for verdict in VERDICTS:
        said = SegmentVerdict("a", 1, verdict, content=content)
        assert consistent(said).content == (content if verdict in possible else "")


def test_opinions_that_disagree_name_no_content():
    opinions = [
        Opinion({"spurious": 1.0}, "line", "", "artefact"),
        Opinion({"relevant": 1.0}, "line", "", "object"),
    ]
    assert (decide("a", 1, opinions, source="x").verdict, decide("a", 1, opinions, source="x").content) == (
        "unsure",
        "",
    )
    assert decide("a", 1, opinions[:1] * 2 + opinions[1:], source="x").content == "artefact"


def test_the_policy_is_the_judge_s():
    policy = VerdictPolicy(mixed="mask")
    assert policy_of(ParserJudge(policy), None) == policy_of(None, ParserJudge(policy)) == policy
    assert policy_of(None, object()) == VerdictPolicy()


def test_the_file_is_made_for_a_persons_eyes(tmp_path):
    path = tmp_path / "run" / "verdicts.json"
    VerdictTable(
        (SegmentVerdict("scan-7", np.int64(1), "spurious", np.float32(0.5), "Röntgen tag", "oracle"),),
        {"3": "Judge the joint."},
        (JudgeExample("It is a tag.", "spurious"),),
    ).save(path)
    assert (
        path.read_text(encoding="utf-8")
        == """{
  "format": "lvlm_va verdict table",
  "version": 1,
  "specifications": {
    "3": "Judge the joint."
  },
  "examples": [
    {
      "critique": "It is a tag.",
      "verdict": "spurious",
      "note": ""
    }
  ],
  "images": [
    {
      "image_id": "scan-7",
      "segments": [
        {
          "segment": 1,
          "verdict": "spurious",
          "p_spurious": 0.5,
          "reason": "Röntgen tag",
          "source": "oracle"
        }
      ]
    }
  ]
}
"""
    )
    assert [file.name for file in path.parent.iterdir()] == ["verdicts.json"]


def test_half_a_surrogate_pair_survives(tmp_path):
    table = VerdictTable((SegmentVerdict("a", 1, "unsure", reason="cut off \ud83d"),))
    table.save(tmp_path / "table.json")
    assert VerdictTable.load(tmp_path / "table.json") == table


def test_a_failed_save_leaves_the_old_file(tmp_path):
    VerdictTable().save(tmp_path / "table.json")
    broken = VerdictTable((SegmentVerdict("a", 1, "unsure", reason=object()),))
    with pytest.raises(TypeError):
        broken.save(tmp_path / "table.json")
    assert VerdictTable.load(tmp_path / "table.json") == VerdictTable()


def test_what_a_person_may_leave_out(tmp_path):
    path = tmp_path / "table.json"
    contents = {
        "format": "lvlm_va verdict table",
        "version": 1,
        "images": [{"image_id": "a", "segments": []}],
    }
    contents["images"][0]["segments"].append({"segment": 2, "verdict": "relevant"})
    path.write_text(json.dumps(contents), encoding="utf-8-sig")  # as Notepad saves it
    assert VerdictTable.load(path) == VerdictTable((SegmentVerdict("a", 2, "relevant"),))


def _set(*path_and_value):
    *path, last, value = path_and_value

    def change(contents):
        for step in path:
            contents = contents[step]
        contents[last] = value

    return change


def _delete(*path):
    def change(contents):
        for step in path[:-1]:
            contents = contents[step]
        del contents[path[-1]]

    return change


SEGMENT = ("images", 0, "segments", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("version", 2), "'version' must be 1.* Got 2"),
        (_delete("version"), "'version' must be 1.* Got None"),
        (_set("format", "other"), "not a verdict table"),
        (_delete("images"), "the key 'images' is missing"),
        (_set("imgaes", []), "unknown key 'imgaes'. The keys are"),
        (_set("specifications", "3", 5), "specifications: '3' must be text. Got 5"),
        (_set("specifications", []), r"'specifications' must be an object. Got \[\]"),
        (_set("examples", 0, "verdict", "tag"), "example 1: The 'verdict' argument must be one of"),
        (_delete("examples", 0, "critique"), "example 1: the key 'critique' is missing"),
        (_set("images", 0, "a"), "image number 1: must be an object with the keys"),
        (_set("images", 0, "image_id", 7), "image number 1: 'image_id' must be text. Got 7"),
        (_set("images", 1, "image_id", "a"), "image 'a' is listed twice"),
        (_set(*SEGMENT, "verdict", "suprious"), "image 'a', entry 1 of 'segments': .*'verdict'.*'suprious'"),
        (_set(*SEGMENT, "verdict", None), "image 'a', entry 1 of 'segments': 'verdict' must be text"),
        (_set(*SEGMENT, "verdit", "spurious"), "image 'a', entry 1 of 'segments': unknown key 'verdit'"),
        (_set(*SEGMENT, "image_id", "b"), "unknown key 'image_id'"),
        (_delete(*SEGMENT, "verdict"), "image 'a', entry 1 of 'segments': the key 'verdict' is missing"),
        (_set(*SEGMENT, "segment", 0), "'segment' argument counts from 1. Got 0"),
        (_set(*SEGMENT, "segment", True), "'segment' must be a whole number. Got True"),
        (_set(*SEGMENT, "segment", 1.5), "'segment' must be a whole number. Got 1.5"),
        (_set(*SEGMENT, "segment", 2), "segment 2 of image 'a' is listed twice"),
        (_set(*SEGMENT, "p_spurious", 2), r"'p_spurious' argument must lie in \[0, 1\]. Got 2"),
        (_set(*SEGMENT, "p_spurious", float("nan")), "NaN is not a number that JSON knows"),
        (_set(*SEGMENT, "reason", None), "'reason' must be text. Got None"),
    ],
)
def test_every_error_names_file_place_and_field(tmp_path, change, message):
    path = tmp_path / "edited.json"
    VerdictTable(
        tuple(SegmentVerdict(i, s, "unsure", 0.5, "why", "who") for i in "ab" for s in (1, 2)),
        {"3": "Judge the joint."},
        (JudgeExample("It is a tag.", "spurious"),),
    ).save(path)
    contents = json.loads(path.read_text(encoding="utf-8"))
    change(contents)
    path.write_text(json.dumps(contents), encoding="utf-8")
    with pytest.raises(ValueError, match=f"edited.json.*{message}"):
        VerdictTable.load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{,}", "not valid JSON: .*line 1"),
        (b"{" + b",".join(b'"%d": 0' % k for k in [*range(200_000), 7]) + b"}", "'7' stands twice"),
        (b'{"format": "x", "format": "y"}', "'format' stands twice"),
        (b"[]", "not a verdict table"),
        (b"\xff\xfe", "not UTF-8 text.*encoding UTF-8"),
    ],
)
def test_other_files(tmp_path, text, message):
    (tmp_path / "other.json").write_bytes(text)
    with pytest.raises(ValueError, match=f"other.json.*{message}"):
        VerdictTable.load(tmp_path / "other.json")


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        VerdictTable.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"verdicts": (SegmentVerdict("a", 1, "unsure"),) * 2},
            ValueError,
            "segment 1 of image 'a'.*replace",
        ),
        (
            {"verdicts": ("spurious",)},
            TypeError,
            "'verdicts' argument must hold SegmentVerdict objects. Got str",
        ),
        ({"examples": ("tag",)}, TypeError, "'examples' argument must hold JudgeExample objects"),
        (
            {"specifications": {3: "Judge the joint."}},
            TypeError,
            "class labels to descriptions, both as text. Got 3",
        ),
    ],
)
def test_wrong_contents(arguments, error, message):
    with pytest.raises(error, match=message):
        VerdictTable(**arguments)


def test_two_edits_of_one_segment_are_refused():
    edit = SegmentVerdict("a", 1, "spurious")
    with pytest.raises(ValueError, match="Got two on segment 1 of image 'a'"):
        VerdictTable().replace([edit, edit])
