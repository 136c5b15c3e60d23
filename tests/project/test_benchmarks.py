"""What the benchmarks promise without running them: complete ids, and ratios in the direction of their targets."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import benchmarks
from benchmarks.record import Record, Records, missing, table
from benchmarks.targets import TARGETS

# All: pytest imports each of them, for its doctests, before it runs one.
MODULES = sorted(path.stem for path in Path(benchmarks.__file__).parent.glob("[!_]*.py"))


def test_every_target_has_a_benchmark() -> None:
    # The modules import without the peers, which each test imports itself.
    modules = [importlib.import_module(f"benchmarks.{name}") for name in MODULES]
    tests = {name.removeprefix("test_") for module in modules for name in vars(module)}
    assert set(TARGETS) <= tests


@pytest.mark.parametrize(
    ("name", "ours", "other", "ratio", "verdict"),
    [
        ("deeplift_mlp_captum", 1.0, 30.0, 30.0, "aim"),
        ("deeplift_mlp_captum", 1.0, 29.0, 29.0, "yes"),
        ("deeplift_mlp_captum", 1.0, 9.0, 9.0, "NO"),
        ("deeplift_resnet_floor", 1.1, 1.0, 1.1, "aim"),
        ("rrr_plain_step", 1.5, 1.0, 1.5, "yes"),
        ("rrr_plain_step", 1.6, 1.0, 1.6, "NO"),
    ],
)
def test_ratio(name: str, ours: float, other: float, ratio: float, verdict: str) -> None:
    record = Record(name, ours, other, "s", (ratio, ratio))
    assert record.ratio == pytest.approx(ratio)
    assert TARGETS[name].verdict(record.ratio) == verdict
    assert verdict in table([record]).splitlines()[1].split()


def test_a_run_that_was_cut_off_is_gone_on_with(tmp_path: Path) -> None:
    path, facts = tmp_path / "latest.json", {"torch": "2.13"}
    records = Records(path, facts)
    records.add(Record("ppeps_oracle", 2.0, 5.0, "s", (2.0, 3.0), "scaled"))
    kept = json.loads(path.read_text())["results"]["ppeps_oracle"]
    assert (kept["ratio"], kept["unit"], kept["note"]) == (2.5, "s", "scaled")
    assert Records(path, facts).all["ppeps_oracle"].ratio == 2.5
    assert not Records(path, {"torch": "2.14"}).all
    assert "ppeps_oracle" not in missing(list(records.all.values()))
    assert "ppeps_pomegranate" in missing(list(records.all.values()))
    records.write(is_finished=True)
    assert not Records(path, facts).all


BENCHMARK = """
import os
def test_{name}(compare):
    if "{name}" == os.environ.get("ENDS_AT"):
        os._exit(9)
    compare(lambda: None, lambda: None, rounds=3)
"""


def test_killed_benchmarks_are_not_run_again(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text("".join(BENCHMARK.format(name=name) for name in "abc"))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "benchmarks.conftest",
        "--latest",
        "latest.json",
        "test_some.py",
    ]
    # A process of its own, not one of those that these tests may be spread over, where nothing is measured.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    environ["PYTHONPATH"] = str(Path(benchmarks.__file__).parents[1])

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=tmp_path, env=environ | more, capture_output=True, text=True, check=False
        )

    assert run(ENDS_AT="c").returncode == 9
    again = run()
    assert "1 passed, 2 deselected" in again.stdout, again.stdout + again.stderr
    assert [line.split()[0] for line in again.stdout.splitlines() if line[:2] in ("a ", "b ", "c ")] == [
        "a",
        "b",
        "c",
    ]


def test_the_method_is_fitted_as_in_the_experiments() -> None:
    from benchmarks import bench_method

    data_set, _ = bench_method.choose(None)
    fitted = bench_method.estimator("mlp", data_set.load("train", 0), data_set, None, epochs=0)
    assert fitted.n_align == bench_method.N_ALIGN
    assert fitted.align_epochs == data_set.settings.align_epochs
