"""What a segment shows, said by a person: the verdict follows by the run's policy, and corrections stay consistent."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from lvlm_va import VerdictTable
from lvlm_va.critique import ParserJudge, VerdictPolicy
from lvlm_va.critique.model_options import ModelOptions
from lvlm_va.report import read_run
from lvlm_va.review import ask
from lvlm_va.review.journal import TABLE_FILE


def first_image(client):
    return client.get("/api/state")["images"][0]["id"]


def saved(folder, image, segment=1):
    return VerdictTable.load(folder / TABLE_FILE)[image, segment]


def set_policy(folder, **policy):
    """Have a run say that it went by this policy."""
    path = folder / "latest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "policy": policy}))


@pytest.mark.parametrize("content", ["artefact", "object", "surroundings", "mixed", "unsure"])
@pytest.mark.parametrize("policy", [VerdictPolicy(), VerdictPolicy("mask", "keep")], ids=str)
def test_the_verdict_follows_by_the_policy_of_the_run(serve, run_folder, policy, content):
    set_policy(run_folder, **asdict(policy))
    client = serve(run_folder)
    state, image = client.get("/api/state"), first_image(client)
    assert state["follows"][content] == policy.verdict(content)
    status, answer = client.post("verdict", image=image, segment=1, content=content, revision=0)
    assert (status, answer["revision"]) == (200, 1)
    wanted = (policy.verdict(content), content, "human")
    found = saved(run_folder, image)
    assert (found.verdict, found.content, found.source) == wanted
    assert client.get("/api/state")["images"][0]["segments"][0]["content"] == content
    client.post("undo", revision=1)
    assert saved(run_folder, image).content == ""
    client.post("redo", revision=2)
    assert saved(run_folder, image) == found
    assert client.send("GET", "/api/export").body == (run_folder / TABLE_FILE).read_bytes()


@pytest.mark.parametrize(
    ("content", "verdict", "stays"),
    [
        ("artefact", "spurious", True),
        ("artefact", "relevant", False),
        ("artefact", "unsure", False),
        ("surroundings", "relevant", True),
        ("surroundings", "spurious", False),
        ("mixed", "unsure", True),
        ("mixed", "spurious", False),
    ],
)
def test_a_verdict_said_directly_clears_what_contradicts_it(client, run_folder, content, verdict, stays):
    image = first_image(client)
    client.post("verdict", image=image, segment=1, content=content, reason="So it is.", revision=0)
    client.post("verdict", image=image, segment=1, verdict=verdict, revision=1)
    found = saved(run_folder, image)
    assert (found.verdict, found.content) == (verdict, content if stays else "")
    assert found.reason == ("So it is." if stays else "")


def test_a_reason_for_something_else_does_not_stay(client, run_folder):
    image = first_image(client)
    client.post("verdict", image=image, segment=1, content="object", reason="The joint.", revision=0)
    client.post("verdict", image=image, segment=1, content="surroundings", revision=1)  # relevant, too
    assert saved(run_folder, image).reason == ""


@pytest.mark.parametrize("content", ["artifact", "", None, ["object"], 3])
def test_other_answers_are_refused(client, content):
    status, answer = client.post("verdict", image=first_image(client), segment=1, content=content, revision=0)
    assert status == 422
    assert "'content' argument must be one of" in answer["error"]


def test_a_table_that_is_imported_or_edited_by_hand_is_made_consistent(client, run_folder):
    image, path = first_image(client), run_folder / TABLE_FILE
    client.post("verdict", image=image, segment=1, content="artefact", revision=0)
    table = VerdictTable.load(path)
    by_hand = table.replace([replace(table[image, 1], verdict="relevant")])
    by_hand.save(run_folder / "other.json")
    client.post("import", table=(run_folder / "other.json").read_text(), revision=1)
    assert (saved(run_folder, image).verdict, saved(run_folder, image).content) == ("relevant", "")
    client.post("undo", revision=2)
    assert saved(run_folder, image).content == "artefact"
    by_hand.save(path)  # as an editor does
    assert client.post("undo", revision=3)[0] == 409
    assert (saved(run_folder, image).verdict, saved(run_folder, image).content) == ("relevant", "")
    entry = client.get("/api/journal")["entries"][0]
    assert (entry["by"], entry["revision"], entry["n_changes"]) == ("another program", 4, 1)
    # What is put aside altogether is not imported again and again.
    table.replace([replace(saved(run_folder, image), content="artefact")]).save(path)
    assert client.post("undo", revision=4)[0] == 200
    assert saved(run_folder, image).content == "artefact"


def test_asking_again_goes_by_the_policy_of_the_run(run_folder, monkeypatch, capsys):
    class Critic:
        name = "critic"

        def critique(self, requests):
            return [
                ask.Critique(r.image_id, "Segment 1 | covers: ground | answer: surroundings")
                for r in requests
            ]

    set_policy(run_folder, surroundings="mask", mixed="unsure")
    record = read_run(run_folder)
    assert record.policy == VerdictPolicy(surroundings="mask")
    monkeypatch.setattr(ask, "make_askers", lambda models: (Critic(), ParserJudge()))
    name = record.image_ids[0]
    ask.answer(ask.question(run_folder, [name], record.verdicts, ModelOptions("tiny")))
    values = ask.read_answer(capsys.readouterr().out)
    assert values["verdict", name, 1] == {
        **values["verdict", name, 1],
        "verdict": "spurious",
        "content": "surroundings",
    }


@pytest.mark.parametrize("policy", [{"surroundings": "maybe"}, {"sky": "keep"}, 3])
def test_a_damaged_policy_is_said(run_folder, policy):
    path = run_folder / "latest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "policy": policy}))
    with pytest.raises(ValueError, match=r"latest\.json is damaged"):
        read_run(run_folder)


def test_a_run_that_says_no_policy_went_by_the_default(run_folder):
    path = run_folder / "latest.json"
    latest = json.loads(path.read_text())
    assert latest.pop("policy") == asdict(VerdictPolicy())
    path.write_text(json.dumps(latest))
    assert read_run(run_folder).policy == VerdictPolicy()
