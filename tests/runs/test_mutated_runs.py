"""Files of a run damaged in any way: they are named, or made again, and the result is the same."""

from pathlib import Path

import pytest

from tools.mutate_runs import Mutator, mutate


def test_damaged_files_change_no_result(tmp_path: Path) -> None:
    ends = mutate(tmp_path, seed=0, count=40)
    assert not [what for what in ends if what[-1].startswith("BAD")]
    assert {end for *_, end in ends} >= {"made again", "refused", "the same"}


@pytest.mark.parametrize(
    "stage", ["train", "align", "sample", "explain", "segment", "critiques", "alignment-set"]
)
def test_every_stage_s_file_of_another_run_is_made_again(
    stage: str, tmp_path: Path, mutator: Mutator
) -> None:
    assert mutator.put(stage, mutator.swap) == "made again"


def test_a_verdict_table_of_another_run_is_refused(mutator: Mutator) -> None:
    assert mutator.put("verdicts", mutator.swap) == "refused"


@pytest.fixture(scope="module")
def mutator(tmp_path_factory: pytest.TempPathFactory) -> Mutator:
    return Mutator(tmp_path_factory.mktemp("runs"), seed=0)
