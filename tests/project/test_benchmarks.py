"""What the benchmarks promise without running them: complete ids, and ratios in the direction of their targets."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

import benchmarks
from benchmarks.record import Record, missing, table, write_latest
from benchmarks.targets import TARGETS

MODULES = sorted(path.stem for path in Path(benchmarks.__file__).parent.glob("bench_*.py"))


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


def test_latest(tmp_path: Path) -> None:
    record = Record("ppeps_oracle", 2.0, 5.0, "s", (2.0, 3.0), "scaled")
    write_latest(tmp_path / "latest.json", [record])
    latest = json.loads((tmp_path / "latest.json").read_text())
    assert latest == {"ppeps_oracle": {"ratio": 2.5, "ours": 2.0, "peer": 5.0, "unit": "s", "note": "scaled"}}
    assert "ppeps_oracle" not in missing([record])
    assert "ppeps_pomegranate" in missing([record])


def test_the_method_is_fitted_as_in_the_experiments() -> None:
    from benchmarks import bench_method

    data_set, _ = bench_method.choose(None)
    fitted = bench_method.estimator("mlp", data_set.load("train", 0), data_set, None, epochs=0)
    assert fitted.n_align == bench_method.N_ALIGN
    assert fitted.align_epochs == data_set.settings.align_epochs
