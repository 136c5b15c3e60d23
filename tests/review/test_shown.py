"""What the expert sees in report and review, and the critic when asked again, is what the critic was shown in fit."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from lvlm_va import LVLMVAClassifier
from lvlm_va.alignment import AlignmentSet
from lvlm_va.critique import Critique, CritiqueRequest, SegmentVerdict, TileSheet
from lvlm_va.critique.model_options import ModelOptions
from lvlm_va.report import RunRecord, read_run, write_report
from lvlm_va.review import ask
from lvlm_va.review.pictures import Pictures
from lvlm_va.runs.directory import read_dataclass
from lvlm_va.segmentation import Grid
from tests.report.records import make_record

pytestmark = pytest.mark.filterwarnings("ignore:The 'X' argument should hold images in")

SPECIFICATIONS = {"ill": "The joint counts."}
ORANGE = (213, 94, 0)


class Watched:
    """Remember what it is shown; call every first segment spurious."""

    name = "watched"

    def __init__(self) -> None:
        self.shown: dict[str, CritiqueRequest] = {}

    def fingerprint(self) -> str:
        return self.name

    def critique(self, requests):
        self.shown |= {request.image_id: request for request in requests}
        return [
            Critique.from_verdicts(
                request.image_id,
                [
                    SegmentVerdict(request.image_id, k, "spurious" if k == 1 else "relevant")
                    for k in range(1, request.n_segments + 1)
                ],
            )
            for request in requests
        ]


class Case(NamedTuple):
    effect: str
    channels: int
    standardised: bool


CASES = [Case("absolute", 1, False), Case("positive", 3, True), Case("absolute", 2, True)]


def images_of(case: Case) -> np.ndarray:
    rng = np.random.default_rng(0)
    X = rng.uniform(0, 1, (24, case.channels, 8, 6))
    if case.standardised:
        X = (X - 0.4) / 0.25
        X[5] = rng.uniform(0.2, 0.8, X[5].shape)  # one that lies within [0, 1]
    return X.astype(np.float32)


def fit(case: Case, run_dir: Path | None = None) -> tuple[LVLMVAClassifier, Watched]:
    X, critic = images_of(case), Watched()
    clf = LVLMVAClassifier(
        "mlp",
        critic=critic,
        specifications=SPECIFICATIONS,
        segmenter=Grid(effect=case.effect),
        n_align=9,
        n_rounds=2,
        round_tolerance=0,
        epochs=2,
        align_epochs=2,
        n_references=2,
        random_state=0,
        run_dir=run_dir,
    )
    names = [f"scan {i}" for i in range(len(X))]
    return clf.fit(X, np.array(["ill", "well"])[np.arange(24) % 2], image_ids=names), critic


class Fitted(NamedTuple):
    case: Case
    critic: Watched
    record: RunRecord


@pytest.fixture(scope="module", params=CASES, ids=str)
def fitted(request, tmp_path_factory) -> Fitted:
    folder = tmp_path_factory.mktemp("shown") / "run"
    _, critic = fit(request.param, folder)
    return Fitted(request.param, critic, read_run(folder))


def assert_equal(found: CritiqueRequest, wanted: CritiqueRequest) -> None:
    for field in fields(CritiqueRequest):
        one, other = getattr(found, field.name), getattr(wanted, field.name)
        np.testing.assert_array_equal(one, other, err_msg=field.name)
        assert getattr(one, "dtype", None) == getattr(other, "dtype", None), field.name


def test_the_review_would_send_what_the_critic_was_sent(fitted):
    assert len(fitted.record) == len(fitted.critic.shown) == 18
    for row, name in enumerate(fitted.record.image_ids):
        assert_equal(fitted.record.request(row, SPECIFICATIONS), fitted.critic.shown[name])
    assert {shown.effect_kind for shown in fitted.critic.shown.values()} == {fitted.case.effect}


def test_alignment_trains_on_the_exact_images(fitted):
    folder = fitted.record.path
    (name,) = json.loads((folder / "latest.json").read_text())["files"]["alignment-set"]
    aligned = read_dataclass(folder / name, AlignmentSet)
    np.testing.assert_array_equal(aligned.images, images_of(fitted.case)[fitted.record.indices])


def test_asking_again_sends_it(fitted, monkeypatch, capsys):
    again = Watched()
    monkeypatch.setattr(ask, "make_askers", lambda models: (again, None))
    record = fitted.record
    ask.answer(ask.question(record.path, record.image_ids, record.verdicts, ModelOptions("tiny")))
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert again.shown.keys() == fitted.critic.shown.keys()
    for name, request in again.shown.items():
        assert_equal(request, fitted.critic.shown[name])


def page_pictures(page: Path) -> list[np.ndarray]:
    found = re.findall(r'<image id="i\d+" href="data:image/png;base64,([^"]+)"', page.read_text())
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")) for data in found]


def test_the_report_shows_what_the_critic_was_shown(fitted, tmp_path):
    pictures = page_pictures(write_report(fitted.record, tmp_path / "report.html"))
    assert len(pictures) == len(fitted.record)
    for name, picture in zip(fitted.record.image_ids, pictures, strict=True):
        np.testing.assert_array_equal(picture, fitted.critic.shown[name].image)


def page_tiles(page: Path) -> list[np.ndarray]:
    found = re.findall(r'href="data:image/webp;base64,([^"]+)"', page.read_text())
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")) for data in found]


def test_the_report_shows_the_tiles_that_the_critic_was_shown(fitted, tmp_path):
    shown = page_tiles(write_report(fitted.record, tmp_path / "report.html"))
    tiles = [
        tile
        for name in fitted.record.image_ids
        for segment in range(1, fitted.critic.shown[name].n_segments + 1)
        for _, tile in TileSheet(tile=192).tiles(fitted.critic.shown[name], segment)
    ]
    assert len(shown) == len(tiles) > len(fitted.record)
    for found, wanted in zip(shown, tiles, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("side", [12, 64])  # crisp, and smooth with small segments enlarged
def test_so_does_the_review(side):
    segments = torch.zeros(2, side, side, dtype=torch.int64)
    segments[:, : side // 8, : side // 8], segments[:, side // 2 :] = 1, 2
    record = make_record(2, side)
    record = replace(record, segmentation=replace(record.segmentation, labels=segments))
    request, pictures = record.request(1), Pictures(record)
    for segment in (1, 2):
        tiles = TileSheet(tile=512).tiles(request, segment)
        assert len(tiles) == 1 + (side == 64 and segment == 1)
        found = [pictures.png(1, f"segment-{segment}{more}") for more in ("", "-enlarged")]
        for png, (_, tile) in zip(found, tiles, strict=False):
            np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), tile)
        assert (found[1] is None) == (len(tiles) == 1)
    assert not any(pictures.png(1, f"segment-{name}") for name in ("0", "3", "1-", "1-other", "²", ""))


@pytest.mark.parametrize("case", CASES[-1:], ids=str)
def test_so_does_the_report_of_a_run_without_a_folder(case, tmp_path):
    clf, critic = fit(case)
    pictures = page_pictures(clf.report(tmp_path / "report.html"))
    names = [f"scan {row}" for row in clf.alignment_set_]
    for name, picture in zip(names, pictures, strict=True):
        np.testing.assert_array_equal(picture, critic.shown[name].image)


def pixels(png: bytes | None) -> np.ndarray:
    """Return the middles of the pixels that were enlarged to 512, as they were."""
    assert png is not None
    middles = (64 * np.arange(8) + 32).astype(int)
    return np.asarray(Image.open(io.BytesIO(png)))[np.ix_(middles, middles)][:, 1:7]


def test_the_review_shows_what_the_critic_was_shown(fitted):
    pictures = Pictures(fitted.record)
    for row, name in enumerate(fitted.record.image_ids):
        np.testing.assert_array_equal(pixels(pictures.png(row, "original")), fitted.critic.shown[name].image)


def test_effects_before_and_after_are_of_the_effect_that_was_judged(fitted):
    pictures = Pictures(fitted.record)
    before, after = fitted.record.effects()
    for row, name in enumerate(fitted.record.image_ids):
        shown = fitted.critic.shown[name].effect
        np.testing.assert_allclose(before[row] / before[row].sum(), shown, rtol=1e-6)
        outcome = fitted.record.outcome.attributions[row].numpy()
        wanted = np.abs(outcome) if fitted.case.effect == "absolute" else outcome.clip(0)
        np.testing.assert_allclose(after[row], wanted, rtol=1e-6)
        for effect, picture in ((shown, "effect"), (after[row], "after")):
            drawn = pixels(pictures.png(row, picture))
            strongest = np.unravel_index(effect.argmax(), effect.shape)
            assert tuple(drawn[strongest]) == ORANGE
            orange = drawn[..., 0].astype(int) > drawn[..., 2]
            np.testing.assert_array_equal(orange[effect > 0.01 * effect.max()], True)
            assert not orange[effect == 0].any()


@pytest.mark.parametrize("effect", ["positive", "absolute"])
def test_the_words_say_which_effect_it_is(effect, serve, tmp_path):
    folder = tmp_path / "run"
    fit(Case(effect, 1, False), folder)
    direction = {"positive": "for", "absolute": "for or against"}[effect]
    assert serve(folder).get("/api/state")["direction"] == direction
    page = write_report(read_run(folder), tmp_path / "report.html").read_text()
    assert ("for or against" in page) == (effect == "absolute")


def test_a_run_that_kept_no_pictures_says_what_mends_it(tmp_path):
    folder = tmp_path / "run"
    fit(CASES[0], folder)
    latest = json.loads((folder / "latest.json").read_text())
    del latest["files"]["shown"]
    (folder / "latest.json").write_text(json.dumps(latest))
    with pytest.raises(ValueError, match="kept no pictures.*Run fit again"):
        read_run(folder)
    fit(CASES[0], folder)
    assert len(read_run(folder)) == 18
