"""``lvlm-va align`` with a model as critic: what it sends, what it would send, what it must not."""

from __future__ import annotations

import json
import re

import pytest

from lvlm_va import VerdictTable
from lvlm_va.critique import JudgeExample
from tests.backends.answering import put, unanswered
from tests.critique.scripted import verdict_lines
from tests.serving import FAULTS, Answer, FaultServer

N = 1


def answer(asked):
    """Speak as a critic, or as a judge where a critique is to be read."""
    if "verdict on segment" in asked.text:
        return Answer(
            re.sub(r".*verdict on segment (\d+).*", r"Segment \1: relevant", asked.text, flags=re.DOTALL)
        )
    return Answer("Segment covers the tag.\n" + verdict_lines(asked.text, "spurious"))


@pytest.fixture
def server():
    with FaultServer(answer) as server:
        yield server


@pytest.fixture
def ask(align, tmp_path):
    """Align with a critic by its name; the run is in tmp_path / "run"."""

    def run(critic, *more):
        described = [f"--describe={name}=Only the bright bar counts." for name in ("ill", "well")]
        return align(tmp_path / "run", "--critic", critic, *described, "--n-align", N, *more)

    return run


def test_a_dry_run_says_what_it_would_take_and_sends_nothing(server, ask, tmp_path):
    done = ask(f"{server.url}#any", "--dry-run", "--prices", 2.5, 10, "--currency", "EUR")
    assert done.returncode == 0, done.stderr
    assert server.asked == []
    assert not (tmp_path / "run" / "aligned.safetensors").exists()
    said = re.search(
        r"Nothing was sent.* ([\d,]+) requests, ([\d,]+) images, ([\d,]+) tokens in, ([\d,]+) tokens out, "
        r"([\d.]+) EUR",
        done.stdout,
    )
    requests, images, tokens_in, tokens_out = (int(said[i].replace(",", "")) for i in range(1, 5))
    assert float(said[5]) == pytest.approx((2.5 * tokens_in + 10 * tokens_out) / 1e6, abs=0.006)

    done = ask(f"{server.url}#any")
    assert done.returncode == 0, done.stderr
    assert (len(server.asked), sum(len(asked.images) for asked in server.asked)) == (requests, images)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["verdicts"]["spurious"] >= requests == N
    assert re.search(r"the tag \(\d+ %", done.stdout)
    assert "the tag (" in "".join(metrics["behaviour"].values())
    assert "0 requests" in ask(f"{server.url}#any", "--dry-run").stdout  # all is known


def test_examples_make_the_critics_model_the_judge(server, ask, tmp_path):
    examples = (JudgeExample("Segment 1 covers a tag.", "spurious", note="Tags never count."),)
    VerdictTable(examples=examples).save(tmp_path / "examples.json")
    done = ask(f"{server.url}#any", "--examples", tmp_path / "examples.json")
    assert done.returncode == 0, done.stderr
    judged = [asked for asked in server.asked if "verdict on segment" in asked.text]
    assert judged
    assert all("Tags never count." in json.dumps(asked.body) for asked in judged)
    (table,) = (tmp_path / "run").glob("verdicts-*.json")
    assert VerdictTable.load(table).examples == examples
    assert {verdict.verdict for verdict in VerdictTable.load(table).verdicts} == {"relevant"}


def test_a_budget_ends_the_run_and_the_next_one_goes_on(server, ask):
    more = ("--n-align", 4)
    done = ask(f"{server.url}#any", *more, "--max-requests", 3)
    assert done.returncode == 4
    assert "budget of max_requests=3" in done.stderr
    assert len(server.asked) == 3
    total = int(re.search(r"(\d+) requests", ask(f"{server.url}#any", *more, "--dry-run").stdout)[1])
    assert ask(f"{server.url}#any", *more).returncode == 0
    assert len(server.asked) == 3 + total == 4


def test_a_model_that_stops_is_exit_code_4(ask):
    with FaultServer([FAULTS["quota"]] * 99) as server:
        done = ask(f"{server.url}#any", "--judge", "parser")
    assert done.returncode == 4
    assert "stopped answering (quota)" in done.stderr


@pytest.mark.parametrize(
    ("critic", "more", "code", "message"),
    [
        ("http://192.0.2.1/v1#any", (), 2, "'allow_remote' argument"),
        ("openai:any", (), 2, "'allow_remote' argument"),
        ("folder:", (), 2, "'folder:MODEL'"),
        ("folder:labels.csv", (), 2, "Got the file 'labels.csv'"),
        ("opnai:any", (), 2, "Did you mean 'openai'"),
        ("http://127.0.0.1:1/v1", (), 2, "'spec' argument"),
        ("hf:nowhere", (), 3, "nowhere"),
        ("http://127.0.0.1:1/v1#any", ("--max-cost", 1), 2, "needs --prices"),
        ("http://127.0.0.1:1/v1#any", ("--examples", "nowhere.json"), 3, "nowhere.json"),
        (
            "http://127.0.0.1:1/v1#any",
            ("--examples", "x.json", "--judge", "parser"),
            2,
            "needs a --judge that is a",
        ),
        ("http://127.0.0.1:1/v1#any", ("--judge", "praser"), 2, "Did you mean 'parser'"),
    ],
)
def test_what_cannot_be_asked_has_its_exit_code(ask, monkeypatch, critic, more, code, message):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    done = ask(critic, *more)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr


def test_questions_in_a_folder_are_answered_between_two_runs(ask, tmp_path):
    critic = f"folder:{tmp_path / 'questions'}"
    done = ask(critic, "--batch-wait", 0)
    assert done.returncode == 4
    assert "1 of 1 questions are not finished yet" in done.stderr
    (place,) = unanswered(tmp_path / "questions")
    assert "the bright bar" in (place / "question.txt").read_text()
    put(place, "Image: a scan.\nSegment 1 | covers: the tag | answer: artefact")
    done = ask(critic, "--batch-wait", 0)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["verdicts"]["spurious"] == 1


def test_batches_are_handed_over_at_once_and_fetched_by_the_next_run(ask):
    with FaultServer(answer, batch_polls=3) as server:
        done = ask(f"{server.url}#any", "--batch", "--batch-wait", 0)
        assert done.returncode == 4
        assert "not finished yet" in done.stderr
        done = ask(f"{server.url}#any", "--batch", "--batch-wait", 0.01)
        assert done.returncode == 0, done.stderr
        assert [len(batch.entries) for batch in server.batches] == [len(server.asked)]
