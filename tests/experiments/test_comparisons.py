"""The comparisons, made small: what they write, that they resume, and the page made of them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lvlm_va.datasets import DecoyData
from lvlm_va.experiments import origin
from lvlm_va.experiments.comparisons import COMPARISONS
from lvlm_va.experiments.methods import plain_training
from lvlm_va.experiments.results_page import SECTIONS, write_results_page
from lvlm_va.experiments.table import FIGURES, Comparison, run_comparison
from lvlm_va.experiments.tasks import Task, TrainingSettings, make_tasks


def load(split: str, seed: int) -> DecoyData:
    """Two classes told by a bright pixel in the corner, which agrees with the class in training mostly."""
    rng = np.random.default_rng(seed + (split == "test"))
    n = 80
    labels = np.arange(n) % 2
    agrees = rng.random(n) < (0.8 if split == "train" else 0.5)
    shown = np.where(agrees, labels, 1 - labels)
    images = rng.random((n, 1, 6, 6), dtype=np.float32) * 0.5
    images[:, 0, 2:5, 2:5] += 0.3 * labels[:, None, None]
    images[:, 0, 0, 0] = shown
    masks = np.zeros((n, 6, 6), bool)
    masks[:, 0, 0] = True
    groups = np.array([f"{label}/{mark}" for label, mark in zip(labels, shown, strict=True)])
    objects = np.zeros_like(masks)
    objects[:, 2:5, 2:5] = True
    return DecoyData(images, labels, masks, groups, objects)


def alone(split: str, seed: int) -> DecoyData:
    """Every class is one group."""
    data = load(split, seed)
    return replace(data, groups=data.labels.astype(str)) if split == "train" else data


SETTINGS = TrainingSettings("mlp", epochs=4, align_epochs=2, batch_size=16)
TASKS = {
    "marked": Task(load, "80 of 6 x 6", SETTINGS, 12, 40),
    "alone": Task(alone, "80 of 6 x 6", SETTINGS, 12, 40, n_explained=20),
}
MAIN = COMPARISONS["main"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out, lines = tmp_path_factory.mktemp("runs") / "main", []
    results = run_comparison(
        MAIN, TASKS, seeds=2, out=out, echo=lines.append, command="lvlm-va experiment main"
    )
    return out, results, lines


def test_every_method_has_a_row_for_each_seed_or_says_why_not(run):
    out, results, _ = run
    assert json.loads((out / "metrics.json").read_text()) == results
    for task, methods in results.items():
        assert list(methods) == list(MAIN.methods)
        for name, rows in methods.items():
            assert len(rows) == 2
            for row in rows:
                if "not_applicable" in row:
                    assert task == "alone" or name == "jtt"
                    assert "argument" in row["not_applicable"]
                else:
                    assert set(FIGURES) <= set(row)
    assert all("not_applicable" in row for name in ("dfr", "subg") for row in results["alone"][name])
    assert not any("not_applicable" in row for row in results["marked"]["subg"])


def test_an_error_is_no_reason_to_leave_a_method_out(tmp_path):
    def broken(task, data, erm, seed):
        raise ValueError("something else is wrong")

    comparison = Comparison({"erm": MAIN.methods["erm"], "broken": broken}, MAIN.draw)
    with pytest.raises(ValueError, match="something else is wrong"):
        run_comparison(comparison, TASKS, seeds=1, out=tmp_path, echo=lambda line: None)


def test_of_some_methods_only_those_are_compared():
    assert list(MAIN.only(["subg", "jtt"]).methods) == ["erm", "jtt", "subg"]
    assert MAIN.only(None) == MAIN
    with pytest.raises(ValueError, match="'method' argument must be one of.*Did you mean 'subg'"):
        MAIN.only(["subgg"])


def test_gains_are_over_plain_training_with_the_same_seed(run):
    _, results, _ = run
    for methods in results.values():
        for name, rows in methods.items():
            for row, plain in zip(rows, methods["erm"], strict=True):
                if "not_applicable" not in row:
                    gain = row["worst_group_accuracy"] - plain["worst_group_accuracy"]
                    assert row["worst_group_gain"] == gain
                    assert name != "erm" or gain == 0


def test_table_and_picture_show_every_row(run):
    out, _, lines = run
    table = (out / "table.md").read_text()
    assert table.count("\n| ") == len(TASKS) * (1 + len(MAIN.methods))
    assert "| subg | - |" in table
    assert lines[-1].strip() == table.strip()
    with Image.open(out / "figure.png") as picture:
        assert picture.width > 400


def test_a_second_run_makes_nothing_again_and_prints_the_same(run):
    out, results, lines = run
    before = {path: path.stat().st_mtime_ns for path in (out / "rows").iterdir()}
    assert len(before) == len(TASKS) * len(MAIN.methods) * 2
    again = []
    command = "lvlm-va experiment main"
    assert run_comparison(MAIN, TASKS, seeds=2, out=out, echo=again.append, command=command) == results
    assert again == lines
    assert {path: path.stat().st_mtime_ns for path in (out / "rows").iterdir()} == before


def test_rows_of_other_code_versions_or_data_files_are_made_again(tmp_path, monkeypatch):
    data = tmp_path / "data"
    data.write_bytes(b"one")
    tasks = {"marked": replace(TASKS["marked"], files=(data,))}
    facts = origin.environment()

    def count() -> int:
        run_comparison(MAIN.only(["erm"]), tasks, seeds=1, out=tmp_path, echo=silent)
        return len(list((tmp_path / "rows").iterdir()))

    assert [count(), count()] == [1, 1]
    data.write_bytes(b"two")
    assert [count(), count()] == [2, 2]
    monkeypatch.setattr(origin, "environment", lambda: facts | {"torch": "0.1"})
    assert [count(), count()] == [3, 3]
    monkeypatch.setattr(origin, "code_digest", lambda: "other code")
    assert [count(), count()] == [4, 4]


def test_any_file_of_the_package_changes_the_digest_of_its_code(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "one.py").write_text("x = 1")
    (tmp_path / "a" / "two.py").write_text("y = 1")
    monkeypatch.setattr(origin, "__file__", str(tmp_path / "experiments" / "origin.py"))
    digest = origin.code_digest.__wrapped__
    first = digest()
    assert digest() == first
    (tmp_path / "a" / "two.py").write_text("y = 2")
    second = digest()
    (tmp_path / "a" / "two.py").rename(tmp_path / "two.py")
    assert len({first, second, digest()}) == 3


@pytest.mark.parametrize("names", [["erm", "auto"], ["erm", "0.01"], ["erm", "0.01", "auto"]])
def test_lambda_is_drawn_with_and_without_fixed_values(names, tmp_path):
    row = dict.fromkeys(("accuracy", "worst_group_accuracy", "alignment"), 0.5)
    COMPARISONS["lambda"].draw({"marked": {name: [row] for name in names}}, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as picture:
        assert picture.width > 400


def test_what_was_run_is_noted_before_anything_is_drawn(tmp_path):
    def broken(results, path):
        raise ImportError("no matplotlib")

    with pytest.raises(ImportError):
        run_comparison(
            Comparison({"erm": MAIN.methods["erm"]}, broken), TASKS, seeds=1, out=tmp_path, echo=silent
        )
    assert json.loads((tmp_path / "about.json").read_text())["data_sets"].keys() == TASKS.keys()


@pytest.mark.parametrize("name", [name for name in COMPARISONS if name != "main"])
def test_every_comparison_runs(name, tmp_path):
    first = [method for method in ("0.001",) if method in COMPARISONS[name].methods]
    comparison = COMPARISONS[name].only([*first, list(COMPARISONS[name].methods)[-1]])
    tasks = {"marked": TASKS["marked"]}
    results = run_comparison(comparison, tasks, seeds=1, out=tmp_path, echo=lambda line: None)
    for method, (row,) in results["marked"].items():
        missing = set(comparison.columns) - set(row)
        assert (
            not missing
            if method != "erm"
            else missing <= {"spurious_images", "spurious_effect", "purity", "masked"}
        )
    with Image.open(tmp_path / "figure.png") as picture:
        assert picture.width > 400


def test_surroundings_taken_for_artefacts_mask_what_noise_does_not():
    data, verdicts = load("train", 0), COMPARISONS["verdicts"].methods
    task, plain = TASKS["marked"], plain_training(TASKS["marked"], data, 0)
    masked = {}
    for name in ("100%", "surroundings masked"):
        masked[name] = verdicts[name](task, data, plain, 0).findings["masked"]
    assert masked["surroundings masked"] >= masked["100%"] > 0


def test_several_jobs_give_the_same_figures(run, tmp_path):
    _, results, _ = run
    comparison = MAIN.only(["lvlm_va"])
    again = run_comparison(comparison, TASKS, seeds=2, out=tmp_path, echo=silent, jobs=2)
    timed = {"seconds", "core_seconds"}
    for task, methods in again.items():
        for name, rows in methods.items():
            for row, other in zip(rows, results[task][name], strict=True):
                assert {k: v for k, v in row.items() if k not in timed} == {
                    k: v for k, v in other.items() if k not in timed
                }


def silent(line: str) -> None:
    """Say nothing."""


def test_the_page_holds_the_tables_that_there_are(run, tmp_path):
    out, _, _ = run
    write_results_page(out.parent, tmp_path / "results.md")
    page = (tmp_path / "results.md").read_text()
    assert (out / "table.md").read_text() in page
    about = json.loads((out / "about.json").read_text())
    facts = about["environment"]
    assert "`lvlm-va experiment main`" in page
    assert f"of one core; torch {facts['torch']}, GPU: {facts['gpu']}.\n" in page
    assert "flatters" in page
    assert page.count("\n## ") == 1
    assert (tmp_path / "results_main.png").read_bytes() == (out / "figure.png").read_bytes()
    with pytest.raises(FileNotFoundError, match="'runs' argument must hold an experiment's folder"):
        write_results_page(tmp_path / "nothing", tmp_path / "results.md")


def test_the_page_tells_the_environment_of_the_run_not_its_own(run, tmp_path):
    out, _, _ = run
    copied = tmp_path / "runs" / "main"
    copied.mkdir(parents=True)
    for name in ("metrics.json", "table.md", "figure.png"):
        (copied / name).write_bytes((out / name).read_bytes())
    about = json.loads((out / "about.json").read_text())
    elsewhere = {"torch": "2.0.0+cu118", "gpu": "Some GPU"}
    for environment, told in ((elsewhere, "; torch 2.0.0+cu118, GPU: Some GPU."), (None, " of one core.")):
        (copied / "about.json").write_text(json.dumps(about | {"environment": environment}))
        write_results_page(copied.parent, tmp_path / "results.md")
        page = (tmp_path / "results.md").read_text()
        assert told in page
        assert page.count("GPU:") == (environment is not None)


def test_every_comparison_has_its_section():
    assert set(SECTIONS) == set(COMPARISONS)


def test_quick_tasks_need_no_file():
    tasks = make_tasks(quick=True, mnist="nowhere", fashion="nowhere")
    assert list(tasks) == ["decoy-digits", "tagged-radiographs", "bandaged-lesions"]
    data = tasks["bandaged-lesions"].load("train", 0)
    assert data.images.shape[1:] == (3, 48, 48)


def test_full_tasks_read_the_folders_that_are_given():
    tasks = make_tasks(quick=False, mnist="nowhere", fashion=None)
    assert "decoy-fashion-mnist" not in tasks
    with pytest.raises(FileNotFoundError):
        tasks["decoy-mnist"].load("train", 0)


def test_the_rate_of_convolutional_nets_falls():
    for quick in (True, False):
        for task in make_tasks(quick=quick, mnist="nowhere", fashion="nowhere").values():
            assert (task.settings.schedule == "cosine") == (task.settings.module != "mlp")


def test_full_tasks_know_their_files(tmp_path):
    for name in ("train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte", "notes.txt"):
        (tmp_path / name).touch()
    for task in ("decoy-mnist", "decoy-fashion-mnist"):
        files = make_tasks(quick=False, mnist=tmp_path, fashion=tmp_path)[task].files
        assert [file.name for file in files] == ["t10k-labels-idx1-ubyte", "train-images-idx3-ubyte.gz"]
