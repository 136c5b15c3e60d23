"""What every critic keeps to, and what the package may import."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone

from lvlm_va.critique import (
    Critique,
    JudgeExample,
    OracleCritic,
    RegionCritic,
    SegmentVerdict,
    TableCritic,
    VerdictTable,
    check_critiques,
    resolve_critic,
)
from tests.critique.making import corner_and_centre, make_request, verdicts_of


@pytest.fixture(params=["oracle", "region", "table"])
def critic(request, tmp_path):
    if request.param == "oracle":
        return OracleCritic(np.eye(28, dtype=bool)[None], verdict_accuracy=0.5, random_state=3)
    if request.param == "region":
        return RegionCritic({"irrelevant": ["corners"]})
    VerdictTable((SegmentVerdict("0", 1, "spurious"),)).save(tmp_path / "table.json")
    return TableCritic(str(tmp_path / "table.json"))


def test_critics_answer_what_they_are_asked(critic):
    requests = [corner_and_centre(), make_request(np.zeros((28, 28)), index=0, image_id="none")]
    critiques = critic.critique(requests)
    check_critiques(requests, critiques)
    assert [len(critique.verdicts) for critique in critiques] == [2, 0]
    assert critiques[0].text.startswith("Segment 1: ")
    assert all(verdict.reason for verdict in critiques[0].verdicts[1:])
    assert critic.critique([]) == []


@pytest.mark.parametrize(
    "copied",
    [clone, copy.deepcopy, lambda critic: pickle.loads(pickle.dumps(critic))],
    ids=["clone", "copy", "pickle"],
)
def test_critics_are_plain_configuration(critic, copied):
    critic_again = clone(critic, safe=False) if copied is clone else copied(critic)
    requests = [corner_and_centre()]
    assert critic_again.critique(requests) == critic.critique(requests)
    assert critic_again.name == critic.name


def test_the_critique_imports_neither_torch_nor_kernels():
    code = "import sys, lvlm_va.critique; sys.exit('torch' in sys.modules or 'lvlm_va.ops' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Third-party critics.


def _critique(*segments, image_id="0"):
    return Critique(image_id, "", tuple(SegmentVerdict(image_id, s, "unsure") for s in segments))


def test_a_critique_without_verdicts_is_left_to_the_judge():
    check_critiques([corner_and_centre()], [Critique("0", "Segment 1 covers a tag.")])


@pytest.mark.parametrize(
    ("critiques", "error", "message"),
    [
        (None, TypeError, "must return a list of Critique. Got NoneType"),
        ([], ValueError, "one critique per request. Got 0 for 1"),
        (["spurious"], TypeError, "Critique objects. Got str at position 0"),
        (
            [_critique(1, 2, image_id="7")],
            ValueError,
            "in the order of the requests. Got image '7' at position 0",
        ),
        ([_critique(1)], ValueError, r"segments 1 to 2. Got verdicts on the segments \[1\] for image '0'"),
        ([_critique(1, 2, 3)], ValueError, r"on the segments \[1, 2, 3\]"),
        ([_critique(1, 1, 2)], ValueError, r"on the segments \[1, 1, 2\]"),
        (
            [Critique("0", "", ("spurious", "unsure"))],
            TypeError,
            "SegmentVerdict objects. Got str for image '0'",
        ),
        ([Critique("0", "", _critique(1, 2, image_id="7").verdicts)], ValueError, "verdict on image '7'"),
    ],
)
def test_wrong_answers_are_refused(critiques, error, message):
    with pytest.raises(error, match=message):
        check_critiques([corner_and_centre()], critiques)


# From what a user writes to a critic.


def test_resolve_critic(critic, tmp_path):
    assert resolve_critic(None) is None
    assert resolve_critic(critic) is critic
    assert resolve_critic("table:a:b.json") == TableCritic("a:b.json")


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("tabel:x.json", ValueError, "Got 'tabel' instead. Did you mean 'table'"),
        ("oracle", ValueError, r"OracleCritic\(masks\)"),
        ("region", ValueError, "RegionCritic"),
        ("table:", ValueError, "table:PATH"),
        (RegionCritic, TypeError, "Got the class RegionCritic; call it"),
        (3, TypeError, "'critique.requests.' method. Got int"),
    ],
)
def test_resolve_critic_refuses(spec, error, message):
    with pytest.raises(error, match=message):
        resolve_critic(spec)


def test_a_critic_needs_a_name():
    class Nameless:
        def critique(self, requests):
            return []

    with pytest.raises(TypeError, match="'name'"):
        resolve_critic(Nameless())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SegmentVerdict("a", 1, "bad"), "'verdict' argument must be one of .* Got 'bad'"),
        (lambda: SegmentVerdict("a", 0, "unsure"), "'segment' argument counts from 1. Got 0"),
        (
            lambda: SegmentVerdict("a", 1, "unsure", p_spurious=1.5),
            r"'p_spurious' argument must lie in \[0, 1\]",
        ),
        (lambda: JudgeExample("It is a tag.", "bad"), "'verdict' argument must be one of"),
    ],
)
def test_impossible_verdicts_cannot_be_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_verdicts_read_as_text():
    critique = RegionCritic({"irrelevant": ["corners"]}).critique([corner_and_centre()])[0]
    assert verdicts_of([critique]) == [["spurious", "relevant"]]
    assert critique.text.splitlines() == [
        "Segment 1: spurious. 100 % of its effect lies in the corners, declared irrelevant for all classes",
        "Segment 2: relevant. 100 % of its effect lies outside the corners, declared irrelevant for all classes",
    ]
