"""Critics and judges whose questions are answered in a folder: all are written before anything is waited for."""

import re
from dataclasses import replace

import pytest

from lvlm_va.backends import FolderBackend, Prices, folder_backend
from lvlm_va.critique import (
    LLMJudge,
    LVLMCritic,
    ModelStoppedError,
    collect_critiques,
    judge_critiques,
    resolve_critic,
    resolve_judge,
)
from lvlm_va.critique.model_options import ModelOptions
from lvlm_va.testing import check_critic
from tests.backends.answering import Answering, put, questions, said_by_user, unanswered
from tests.critique.making import corner_and_centre, verdicts_of

IDS = [str(i) for i in range(20)]
COUNTS = [2] * 20
JUDGED = "Segment 1: relevant"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(folder_backend, "_STILL", 0.02)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "questions"


def make(positions):
    return [corner_and_centre(index=i, label=f"class {i}", description="the bar") for i in positions]


def say(place):
    """Answer as a critic, about all segments that are asked about, or as a judge."""
    asked = re.search(r"each of the segments ([\d, ]+) about", said_by_user(place))
    if asked is None:
        return JUDGED
    segments = [int(number) for number in asked[1].split(",")]
    return "\n".join(["Image: x.", *(f"Segment {k} | covers: a tag | answer: artefact" for k in segments)])


def quick(folder, **more):
    return LVLMCritic(FolderBackend(folder, poll=0.01), **more)


def test_it_keeps_what_critics_promise(folder):
    with Answering(folder, say):
        check_critic(quick(folder))
        check_critic(quick(folder, per_segment=True, votes=2))


def test_all_images_are_written_at_once_and_answered_later(folder, tmp_path):
    path = tmp_path / "critiques.jsonl"
    hasty = resolve_critic(f"folder:{folder}", batch_wait=False)
    with pytest.raises(ModelStoppedError, match="20 of 20 questions are not finished yet.* Run again later"):
        collect_critiques(hasty, IDS, make, path=path)
    assert ["class_label" in said_by_user(place) for place in questions(folder)] == [True] * 20
    assert [re.search(r"class \d+", said_by_user(place))[0] for place in questions(folder)] == [
        f"class {i}" for i in range(20)
    ]
    for place in questions(folder)[5:]:
        put(place, say(place))
    with pytest.raises(ModelStoppedError, match=r"5 of 20 questions .*0001-\w+/reply.txt"):
        collect_critiques(hasty, IDS, make, path=path)
    with Answering(folder, say):
        critiques = collect_critiques(quick(folder), IDS, make, path=path)
    assert len(critiques) == len(questions(folder)) == 20
    judged = judge_critiques(resolve_judge(None, hasty), critiques, COUNTS)
    assert verdicts_of(judged) == [["spurious"] * 2] * 20


def test_a_judge_in_a_folder_is_asked_all_at_once_too(folder, tmp_path):
    with Answering(folder, say):
        critiques = collect_critiques(quick(folder), IDS, make)
    hasty = LLMJudge(f"folder:{tmp_path / 'judged'}", batch_wait=False)
    different = [
        replace(
            critique, statements=[replace(said, text=f"{i}: {said.text}") for said in critique.statements]
        )
        for i, critique in enumerate(critiques)
    ]
    with pytest.raises(ModelStoppedError, match="40 of 40 questions are not finished yet"):
        judge_critiques(hasty, different, COUNTS)
    assert len(unanswered(tmp_path / "judged")) == 40


def test_critic_and_judge_may_share_a_folder(folder):
    critic = resolve_critic(f"folder:{folder}", batch_wait=False)
    judge = resolve_judge(f"folder:{folder}", critic)
    assert isinstance(judge, LLMJudge)
    assert judge.model is critic.model
    assert not judge.batch_wait


def test_batches_are_not_needed_and_do_no_harm(folder, tmp_path):
    """As where only the judge is asked through a provider's batches."""
    prices = Prices(2.0, 10.0)
    one_by_one, batch = (quick(folder, batch=batch, batch_wait=False) for batch in (False, True))
    for critic in (one_by_one, batch):
        critic.check_data(5, (8, 8), ["a"])
        with pytest.raises(ModelStoppedError):
            collect_critiques(critic, IDS[:3], make)
    assert len(questions(folder)) == 3
    full, same = (critic.estimate_critiques(make([0]), prices).cost for critic in (one_by_one, batch))
    assert full == same > 0


@pytest.mark.parametrize(("seconds", "wait"), [(0.0, False), (60.0, True)])
def test_options_of_the_command_line(folder, seconds, wait):
    critic, judge = ModelOptions(f"folder:{folder}", f"folder:{folder}", batch_wait=seconds).make()
    assert (critic.batch_wait, judge.batch_wait) == (wait, wait)
    assert critic.asked.capabilities.local
    assert not folder.exists()
