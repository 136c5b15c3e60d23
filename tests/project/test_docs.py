"""The code in the documentation runs."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from lvlm_va.backends import ChatRequest, FolderBackend, Turn, load_backend
from lvlm_va.critique import RegionRenderer
from lvlm_va.datasets import decoy_digits
from lvlm_va.testing import check_backend
from tests.serving import Answer, FaultServer
from tools.everyday_trouble import TROUBLES

DOCS = Path(__file__).parents[2] / "docs" / "how_to"


def blocks(language: str, page: str = "bring_your_own_lvlm.md") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), flags=re.S)


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Run the page from top to bottom, beside an empty folder, with a model that says what it was shown."""
    monkeypatch.chdir(tmp_path)
    space = {"my_model": lambda text, images: f"{len(images)} images. {text}"}
    for block in blocks("python"):
        exec(block, space)
    return space


def test_the_example_is_as_short_as_it_says():
    lines = [line for line in blocks("python")[0].splitlines() if line.strip()]
    assert len(lines) <= 15


def test_the_example_is_a_backend(page):
    check_backend(lambda: page["MyBackend"](page["my_model"], "v2"))
    (reply,) = page["backend"].complete([ChatRequest((Turn("user", ("Hello.",)),))])
    assert reply.text == "0 images. Hello."


def test_a_model_that_is_away_is_a_failure(page):
    def away(text, images):
        raise ConnectionRefusedError("nobody there")

    (failure,) = page["MyBackend"](away, "v2").complete([ChatRequest((Turn("user", ("Hello.",)),))])
    assert (failure.kind, failure.message) == ("connection", "nobody there")


def test_the_entry_point_is_found(page, tmp_path, monkeypatch):
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (entries,) = blocks("toml")
    entries = entries.replace('[project.entry-points."lvlm_va.backends"]', "[lvlm_va.backends]").replace(
        '"', ""
    )
    (info / "entry_points.txt").write_text(entries)
    code = [blocks("python")[0], "my_model = lambda text, images: text", blocks("python")[-1]]
    (tmp_path / "my_package.py").write_text("\n".join(code))
    monkeypatch.syspath_prepend(tmp_path)
    assert load_backend("my-model:v2").name == "my-model-v2"


def test_the_script_answers_questions_in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    backend = FolderBackend("questions", wait=False)
    request = ChatRequest((Turn("user", ("Hello.",)),))
    (pending,) = backend.complete([request])
    (script,) = [block for block in blocks("python") if "reply.tmp" in block]
    exec(script, {"model": lambda text, pictures: f"{len(pictures)} pictures. {text}"})
    (reply,) = backend.complete([request])
    assert pending.kind == "pending"
    assert reply.text.startswith("0 pictures.")
    assert "Hello." in reply.text


def test_the_scorer_prefers_the_aligned_where_accuracy_prefers_the_shortcut():
    space = {}
    for block in blocks("python", "model_selection.md"):
        exec(block, space)
    search, test = space["search"], decoy_digits("test")
    by_accuracy = search.cv_results_["params"][search.cv_results_["rank_test_accuracy"].argmin()]
    assert by_accuracy == {"rrr_strength": 0.0}
    assert search.best_params_ == {"rrr_strength": 0.01}
    aligned, clf = search.best_estimator_, space["clf"]
    accuracy = aligned.score(test.images, test.labels)
    assert accuracy > 0.03 + clf.set_params(rrr_strength=0.0).realign(clf.verdicts_).score(
        test.images, test.labels
    )
    assert space["scores"][0.01] > space["scores"][0.0]


def test_a_finding_is_mended_and_the_other_unharmed():
    space = {}
    for block in blocks("python", "heads.md"):
        exec(block, space)
    clf, fair, Y = space["clf"], space["fair"], space["Y"]
    assert space["found"].worst > 0.9
    assert space["shown"].target.tolist() == (2 + clf.predict(fair[:4])[:, 1]).tolist()
    clf.module_ = clf.unaligned_module_
    before = space["finding_accuracies"](Y, clf.predict(fair), findings=clf.classes_)
    assert (before.worst_group, before.worst < 0.7) == ("fracture", True)


def test_training_with_all_its_options():
    space = {}
    for block in blocks("python", "training.md"):
        exec(block, space)
    found = space["clf"].aligned_.comparison
    assert found.accuracy.n == 160
    assert found.trial is not None


def test_every_trouble_stands_on_its_page():
    page = (DOCS / "everyday_trouble.md").read_text()
    found = re.findall(r"^\| (.+) \| ([\d.]+) \| ([\d.]+) \|$", page, flags=re.M)
    assert [name for name, _, _ in found] == list(TROUBLES)
    assert all(float(before) < float(after) for _, before, after in found)


def test_searches_share_the_replies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = "\n".join(f"Segment {k}: {'spurious' if k % 2 else 'relevant'}" for k in range(1, 9))
    with FaultServer(lambda asked: Answer(answer)) as server:
        space, asked = {"small": RegionRenderer(size=64)}, []
        for block in blocks("python", "searches.md"):
            # Threads and small pictures, to have it quick: workers of other kinds have tests of their own.
            block = block.replace("threads_per_worker=1", "threads_per_worker=1, processes=False")
            block = block.replace("n_jobs=2", "n_jobs=1").replace("cache=", "renderer=small, cache=")
            exec(block.replace("http://127.0.0.1:8000/v1", server.url), space)
            asked.append(len(server.asked))
    images = 3 * 4 + 4
    assert asked[0] >= images
    assert asked == [asked[0]] * 3
    assert space["search"].best_score_ > 0
    assert space["halving"].best_params_["align_epochs"] == 4


def worst_group(net):
    test = decoy_digits("test")
    with torch.no_grad():
        right = net.eval()(torch.from_numpy(test.images)).argmax(1).numpy() == test.labels
    return min(right[test.groups == group].mean() for group in np.unique(test.groups))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_own_loops_mend_and_resume(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain, trainer, lightning = blocks("python", "own_loop.md")
    for block in (plain, trainer, lightning):
        assert len([line for line in block.splitlines() if line.strip()]) <= 40
    space = {}
    # Fewer epochs, to have it quick; the page's own figures are with all.
    *setting_up, running = plain.replace("epochs=40", "epochs=15").strip().splitlines()
    assert running == "run()"
    exec("\n".join(setting_up).replace("alignment_data_, 40", "alignment_data_, 10"), space)
    space["epochs"] = 8
    space["run"]()
    Path("loop.pt").rename("then.pt")
    space["epochs"] = 10
    space["run"](first=8)
    net, final = space["net"], copy.deepcopy(space["net"].state_dict())
    assert worst_group(net) > max(0.75, 0.2 + worst_group(space["clf"].module_))
    Path("then.pt").rename("loop.pt")
    space["resume"]()
    assert all(torch.equal(value, final[name]) for name, value in net.state_dict().items())

    # Killed in the middle of the second epoch.
    trainer = trainer.replace("64", "256")
    trainer = trainer.replace(
        'save_strategy="epoch"', 'save_strategy="steps", save_steps=10, disable_tqdm=True'
    )
    *setting_up, running = trainer.strip().splitlines()
    assert running == "trainer.train()"
    weights = []
    for resumed in (None, "runs/checkpoint-10"):
        torch.manual_seed(0)
        exec("\n".join(setting_up), space)
        space["trainer"].train(resume_from_checkpoint=resumed)
        weights.append((space["model"].state_dict(), space["objective"].state_dict()))
    for whole, parts in zip(*weights, strict=True):
        assert all(torch.equal(value, parts[name]) for name, value in whole.items())

    if importlib.util.find_spec("lightning"):
        exec(lightning, space)
        assert space["aligning"].objective.state_dict()["_extra_state"][1] == 2 * len(
            space["aligning"].sampler
        )


def test_masks_and_nets_go_in_and_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = {}
    for block in blocks("python", "export.md"):
        exec(block, space)
    assert space["clf"].alignment_data_.marked.sum() == 100
    assert space["both"].alignment_data_.marked.sum() > 100
    found = json.loads(Path("out/masks.json").read_bytes())
    assert len(found["annotations"]) == space["both"].alignment_data_.marked.sum()
    assert len(Path("out/verdicts.csv").read_text().splitlines()) > len(space["both"].verdicts_.verdicts)
    expected = space["both"].predict_proba(space["test"])
    np.testing.assert_allclose(space["probabilities"].detach(), expected, atol=1e-6)
