"""What is read out of a run directory: all that fit left, or a clear error."""

from __future__ import annotations

import json
import pickle
import re

import numpy as np
import pytest

from lvlm_va import LVLMVAClassifier, RegionCritic
from lvlm_va.attribution import GradientXInput
from lvlm_va.backends import Prices, Usage
from lvlm_va.critique import Critique, ParserJudge, VerdictPolicy
from lvlm_va.report import Command, keep_command, keep_measures, measuring, read_run
from lvlm_va.report.cost import read_costs
from lvlm_va.report.measures import Measures
from tests.report.records import make_measures


def make(run_dir=None, **changes) -> LVLMVAClassifier:
    parameters = {
        "critic": RegionCritic({"irrelevant": ["corners"]}),
        "n_align": 8,
        "epochs": 1,
        "align_epochs": 1,
    }
    return LVLMVAClassifier("mlp", run_dir=run_dir, random_state=0, **parameters | changes)


@pytest.fixture(scope="module")
def fitted(digits, tmp_path_factory) -> LVLMVAClassifier:
    folder = tmp_path_factory.mktemp("runs") / "run"
    names = [f"digit-{i}" for i in range(len(digits.labels))]
    return make(folder, n_rounds=2, specifications={"3": "The digit."}).fit(
        digits.images, digits.labels, image_ids=names
    )


@pytest.fixture
def run(fitted, tmp_path):
    """A copy of the run directory."""
    for path in fitted.run_dir.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_holds_what_was_fitted(fitted, digits):
    record = read_run(fitted.run_dir)
    rows = fitted.alignment_set_
    assert record.image_ids == tuple(f"digit-{row}" for row in rows)
    grey = (digits.images[rows] * 255).round().astype(np.uint8)
    np.testing.assert_array_equal(record.images, grey.repeat(3, axis=1))
    np.testing.assert_array_equal(record.indices, rows)
    np.testing.assert_array_equal(record.labels, digits.labels[rows])
    np.testing.assert_array_equal(record.masks, fitted.masks_)
    np.testing.assert_array_equal(record.explanation.attributions, fitted.explanation_.attributions)
    np.testing.assert_array_equal(record.segmentation.labels, fitted.segments_.labels)
    assert record.critiques == fitted.critiques_
    assert record.verdicts == fitted.verdicts_
    assert record.verdicts.specifications == {"3": "The digit."}
    assert record.n_training_images == 200
    assert len(record.verdict_files) == 2
    assert record.parameters["critic"] == "RegionCritic(specification={'irrelevant': ['corners']})"
    assert record.seconds == fitted.seconds_
    predicted = record.outcome.probabilities_after.numpy()
    np.testing.assert_allclose(predicted, fitted.predict_proba(digits.images[rows]), rtol=1e-5, atol=1e-7)
    explained = fitted.explain(digits.images[rows], digits.labels[rows]).attributions.sum(1)
    np.testing.assert_allclose(record.outcome.attributions, explained, rtol=1e-4, atol=1e-5)
    assert record.measures is record.command is None


class Teller:
    """A critic that says of every segment that it is plain surroundings."""

    name = "teller"

    def fingerprint(self) -> str:
        return self.name

    def critique(self, requests):
        return [
            Critique(
                request.image_id,
                "\n".join(
                    f"Segment {k} | covers: the ground | answer: surroundings"
                    for k in range(1, request.n_segments + 1)
                ),
            )
            for request in requests
        ]


def test_says_what_followed_from_what(digits, tmp_path):
    policy = VerdictPolicy(surroundings="mask")
    folder, how = tmp_path / "run", {"critic": Teller(), "judge": ParserJudge(policy)}
    clf = make(folder, **how).fit(digits.images, digits.labels)
    record = read_run(folder)
    assert record.policy == policy
    assert {(v.verdict, v.content) for v in record.verdicts.verdicts} == {("spurious", "surroundings")}
    alone = make(**how).fit(digits.images, digits.labels)
    for number, fitted in enumerate((clf, alone, clf.realign(record.verdicts))):
        page = fitted.report(tmp_path / f"{number}.html").read_text()
        assert "plain surroundings:" in page
        assert "plain surroundings should not" in page
    assert read_run(folder).policy == policy
    assert read_run(folder).verdicts == record.verdicts


def test_a_resumed_run_remembers_what_it_took(digits, tmp_path):
    clf = make(tmp_path / "run").fit(digits.images, digits.labels)
    taken = read_run(tmp_path / "run").seconds
    assert taken == clf.seconds_
    clf = make(tmp_path / "run").fit(digits.images, digits.labels)
    again = read_run(tmp_path / "run").seconds
    assert {name: max(spent, taken[name]) for name, spent in clf.seconds_.items()} == again
    (tmp_path / "run" / "latest.json").write_text("{")
    make(tmp_path / "run").fit(digits.images, digits.labels)
    assert len(read_run(tmp_path / "run")) == 8


def test_measures_hold_until_the_next_alignment(digits, tmp_path):
    folder = tmp_path / "run"
    clf = make(folder).fit(digits.images, digits.labels)
    page = clf.report(
        tmp_path / "report.html", digits.images, digits.labels, groups=digits.groups, masks=digits.masks
    )
    measures = read_run(folder).measures
    assert measures.after.groups.overall == clf.score(digits.images, digits.labels)
    assert 0 < measures.before.alignment < 1
    assert f"{measures.after.alignment:.3f}" in page.read_text()
    assert sorted(path.name for path in (folder / "figures").iterdir()) == [
        "before_after.png", "groups.png", "segments.png"
    ]  # fmt: skip
    edits = json.loads(read_run(folder).verdict_files[0].read_text())
    for image in edits["images"]:
        for segment in image["segments"]:
            segment["verdict"] = "relevant"
    (tmp_path / "edits.json").write_text(json.dumps(edits))
    clf.realign(tmp_path / "edits.json")
    record = read_run(folder)
    assert record.remarks == clf.remarks_
    assert "No segment was judged spurious" in clf.remarks_[0]
    assert record.measures is None
    assert record.verdicts.counts()["spurious"] == 0
    assert not record.masks.any()


def test_extended_verdicts_are_told(digits, tmp_path):
    clf = make(tmp_path / "run", propagate=20).fit(digits.images, digits.labels)
    record = read_run(tmp_path / "run")
    assert record.propagated == {"n_images": 20, "agreement": float(clf.propagated_.agreement)}
    assert "extended to 20 training images" in clf.report(tmp_path / "report.html").read_text()


def test_measures_survive_the_file(fitted):
    keep_measures(fitted.run_dir, make_measures())
    found = read_run(fitted.run_dir).measures
    assert found.to_json() == make_measures().to_json()
    assert "<td>0.600</td><td>0.900</td>" in found._repr_html_()
    (fitted.run_dir / "measures.json").unlink()


def test_command_is_kept(run, monkeypatch):
    monkeypatch.chdir(run)
    keep_command(run, ["lvlm-va", "align", "a folder"])
    assert read_run(run).command == Command(("lvlm-va", "align", "a folder"), str(run))


def test_an_image_without_an_answer_says_so(run):
    file = next(run.glob("critiques-*.jsonl"))
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    record = read_run(run)
    assert sum("No answer came" in critique.text for critique in record.critiques) == 1
    assert len(record) == 16


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", None, "has no run.json"),
        ("run.json", "{", "run.json is damaged"),
        ("run.json", '{"format": 99}', "format 99"),
        ("latest.json", None, "has not finished"),
        ("latest.json", "[]", "no JSON object"),
        ("latest.json", "{}", "no 'files'"),
        ("latest.json", '{"files": {"train": ["a"]}}', "only trained"),
        ("latest.json", '{"files": {"verdicts": ["a"]}}', "earlier version: no 'seconds'"),
        ("explain-*.npz", "PK", "is damaged"),
        ("outcome-*.npz", "", "is damaged"),
        ("verdicts-*.json", "{", "not valid JSON"),
        ("critiques-*.jsonl", "{}", "is damaged"),
        ("measures.json", '{"of": "ALIGN"}', "measure again"),
        ("command.json", "{}", "is damaged"),
    ],
)
def test_damage_is_told(run, name, content, message):
    aligned = json.loads((run / "latest.json").read_text())["files"]["align"][0]
    file = next(iter(run.glob(name)), run / name)
    if content is None:
        file.unlink()
    else:
        file.write_text(content.replace("ALIGN", aligned))
    with pytest.raises(ValueError, match=message):
        read_run(run)


def test_missing_folder_and_file(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        read_run(tmp_path / "nowhere")
    next(run.glob("segment-*.npz")).unlink()
    with pytest.raises(FileNotFoundError, match="segment-"):
        read_run(run)


def test_report_without_a_run_directory(digits, tmp_path):
    clf = make().fit(digits.images, digits.labels)
    text = clf.report(tmp_path / "report.html", digits.images, digits.labels, title="Digits").read_text()
    assert "<h1>Digits</h1>" in text
    assert "Right answers" in text
    with pytest.raises(ValueError, match="'y_test' argument"):
        clf.report(tmp_path / "report.html", digits.images)
    with pytest.raises(ValueError, match="copy needs a run directory"):
        pickle.loads(pickle.dumps(clf)).report(tmp_path / "report.html")


def test_costs_are_summed_by_model(tmp_path):
    path = tmp_path / "exchanges.jsonl"
    assert read_costs(path) == ()
    reply = {"text": "", "model": "m", "finish": "stop", "usage": {"input_tokens": 5, "output_tokens": 2}}
    request = {"turns": [{"role": "user", "parts": ["look", {"image": "a"}, {"image": "b"}]}]}
    lines = [
        {"backend": "m", "request": request, "reply": {**reply, "cached": False}},
        {"backend": "m", "request": request, "reply": {**reply, "cached": True}},
        {"backend": "m", "request": request, "failure": {"kind": "timeout"}},
        {"backend": "m", "request": request, "reply": {"cached": False}},
        {"backend": "judge", "request": request, "reply": {**reply, "cached": False}},
        {"backend": "judge", "batched": True, "request": request, "reply": {**reply, "cached": False}},
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n{half")
    critic, judge = read_costs(path)
    assert (critic.answered, critic.cached, critic.failed, critic.images) == (1, 1, 1, 2)
    assert critic.usage == Usage(5, 2)
    assert (judge.model, judge.answered, judge.batched) == ("judge", 2, Usage(5, 2))
    prices = Prices(1e5, 1e6)
    assert (critic.cost(prices), judge.cost(prices), judge.cost(None)) == (2.5, 2.5 + 1.25, None)


def test_measures_of_another_shape_are_refused():
    found = make_measures().to_json()
    found["before"]["groups"]["sizes"].pop()
    with pytest.raises(ValueError, match="one length"):
        Measures.from_json(found)


def test_a_sample_of_the_test_images_is_explained_and_the_page_says_so(fitted, digits, tmp_path):
    asked = []

    class Counting:
        name = "counting"

        def attribute(self, module, images, target, references):
            asked.append(len(images))
            return GradientXInput().attribute(module, images, target, references)

    clf = make(None, attribution=Counting()).fit(digits.images, digits.labels)
    del asked[:]
    figures = []
    for n_explained in (5, 5, None):
        page = clf.report(
            tmp_path / "page.html", digits.images, digits.labels, masks=digits.masks, n_explained=n_explained
        ).read_text()
        figures.append(re.findall(r"<th scope=\"row\">alignment</th>.*", page)[0])
        assert ("Explained: 5 of them" in page) == (n_explained == 5)
    n_rows = len(clf.alignment_set_)  # explained for the page's pictures, each time
    assert sum(asked) == 2 * (5 + 5 + max(measuring.LEAST_EXPLAINED, n_rows // 2)) + 3 * n_rows
    assert figures[0] == figures[1]
    with pytest.raises(ValueError, match="'masks' argument"):
        clf.report(tmp_path / "page.html", digits.images, digits.labels, masks=digits.masks[1:])


@pytest.mark.parametrize("n_findings", [0, 3])
def test_no_more_test_images_are_explained_than_were_critiqued(n_findings):
    """Of both classifiers and all findings together, however many test images there are."""
    rng = np.random.default_rng(0)
    X, asked = rng.random((200, 1, 8, 8)), []
    y = rng.integers(0, 2, (200, n_findings)) if n_findings else np.arange(200) % 2

    class Counting:
        name = "counting"

        def attribute(self, module, images, target, references):
            asked.append(len(images))
            return GradientXInput().attribute(module, images, target, references)

    clf = make(None, attribution=Counting(), n_align=60).fit(X, y)
    n_critiqued = len(clf.aligned_.indices)
    of_fit = sum(asked)
    del asked[:]
    masks = np.zeros((200, 8, 8), bool)
    found = measuring.measure(clf.job_, clf.aligned_, *clf._labelled(X, y, "y"), masks=masks)
    assert found.n_explained > measuring.LEAST_EXPLAINED
    assert sum(asked) == 2 * max(n_findings, 1) * found.n_explained <= n_critiqued <= of_fit


def test_large_images_are_explained_in_a_small_sample(blobs, monkeypatch):
    monkeypatch.setattr(measuring, "PIXELS_EXPLAINED", 0)
    X, y = blobs
    clf = make().fit(X, y)
    found = measuring.measure(
        clf.job_, clf.aligned_, *clf._labelled(X, y, "y"), masks=np.zeros((len(X), *X.shape[2:]), bool)
    )
    assert found.n_explained == measuring.LEAST_EXPLAINED
    assert Measures.from_json(found.to_json()).n_explained == found.n_explained
