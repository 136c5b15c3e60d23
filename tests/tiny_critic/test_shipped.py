"""The model that ships with the package, on real decoy digits."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
import torch

from lvlm_va.critic_exam.grading import grade
from lvlm_va.critic_exam.sets import load_questions
from lvlm_va.critique import TinyCritic, tiny_critic_folder
from lvlm_va.critique.tiny.prompt import WORDS_FILE
from tests.critique.making import verdicts_of
from tools.tiny_critic.evaluation import describe_digits, is_right
from tools.tiny_critic.grammar import vocabulary
from tools.tiny_critic.real_segments import describe_all, ideal_segments, ppeps_segments, region_segments
from tools.tiny_critic.templates import HELD_OUT, TRAINED

MOST_BYTES = 2_000_000


@pytest.fixture(scope="module")
def critic():
    return TinyCritic()


@pytest.fixture(
    scope="module",
    params=[ppeps_segments, region_segments, ideal_segments],
    ids=["ppeps_wgm", "regions", "ideal"],
)
def known(request):
    return request.param(30, seed=11)


def test_the_folder_is_small_safe_and_has_a_card(critic):
    with tiny_critic_folder() as folder:
        files = list(folder.iterdir())
        assert {path.suffix for path in files} <= {".safetensors", ".json", ".jinja", ".md"}
        assert sum(path.stat().st_size for path in files) == critic.n_bytes <= MOST_BYTES
        assert "cannot" in (folder / "README.md").read_text(encoding="utf-8")
        words = json.loads((folder / WORDS_FILE).read_text(encoding="utf-8"))["words"]
    assert words == list(vocabulary())


@pytest.mark.parametrize("templates", [TRAINED, HELD_OUT], ids=["trained", "held_out"])
@pytest.mark.parametrize("reverse", [False, True], ids=["normal", "reversed"])
def test_it_follows_the_description_on_real_segments(critic, known, templates, reverse):
    rng = np.random.default_rng(5)
    critiques = critic.critique(describe_all(known, describe_digits(rng, known, templates, reverse)))
    right = [
        is_right(said, on_patch is not reverse, reverse)
        for k, critique in zip(known, critiques, strict=True)
        for on_patch, said in zip(k.on_patch, critique.verdicts, strict=True)
    ]
    # 0.97 is what 'python -m tools.tiny_critic evaluate' must show on many more.
    assert np.mean(right) >= 0.94


@pytest.mark.parametrize("name", ["digits", "radiographs", "lesions"])
def test_it_judges_drawn_sets_that_it_was_not_trained_on(critic, name):
    questions = load_questions(name, 16)
    found = grade(questions, critic.critique(questions.requests))
    # What the model card says of all images of the exam, less what chance makes of a third of them.
    assert found.verdict_accuracy >= 0.9
    assert found.decided >= 0.95 * found.segments
    assert found.recall >= 0.7


def test_a_segment_is_judged_alike_alone_and_among_others(critic, known):
    requests = describe_all(known[:8], ["The digit counts. The patch in the corner does not matter."] * 8)
    together = critic.critique(requests)
    assert [critic.critique([request])[0] for request in requests] == together
    assert critic.critique(requests) == together


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda critic: pickle.loads(pickle.dumps(critic))])
def test_copies_say_the_same(critic, known, copied):
    requests = describe_all(known[:2], ["Only the digit matters."] * 2)
    again = copied(critic)
    assert again.critique(requests) == critic.critique(requests)
    assert again.fingerprint() == critic.fingerprint()


def test_it_computes_in_single_precision_in_which_a_cpu_is_fast(critic):
    assert critic.backend._model.dtype == torch.float32


def test_what_it_was_not_taught_is_named(critic, known):
    (critique,) = critic.critique(describe_all(known[:1], ["The femur counts."]))
    assert set(verdicts_of([critique])[0]) == {"unsure"}
    assert "'femur'" in critique.text
