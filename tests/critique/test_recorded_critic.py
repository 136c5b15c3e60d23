"""Recorded replies: played back, read by the parser, so that a policy can be changed without a call."""

import json

import pytest

from lvlm_va import LVLMVAClassifier
from lvlm_va.critique import ParserJudge, RecordedCritic, VerdictPolicy, collect_critiques, resolve_critic
from lvlm_va.critique.resolve import resolve_critic_and_judge
from lvlm_va.testing import check_critic
from lvlm_va.testing.critic_requests import critic_requests
from tests.critique.making import corner_and_centre

REPLY = "Segment 1 | covers: a tag | answer: artefact\nSegment 2 | covers: ground | answer: surroundings"
REPLIES = [{"image_id": str(i), "reply": REPLY, "seen": "not read"} for i in range(3)]


@pytest.fixture(params=["list", "lines"])
def path(request, tmp_path):
    file = tmp_path / "replies.json"
    lines = "\n".join(map(json.dumps, REPLIES)) + "\n\n"
    file.write_text(json.dumps(REPLIES, indent=1) if request.param == "list" else lines, "utf-8")
    return file


def test_verdicts_follow_by_the_policy(path):
    critic, judge = resolve_critic_and_judge(f"recorded:{path}", None, None)
    assert (critic, judge) == (RecordedCritic(str(path)), ParserJudge())
    critiques = collect_critiques(
        critic, ["2", "0"], lambda rows: [corner_and_centre(index=(2, 0)[i]) for i in rows]
    )
    assert [(c.image_id, c.text, c.statements[0].segments) for c in critiques] == [
        ("2", REPLY, (1, 2)),
        ("0", REPLY, (1, 2)),
    ]
    for policy, second in ((VerdictPolicy(), "relevant"), (VerdictPolicy(surroundings="mask"), "spurious")):
        for verdicts in ParserJudge(policy).judge(critiques, [2, 2]):
            assert [(v.verdict, v.content) for v in verdicts] == [
                ("spurious", "artefact"),
                (second, "surroundings"),
            ]
            assert verdicts[0].reason == "a tag"


def test_another_file_is_another_critic(path):
    before = RecordedCritic(path).fingerprint()
    path.write_text(json.dumps(REPLIES[:1]))
    assert RecordedCritic(path).fingerprint() != before


def test_an_image_without_a_reply(path):
    with pytest.raises(ValueError, match="'path' argument must name a file with a reply.*3 images.*'scan-7'"):
        RecordedCritic(path).critique([corner_and_centre(image_id="scan-7")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1", "must be a JSON list or JSON lines"),
        ('{"image_id": "0"', "must be a JSON list or JSON lines"),
        ('{"image_id": "0"}', "entry 1: must be an object with 'image_id' and 'reply', both text"),
        ('[{"image_id": 0, "reply": ""}]', "entry 1: must be an object"),
        ("[[]]", "entry 1: must be an object"),
        ('{"image_id": "0", "reply": ""}\n' * 2, "entry 2: image '0' must have one reply. Got a second"),
    ],
)
def test_files_that_hold_no_replies(tmp_path, text, message, blobs):
    path = tmp_path / "replies.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"replies.json.*{message}"):
        RecordedCritic(path).critique([corner_and_centre()])
    with pytest.raises(ValueError, match=message):  # before anything is trained
        LVLMVAClassifier("mlp", critic=f"recorded:{path}").fit(*blobs)


def test_no_file(tmp_path, blobs):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        LVLMVAClassifier("mlp", critic="recorded:nowhere.json").fit(*blobs)
    with pytest.raises(ValueError, match="must name the file: 'recorded:PATH'. Got 'recorded:'"):
        resolve_critic("recorded:")


def test_it_keeps_its_promises(tmp_path):
    path = tmp_path / "replies.jsonl"
    entries = [{"image_id": request.image_id, "reply": REPLY} for request in critic_requests()]
    path.write_text("\n".join(map(json.dumps, entries)))
    check_critic(lambda: RecordedCritic(path))
