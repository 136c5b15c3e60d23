"""Asking a critic in chunks, and keeping every answer."""

import pytest

from lvlm_va.backends import OpenAIBackend
from lvlm_va.critique import (
    Critique,
    LLMJudge,
    LVLMCritic,
    ModelStoppedError,
    RegionCritic,
    RegionRenderer,
    collect_critiques,
    judge_critiques,
    read_critiques,
)
from tests.critique.making import corner_and_centre, make_request
from tests.serving import Answer, FaultServer

IDS = [str(i) for i in range(5)]


class Counting:
    """A critic that remembers what it was asked, and fails at one image."""

    name = "counting"

    def __init__(self, fails_at=None):
        self.asked = []
        self.fails_at = fails_at

    def critique(self, requests):
        ids = [request.image_id for request in requests]
        if self.fails_at in ids:
            raise RuntimeError("no answer")
        self.asked += ids
        return RegionCritic({"irrelevant": ["corners"]}).critique(requests)


def make(positions):
    empty = make_request([[0]], index=3)
    return [empty if i == 3 else corner_and_centre(index=i) for i in positions]


def test_one_critique_per_image_in_order():
    critic, done = Counting(), []
    critiques = collect_critiques(critic, IDS, make, chunk_size=2, on_progress=done.append)
    assert [critique.image_id for critique in critiques] == IDS
    assert critic.asked == ["0", "1", "2", "4"]  # never about an image without a segment
    assert critiques[3].verdicts == ()
    assert sum(done) == 5


@pytest.mark.parametrize("torn", [b"", b'{"image_id": "2", "te'])
def test_an_interrupted_run_asks_only_for_the_rest(tmp_path, torn):
    path = tmp_path / "critiques.jsonl"
    with pytest.raises(RuntimeError, match="no answer"):
        collect_critiques(Counting(fails_at="2"), IDS, make, path=path, chunk_size=2)
    path.write_bytes(path.read_bytes() + torn)  # as a killed process leaves it
    critic = Counting()
    critiques = collect_critiques(critic, IDS, make, path=path, chunk_size=2)
    assert critic.asked == ["2", "4"]
    assert critiques == collect_critiques(Counting(), IDS, make)

    critic = Counting()
    assert collect_critiques(critic, IDS, make, path=path) == critiques
    assert critic.asked == []


def test_what_was_said_in_another_run_or_is_damaged_is_not_used(tmp_path):
    path, other = tmp_path / "critiques-a.jsonl", tmp_path / "critiques-b.jsonl"
    wanted = collect_critiques(Counting(), IDS, make, path=path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.rename(other)
    critic = Counting()
    with pytest.raises(ValueError, match=r"critiques-b\.jsonl is damaged"):
        read_critiques(other, strict=True)
    with pytest.warns(
        UserWarning, match=r"-b\.jsonl is damaged: 5 of its lines are broken or those of another"
    ):
        assert collect_critiques(critic, IDS, make, path=other) == wanted
    assert critic.asked == ["0", "1", "2", "4"]
    assert read_critiques(other, strict=True) == {critique.image_id: critique for critique in wanted}
    assert (tmp_path / "critiques-b.jsonl.damaged").read_bytes() == b"".join(lines).rstrip()

    lines[1] = lines[1].replace(b'"text": "', b'"text": "No. ')
    path.write_bytes(b"".join(lines))
    critic = Counting()
    with pytest.warns(UserWarning, match="1 of its lines"):
        assert collect_critiques(critic, IDS, make, path=path) == wanted
    assert critic.asked == ["1"]
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match=r"critiques-a\.jsonl cannot be read"):
        collect_critiques(critic, IDS, make, path=path)


def test_wrong_answers_are_refused_and_not_kept(tmp_path):
    class Silent(Counting):
        def critique(self, requests):
            return [Critique("other", "")] * len(requests)

    path = tmp_path / "critiques.jsonl"
    with pytest.raises(ValueError, match="in the order of the requests"):
        collect_critiques(Silent(), IDS, make, path=path)
    assert not path.exists()


# Images that a server does not answer.

MANY = [str(i) for i in range(40)]
GOOD = Answer("Segment 1: spurious\nSegment 2: relevant")
REJECTED, DOWN = Answer("I do not take this.", status=400), Answer("Down.", status=500)


def labelled(positions):
    return [corner_and_centre(index=i, label=f"image {i}.") for i in positions]


def critic_at(server):
    return LVLMCritic(OpenAIBackend("any", base_url=server.url), renderer=RegionRenderer(size=64))


@pytest.mark.parametrize("answer", [REJECTED, DOWN])
@pytest.mark.parametrize("kept", [True, False])
def test_a_lone_image_that_is_never_answered_stops_no_run(tmp_path, answer, kept):
    path = tmp_path / "critiques.jsonl" if kept else None
    with FaultServer(lambda asked: answer if "image 4." in asked.text else GOOD) as server:
        for _ in range(2):  # it is alone in the last chunk, and then the only one to be asked about
            critiques = collect_critiques(critic_at(server), IDS, labelled, path=path, chunk_size=2)
            assert [critique.answered for critique in critiques] == [True] * 4 + [False]
        assert len(server.asked) == (6 if kept else 10)


def test_images_that_are_always_rejected_stop_no_run_however_many(tmp_path):
    path = tmp_path / "critiques.jsonl"
    with FaultServer(lambda asked: GOOD if "image 0." in asked.text else REJECTED) as server:
        for _ in range(2):
            critiques = collect_critiques(critic_at(server), MANY, labelled, path=path, chunk_size=8)
            assert sum(critique.answered for critique in critiques) == 1
        assert len(server.asked) == 40 + 39


@pytest.mark.parametrize("answer", [REJECTED, DOWN])
def test_a_server_that_has_answered_nothing_stops_the_run_at_once(answer):
    with FaultServer(lambda asked: answer) as server:
        with pytest.raises(ModelStoppedError):
            collect_critiques(critic_at(server), MANY, labelled, chunk_size=8)
        assert len(server.asked) == 8


def test_a_server_that_goes_down_stops_the_run_soon(tmp_path):
    path = tmp_path / "critiques.jsonl"
    with FaultServer(lambda asked: GOOD if "image 0." in asked.text else DOWN) as server:
        for asked in (8 + 16, 8 + 16 + 16):
            with pytest.raises(ModelStoppedError, match="server"):
                collect_critiques(critic_at(server), MANY, labelled, path=path, chunk_size=8)
            assert len(server.asked) == asked
    assert len(path.read_bytes().splitlines()) == 1


def test_a_lone_critique_that_is_never_judged_stops_no_run(tmp_path):
    path = tmp_path / "judged.jsonl"
    critiques = [Critique(name, f"It covers the tag of image {name}.") for name in IDS]
    with FaultServer(lambda asked: REJECTED if "image 4." in asked.text else GOOD) as server:
        judge = LLMJudge(OpenAIBackend("any", base_url=server.url))
        for _ in range(2):
            judged = judge_critiques(judge, critiques, [1] * 5, path=path, chunk_size=2)
            assert [critique.verdicts[0].status for critique in judged] == ["line"] * 4 + ["failed"]
        assert len(server.asked) == 6
