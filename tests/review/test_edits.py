"""What the page can do, through the server: edits, two tabs, import and export, asking again."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pytest

from lvlm_va import VerdictTable
from lvlm_va.critique import Critique, JudgeExample, SegmentVerdict
from lvlm_va.critique.model_options import ModelOptions
from lvlm_va.report import keep_command
from lvlm_va.review.ask import answer, question, read_answer
from lvlm_va.review.changes import Address, verdict_value
from lvlm_va.review.journal import TABLE_FILE
from lvlm_va.review.reviewed import ReviewedRun
from lvlm_va.runs.lock import RunLock
from tests.review.conftest import SCRIPT
from tests.serving import Answer, FaultServer


def first_image(client):
    return client.get("/api/state")["images"][0]["id"]


def saved(run_folder):
    return VerdictTable.load(run_folder / TABLE_FILE)


def test_a_verdict_is_saved_before_the_answer(client, run_folder):
    image = first_image(client)
    before = saved(run_folder)
    status, answer = client.post(
        "verdict", image=image, segment=2, verdict="relevant", reason="Bone.", revision=0
    )
    assert (status, answer["revision"], answer["undo"], answer["redo"]) == (200, 1, True, False)
    (change,) = answer["changes"]
    assert (change["name"], change["segment"]) == (image, 2)
    wanted = SegmentVerdict(image, 2, "relevant", reason="Bone.", source="human")
    assert saved(run_folder) == before.replace([wanted])
    assert client.get("/api/state")["images"][0]["segments"][1]["source"] == "human"

    client.post("verdict", image=image, segment=2, verdict="relevant", revision=1)  # the same again
    assert saved(run_folder)[image, 2].reason == "Bone."
    client.post("verdict", image=image, segment=2, verdict="unsure", revision=1)
    assert saved(run_folder)[image, 2].reason == ""
    client.post("undo", revision=2)
    client.post("undo", revision=3)
    assert saved(run_folder) == before
    _, answer = client.post("redo", revision=4)
    assert saved(run_folder)[image, 2] == wanted
    assert (answer["undo"], answer["redo"]) == (True, True)


def test_confirming_keeps_the_critic_s_reason(client, run_folder):
    image = first_image(client)
    client.post("verdict", image=image, segment=1, verdict="relevant", revision=0)
    confirmed = saved(run_folder)[image, 1]
    assert (confirmed.source, confirmed.reason) == ("human", SCRIPT)


def test_two_tabs_do_not_overwrite_each_other(client, run_folder):
    image = first_image(client)
    assert client.post("verdict", image=image, segment=1, verdict="spurious", revision=0)[0] == 200
    for path, content in {
        "verdict": {"image": image, "segment": 1, "verdict": "unsure"},
        "description": {"label": "well", "text": "late"},
        "undo": {},
        "import": {"table": (run_folder / TABLE_FILE).read_text()},
    }.items():
        status, answer = client.post(path, **content, revision=0)
        assert status == 409
        assert "Nothing was overwritten" in answer["error"]
    assert saved(run_folder)[image, 1].verdict == "spurious"
    assert client.get("/api/progress")["revision"] == 1  # by which the other tab sees that it is late


def test_descriptions(client, run_folder):
    client.post("description", label="well", text="  The bone, never the tag.\n", revision=0)
    assert saved(run_folder).specifications == {"well": "The bone, never the tag."}
    client.post("description", label="well", text="", revision=1)
    assert saved(run_folder).specifications == {}
    status, answer = client.post("description", label="wel", text="x", revision=2)
    assert (status, "no class 'wel'" in answer["error"]) == (422, True)


def test_a_corrected_verdict_becomes_an_example(client, run_folder):
    image = first_image(client)
    status, answer = client.post("promote", image=image, segment=2, revision=0)
    assert (status, "Confirm or correct" in answer["error"]) == (422, True)
    client.post("verdict", image=image, segment=2, verdict="relevant", reason="Bone.", revision=0)
    client.post("promote", image=image, segment=2, revision=1)
    client.post("promote", image=image, segment=2, revision=2)  # twice makes one
    assert saved(run_folder).examples == (JudgeExample(SCRIPT, "relevant", "Bone."),)
    edited = {"critique": "It is bone.", "verdict": "unsure", "note": ""}
    client.post("example", number=0, example=edited, revision=2)
    assert saved(run_folder).examples == (JudgeExample(**edited),)
    assert client.post("example", number=0, example={**edited, "verdict": "maybe"}, revision=3)[0] == 422
    assert client.post("example", number=1, example=None, revision=3)[0] == 422
    client.post("example", number=0, example=None, revision=3)
    assert saved(run_folder).examples == ()


def test_export_and_import(client, run_folder):
    image = first_image(client)
    client.post("verdict", image=image, segment=1, verdict="spurious", revision=0)
    exported = client.send("GET", "/api/export")
    assert exported.body == (run_folder / TABLE_FILE).read_bytes()
    assert TABLE_FILE in exported.headers["content-disposition"]
    client.post("undo", revision=1)
    client.post("import", table=exported.body.decode(), revision=2)
    assert client.send("GET", "/api/export").body == exported.body
    assert client.get("/api/journal")["entries"][0]["action"] == "import"
    client.post("undo", revision=3)
    assert saved(run_folder)[image, 1].verdict == "relevant"
    client.post("description", label=client.get("/api/state")["classes"][0], text="New.", revision=4)
    client.post("import", table=exported.body.decode(), revision=5)
    assert client.send("GET", "/api/export").body == exported.body


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("{", "not valid JSON"),
        ("{}", "not a verdict table"),
        (
            json.dumps(
                {
                    "format": "lvlm_va verdict table",
                    "version": 1,
                    "images": [{"image_id": "x", "segments": [{"segment": 1, "verdict": "unsure"}]}],
                }
            ),
            "critiqued in this run",
        ),
    ],
)
def test_an_import_that_does_not_fit_changes_nothing(client, table, message):
    status, answer = client.post("import", table=table, revision=0)
    assert status == 422
    assert message in answer["error"]
    assert client.get("/api/state")["revision"] == 0


def test_a_table_that_another_run_exported_changes_nothing(client, run_folder):
    table = json.loads(client.send("GET", "/api/export").body)
    row, *_ = table["images"][1]["made_for"].split()
    moved = table["images"][1]["made_for"].replace(row, f"{abs(float(row) - 0.5):.3f}", 1)
    table["images"][1]["made_for"] = moved
    table["images"][1]["segments"][0]["verdict"] = "spurious"
    status, answer = client.post("import", table=json.dumps(table), revision=0)
    assert (status, client.get("/api/state")["revision"]) == (422, 0)
    assert "made for other segments of 1 of its 16 images" in answer["error"]
    # Neither does one that it finds in its file.
    (run_folder / TABLE_FILE).write_text(json.dumps(table))
    status, answer = client.post("undo", revision=0)
    assert status == 422
    assert "made for other segments" in answer["error"]


def test_a_run_in_which_another_process_works_is_not_aligned(serve, run_folder, monkeypatch):
    monkeypatch.setattr(ReviewedRun, "why_not_realign", lambda run: None)
    keep_command(run_folder, ["lvlm-va", "align"])
    client = serve(run_folder)
    lock = RunLock(run_folder)
    lock.acquire()
    status, answer = client.post("realign")
    lock.release()
    assert status == 409
    assert f"process {os.getpid()} on {socket.gethostname()} since 20" in answer["error"]
    assert RunLock(run_folder).holder() is None


def ended(client):
    """Wait for the end of what goes on; return how it ended."""
    while (job := client.get("/api/progress")["job"])["status"] == "running":
        time.sleep(0.1)
    return job


def test_asking_again_leaves_a_person_s_verdicts(serve, run_folder, tmp_path):
    other = tmp_path / "other.json"
    verdicts = VerdictTable.load(next(run_folder.glob("verdicts-*.json"))).verdicts
    VerdictTable(
        tuple(SegmentVerdict(v.image_id, v.segment, "unsure", reason="?", source="old") for v in verdicts)
    ).save(other)
    client = serve(run_folder, models=ModelOptions(f"table:{other}"))
    one, two = (image["id"] for image in client.get("/api/state")["images"][:2])
    client.post("verdict", image=one, segment=1, verdict="spurious", revision=0)
    assert "costs nothing" in client.post("estimate", images=[one])[1]["cost"]
    assert client.post("ask", images=[one])[0] == 200
    assert client.post("ask", images=[two])[0] == 409
    job = ended(client)
    assert (job["status"], job["done"], job["total"]) == ("done", 1, 1), job["lines"]
    table = saved(run_folder)
    assert table[one, 1].verdict == "spurious"
    assert table[one, 2].verdict == "unsure"
    assert table[two, 2].verdict == "spurious"
    assert client.get("/api/journal")["entries"][0]["by"] == f"table:{other}"
    assert "Segment 2: unsure" in client.get("/api/images/0")["text"]
    client.post("undo", revision=2)
    assert "About" in client.get("/api/images/0")["text"]


def test_asking_a_large_model_again(serve, run_folder):
    pytest.importorskip("openai")
    lines = "\n".join(f"Segment {k}: unsure" for k in range(1, 17))

    with FaultServer(lambda asked: Answer(text=lines)) as server:
        client = serve(run_folder, models=ModelOptions(f"{server.url}#large", prices=(10, 30)))
        images = client.get("/api/state")["images"]
        names = {image["label"]: image["id"] for image in images}
        cost = client.post("estimate", images=[names["well"]])[1]["cost"]
        assert cost.startswith("At most ")
        assert "USD" in cost
        assert not server.asked
        client.post("description", label="well", text="Only the bone.", revision=0)
        client.post("ask", images=[names["well"]])
        job = ended(client)
        assert job["status"] == "done", job["lines"]
        verdicts = [v for v in saved(run_folder).verdicts if v.image_id == names["well"]]
        assert {verdict.verdict for verdict in verdicts} == {"unsure"}
        assert all("Only the bone." in asked.text for asked in server.asked)


def test_only_what_was_answered_is_taken_over():
    said = SegmentVerdict("a", 1, "unsure", source="judge")
    failed = replace(said, image_id="b", status="failed")
    critiques = [Critique("a", "Hm.", (said,)), Critique("b", "", (failed,))]
    line = json.dumps({"critiques": [asdict(critique) for critique in critiques]})
    values = {Address("critique", "a"): "Hm.", Address("verdict", "a", 1): verdict_value(said)}
    assert read_answer(line) == values
    assert read_answer("Loading weights") == read_answer("[1]") == {}


def test_an_alignment_that_fails_says_why_and_one_can_be_cancelled(serve, run_folder):
    arguments = ["lvlm-va", "align", "nowhere", "--module", "mlp", "--epochs", "1", "--irrelevant", "corners"]
    (run_folder / "command.json").write_text(json.dumps({"arguments": arguments, "folder": str(run_folder)}))
    client = serve(run_folder)
    assert "nowhere" in client.get("/api/state")["command"]["text"]
    client.post("realign")
    job = ended(client)
    assert job["status"] == "failed"
    assert any("nowhere" in line for line in job["lines"])
    client.post("realign")
    client.post("cancel")
    assert ended(client)["status"] == "cancelled"
    assert {entry["action"] for entry in client.get("/api/journal")["entries"]} == {"start"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_cost": 1.0}, "--max-cost needs --prices"),
        ({"batch": True}, "--batch needs a --critic or --judge that is a model"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_arguments(run_folder, options, message):
    models = ModelOptions("table:none.json", **options)
    with pytest.raises(ValueError, match=message):
        ReviewedRun(run_folder, by="ada", models=models)
    with pytest.raises(ValueError, match=message):
        answer(question(run_folder, [], VerdictTable(), models))


def test_what_a_critic_s_options_lack_is_said_on_the_page(serve, run_folder, monkeypatch):
    """Also where it shows only when the critic is asked."""
    client = serve(run_folder, models=ModelOptions("table:none.json"))
    name = client.get("/api/state")["images"][0]["id"]
    monkeypatch.setattr("lvlm_va.review.reviewed.question", with_a_limit)
    assert client.post("ask", images=[name])[0] == 200
    job = ended(client)
    assert (job["status"], job["lines"]) == (
        "failed",
        ["ValueError: --max-cost needs --prices, of a million tokens in and out. Got none."],
    )


def with_a_limit(folder, image_ids, table, models):
    return question(folder, image_ids, table, replace(models, max_cost=1.0))


def test_the_review_knows_nothing_of_the_command_line():
    code = "import sys, lvlm_va.review.server, lvlm_va.review.ask; sys.exit('typer' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
