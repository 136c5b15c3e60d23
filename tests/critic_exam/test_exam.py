"""The exam of critics: its questions, how they are graded, and what a large vision-language model reached."""

import json

import numpy as np
import pytest

import lvlm_va
from lvlm_va.backends import ScriptedBackend
from lvlm_va.critic_exam import SETS, exam, load_questions, write_page
from lvlm_va.critic_exam.grading import grade
from lvlm_va.critique import Critique, LVLMCritic, ModelStoppedError, SegmentVerdict, VerdictPolicy

# What the recorded model must have reached on every set, of which each has so many images.
ACCURACY, RECALL, PRECISION, IMAGES = 0.95, 0.95, 0.9, 40


def verdicts(questions, say):
    """The critiques of one who says of each segment what `say` makes of the truth."""
    found = []
    for row, request in enumerate(questions.requests):
        said = [
            SegmentVerdict(request.image_id, k + 1, say(bool(questions.spurious[row, k])))
            for k in range(request.n_segments)
        ]
        found.append(Critique.from_verdicts(request.image_id, said))
    return found


@pytest.mark.parametrize("name", SETS)
def test_questions_are_whole(name):
    questions = load_questions(name)
    assert len(questions.requests) >= IMAGES
    ids = [request.image_id for request in questions.requests]
    assert len(set(ids)) == len(ids)
    for row, request in enumerate(questions.requests):
        assert 1 <= request.n_segments <= 8
        assert request.description and not request.label.isspace()
        assert request.image.shape[:2] == request.segments.shape
        np.testing.assert_array_equal(
            np.isnan(questions.inside[row]), np.arange(8)[: questions.inside.shape[1]] >= request.n_segments
        )
    assert questions.spurious.sum() >= 20
    few = load_questions(name, 5)
    assert [r.image_id for r in few.requests] == [
        ids[k] for k in np.linspace(0, len(ids) - 1, 5).round().astype(int)
    ]
    np.testing.assert_array_equal(few.requests[-1].image, questions.requests[-1].image)


def test_grades():
    questions = load_questions("digits", 12)
    n, artefacts = sum(r.n_segments for r in questions.requests), int(questions.spurious.sum())
    right = grade(questions, verdicts(questions, lambda spurious: "spurious" if spurious else "relevant"))
    assert (right.verdict_accuracy, right.recall, right.precision) == (1, 1, 1)
    assert (right.segments, right.decided, right.artefacts, right.errors) == (n, n, artefacts, ())
    assert right.masked_wrongly == 0 < right.masked_rightly
    wrong = grade(questions, verdicts(questions, lambda spurious: "relevant" if spurious else "spurious"))
    assert (wrong.verdict_accuracy, wrong.recall, wrong.precision) == (0, 0, 0)
    assert len(wrong.errors) == n
    silent = grade(questions, verdicts(questions, lambda spurious: "unsure"))
    assert silent.decided == 0 == silent.recall
    assert np.isnan(silent.verdict_accuracy)
    all_of_them = grade(questions, verdicts(questions, lambda spurious: "spurious"))
    assert all_of_them.precision == pytest.approx(artefacts / n)
    assert all_of_them.recall == 1


def test_a_large_model_is_good_enough(lvlm_va, tmp_path):
    done = lvlm_va("exam", "--critic", "recorded", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == list(SETS)
    for name, figures in found.items():
        assert figures["images"] >= IMAGES, name
        assert figures["verdict_accuracy"] >= ACCURACY, name
        assert figures["recall"] >= RECALL, name
        assert figures["precision"] >= PRECISION, name
        assert figures["questions"] == figures["images"], name
        assert figures["pictures"] == 2 * figures["images"], name
        assert figures["segments"] == sum(sum(counts.values()) for counts in figures["confusion"].values())


def test_a_page_shows_the_errors(tmp_path):
    result = exam("recorded", sets=["radiographs"], policy=VerdictPolicy(surroundings="mask"))
    page = write_page(result, tmp_path / "exam.html").read_text(encoding="utf-8")
    errors = result.sets["radiographs"].grade.errors
    assert len(errors) > 20
    assert page.count("<article>") == min(len(errors), 60)
    assert "surroundings" in page
    assert "http" not in page.replace("http-equiv", "")


class Stopping:
    """A critic that can be asked about so many images."""

    name = "stopping"
    asked: list[str]

    def __init__(self, most):
        self.most, self.asked = most, []

    def fingerprint(self):
        return self.name

    def critique(self, requests):
        from lvlm_va.backends import ChatFailure

        said = []
        for request in requests:
            if len(self.asked) == self.most:
                raise ModelStoppedError(self.name, ChatFailure("quota", "No more."), said)
            self.asked.append(request.image_id)
            rows = [SegmentVerdict(request.image_id, k + 1, "relevant") for k in range(request.n_segments)]
            said.append(Critique.from_verdicts(request.image_id, rows))
        return said


def test_what_was_answered_is_kept(tmp_path):
    with pytest.raises(ModelStoppedError):
        exam(Stopping(5), sets=["digits"], n_images=8, run_dir=tmp_path)
    second = Stopping(99)
    result = exam(second, sets=["digits"], n_images=8, run_dir=tmp_path)
    assert len(second.asked) == 3
    assert result.sets["digits"].grade.images == 8


def test_questions_are_counted_whether_asked_now_or_before(tmp_path):
    backend = ScriptedBackend(lambda request: "Segment 1 | covers: a stroke | answer: object")
    for _ in range(2):
        result = exam(LVLMCritic(backend), sets=["digits"], n_images=3, run_dir=tmp_path)
        figures = result.to_json()["digits"]
        assert (figures["questions"], figures["pictures"]) == (3, 6)
        assert figures["input_tokens"] > 0
    assert len(backend.requests) == 3


def test_bad_arguments():
    with pytest.raises(ValueError, match="Did you mean 'digits'"):
        exam("recorded", sets=["digit"])
    with pytest.raises(
        ValueError, match="'policy' argument needs a critic whose answers a ParserJudge reads"
    ):
        exam(Stopping(1), policy=VerdictPolicy(mixed="mask"))
    assert lvlm_va.exam is exam
