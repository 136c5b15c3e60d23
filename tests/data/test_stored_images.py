"""Images that do not fit in memory: the same results as from memory, and never many images at once."""

from __future__ import annotations

import pickle
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.utils.data import Dataset, IterableDataset

from lvlm_va import LVLMVAClassifier, RegionCritic
from lvlm_va.alignment import AlignmentSet, TrainingOptions, train
from lvlm_va.data import inputs as _inputs
from lvlm_va.data import stored_images
from lvlm_va.data.inputs import as_image_rows, check_images
from lvlm_va.data.stored_images import ImageReader, StoredImages, subset
from lvlm_va.model_selection import RightReasonsScorer
from lvlm_va.propagation import Propagation
from lvlm_va.report import measure
from lvlm_va.rounds import outcome, segment_finder
from lvlm_va.runs import shards


class Items(Dataset[Any]):
    """Images with labels; stops when as many were read as `reads` allows."""

    def __init__(self, images: Any, labels: Any, reads: float = float("inf")) -> None:
        self.images, self.labels, self.reads = images, labels, reads

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        if self.reads <= 0:
            raise KeyboardInterrupt
        self.reads -= 1
        return self.images[index], self.labels[index]


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(36, 2)
    )


def shortcut(n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.asarray(["cat", "dog"])[np.arange(n) % 2]
    images = rng.integers(0, 80, (n, 3, 8, 8), dtype=np.uint8)
    images[labels == "cat", :, :, :4] += 150
    images[labels == "dog", :, :, 4:] += 150
    return images, labels


EXTENDED = Propagation(LogisticRegression(), n_images=60)


def make(**changes: Any) -> LVLMVAClassifier:
    parameters = {
        "critic": RegionCritic({"irrelevant": ["left"]}),
        "n_align": 12,
        "n_references": 4,
        "epochs": 2,
        "align_epochs": 2,
        "batch_size": 16,
        "random_state": 0,
    }
    return LVLMVAClassifier(net, **parameters | changes)


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_inputs, "LARGEST_IN_MEMORY", 0)


def assert_same(one: LVLMVAClassifier, other: LVLMVAClassifier) -> None:
    for name, value in one.module_.state_dict().items():
        assert torch.equal(value, other.module_.state_dict()[name]), name
    np.testing.assert_array_equal(one.masks_, other.masks_)
    assert one.verdicts_ == other.verdicts_
    curves = [history.loss for history in (*one.history_["train"], *one.history_["align"])]
    assert curves == [history.loss for history in (*other.history_["train"], *other.history_["align"])]


ALL_AT_ONCE = {"propagate": EXTENDED, "n_rounds": 2, "round_tolerance": 0, "early_stopping": True}


@pytest.mark.parametrize(
    ("num_workers", "changes"),
    [
        (0, ALL_AT_ONCE),
        (2, ALL_AT_ONCE),
        (2, {"sampler": "adaptive", "accumulation_steps": 2}),
        (0, {"references": "mean", "align_fraction": 1.0}),
    ],
)
def test_a_fit_is_the_same(
    monkeypatch: pytest.MonkeyPatch, num_workers: int, changes: dict[str, Any]
) -> None:
    images, labels = shortcut()
    expected = make(**changes).fit(images, labels)
    monkeypatch.setattr(_inputs, "LARGEST_IN_MEMORY", 4 * images.size - 1)
    state = torch.get_rng_state()
    found = make(num_workers=num_workers, **changes).fit(Items(images, labels))
    assert torch.equal(torch.get_rng_state(), state)
    assert isinstance(found.job_.data.images, StoredImages)
    assert_same(found, expected)


def test_an_interrupted_fit_goes_on(tmp_path: Path, streamed: None) -> None:
    images, labels = shortcut()
    changes = {"run_dir": tmp_path / "run", "propagate": EXTENDED}
    # Stops in the second epoch of alignment.
    with pytest.raises(KeyboardInterrupt):
        make(**changes).fit(Items(images, labels, reads=910))
    assert list((tmp_path / "run").glob("align-*.safetensors"))
    found = make(num_workers=2, **changes).fit(Items(images, labels))
    assert len(found.history_["align"][0].loss) == 2
    assert_same(found, make(propagate=EXTENDED).fit(images, labels))
    with pytest.raises(ValueError, match="a run of other data"):
        make(**changes).fit(Items(images[::-1].copy(), labels))


def test_below_the_bound_a_dataset_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = shortcut()
    monkeypatch.setattr(_inputs, "LARGEST_IN_MEMORY", 4 * images.size)
    # Once more for its size, and eight to see that they stay what they are.
    clf = make().fit(Items(images, labels, reads=len(images) + 1 + 8))
    assert_same(clf, make().fit(images, labels))


def test_few_images_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch, streamed: None) -> None:
    for module in (shards, segment_finder, outcome):
        monkeypatch.setattr(module, "SHARD", 8)
    monkeypatch.setattr(stored_images, "CHUNK", 8)
    held, most = 0, 0
    read = StoredImages.read

    def count(n: int) -> None:
        nonlocal held, most
        held += n
        most = max(most, held)

    def watched(self: StoredImages, *args: Any) -> torch.Tensor:
        images = read(self, *args)
        count(len(images))
        weakref.finalize(images, count, -len(images))
        return images

    monkeypatch.setattr(StoredImages, "read", watched)
    images, labels = shortcut(400)
    data = Items(images, labels)
    clf = make(propagate=Propagation(LogisticRegression()), n_align=8).fit(data)
    assert len(clf.propagated_.indices) == 400
    clf.predict(data)
    # References (4), critiqued images (8), and a batch or a shard with its neighbour.
    assert 16 <= most <= 48
    del clf
    assert held < 16


def test_predicting_and_explaining_are_the_same(streamed: None) -> None:
    images, labels = shortcut()
    data, clf = Items(images, labels), make(num_workers=2).fit(images, labels)
    np.testing.assert_array_equal(clf.predict_proba(data), clf.predict_proba(images))
    assert clf.score(data) == clf.score(images, labels)
    found, expected = clf.explain(data), clf.explain(images)
    torch.testing.assert_close(found.attributions, expected.attributions, rtol=1e-4, atol=1e-6)


def test_a_scorer_knows_the_images_aligned_with(streamed: None) -> None:
    images, labels = shortcut()
    clf = make(propagate=EXTENDED).fit(Items(images, labels))
    points = RightReasonsScorer.from_critiqued(clf)(clf, images, labels)
    copy = pickle.loads(pickle.dumps(clf))
    again = RightReasonsScorer.from_critiqued(copy, Items(images, labels))(clf, images, labels)
    assert points == again > 0


def test_a_report_measures_test_images_from_their_dataset(tmp_path: Path, streamed: None) -> None:
    images, labels = shortcut()
    masks = np.zeros((80, 8, 8), bool)
    masks[:, :, :4] = True
    clf = make().fit(Items(images, labels))
    found, expected = (
        measure(clf.job_, clf.aligned_, *clf._labelled(X, y, "y_test"), masks=masks)
        for X, y in ((Items(images, labels), None), (images, labels))
    )
    assert found.after.figures() == pytest.approx(expected.after.figures())


def test_a_copy_is_realigned_with_the_same_dataset(streamed: None) -> None:
    images, labels = shortcut()
    clf = make().fit(Items(images, labels))
    copy = pickle.loads(pickle.dumps(clf))
    assert len(pickle.dumps(clf)) < 2**20
    with pytest.raises(ValueError, match="must be those fitted"):
        copy.realign(clf.verdicts_, Items(images[::-1].copy(), labels))
    copy.realign(clf.verdicts_, Items(images, labels))
    for name, value in clf.module_.state_dict().items():
        assert torch.equal(value, copy.module_.state_dict()[name])


BYTES = np.arange(256, dtype=np.uint8).reshape(4, 1, 8, 8)


@pytest.mark.parametrize(
    "images",
    [
        BYTES,
        BYTES.astype(np.uint16) * 257,
        (BYTES / 255).astype(np.float16),
        (BYTES / 255).astype(np.float32),
        BYTES / 255,
        BYTES.astype(np.int64) // 255,
        torch.from_numpy(BYTES / 255).bfloat16(),
        torch.from_numpy(BYTES),
        BYTES[:, 0],
        BYTES.reshape(4, 64),
        BYTES[..., ::-1],
        [Image.fromarray(image) for image in BYTES[:, 0]],
        [Image.fromarray(image).convert("RGB") for image in BYTES[:, 0]],
    ],
    ids=lambda images: f"{getattr(images, 'dtype', 'Pillow')} {getattr(images, 'shape', '')}",
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_images_of_any_kind_get_the_same_values(
    monkeypatch: pytest.MonkeyPatch, images: Any, dtype: torch.dtype
) -> None:
    found, ends = [], []
    for bound in (2**30, 0):
        monkeypatch.setattr(_inputs, "LARGEST_IN_MEMORY", bound)
        pixels, _ = check_images(LVLMVAClassifier(), Items(images, [0, 1, 0, 1]), None, reset=True)
        shape = (1, 8, 8) if pixels.ndim == 2 else _inputs.resolve_image_shape(pixels, None)
        found.append(as_image_rows(pixels, shape, dtype))
        ends.append((pixels.min(), pixels.max()))
    inside, stored = found
    assert isinstance(stored, StoredImages)
    assert torch.equal(stored[:], inside)
    assert ends[0] == ends[1]
    assert stored.shape == inside.shape
    assert torch.equal(stored[torch.tensor([3, 1])], inside[[3, 1]])
    assert torch.equal(subset(stored, torch.tensor([True, False, True, True]))[1:], inside[[2, 3]])
    assert stored[torch.tensor([], dtype=torch.int64)].shape == (0, *inside.shape[1:])


def test_what_is_read_ahead_may_be_asked_for_out_of_turn() -> None:
    images, labels = shortcut(12)
    reader = ImageReader(Items(images, labels), 2)
    expected, parts = torch.from_numpy(images), torch.arange(12).split(3)
    with reader.reading_ahead(parts):
        assert torch.equal(reader.read(torch.tensor([5, 7])), expected[[5, 7]])
        assert torch.equal(reader.read(parts[0]), expected[:3])
        with reader.reading_ahead(parts[2:]):
            assert torch.equal(reader.read(parts[2]), expected[6:9])
        assert torch.equal(reader.read(parts[1]), expected[3:6])
    assert torch.equal(reader.read(parts[3]), expected[9:])


def test_training_reads_its_own_rows_and_those_of_the_alignment_set() -> None:
    pixels, _ = shortcut()
    images, labels = torch.from_numpy(pixels) / torch.tensor(255.0), torch.arange(80) % 2
    stored = StoredImages(ImageReader(Items(pixels, labels), 2), image_shape=(3, 8, 8), dtype=torch.float32)
    rows, masks = torch.arange(0, 80, 3), torch.zeros(27, 8, 8, dtype=torch.bool)
    masks[:20, :, :4] = True
    options = TrainingOptions(epochs=1, batch_size=16, validation_fraction=0.2)
    module, results = net(), []
    for aligned in (images, stored):
        for plain in (images, stored):
            alignment_set = AlignmentSet(subset(aligned, rows), labels[rows], masks)
            result = train(module, plain, labels, options, alignment_set=alignment_set, seed=0)
            results.append(result)
    for result in results[1:]:
        assert result.history.validation_loss == results[0].history.validation_loss
        for name, value in results[0].module.state_dict().items():
            assert torch.equal(value, result.module.state_dict()[name])


class Endless(IterableDataset[Any]):
    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Any:
        return iter(IMAGES)


class Failing(Items):
    def __getitem__(self, index: int) -> Any:
        if index == 37:
            raise OSError("no such file: 37.png")
        return super().__getitem__(index)


class Restless(Items):
    """Never twice the same, whatever torch's seed."""

    def __getitem__(self, index: int) -> Any:
        image, label = super().__getitem__(index)
        return image ^ np.random.default_rng().integers(0, 2, image.shape, dtype=np.uint8), label


class Bare(Items):
    def __getitem__(self, index: int) -> Any:
        return self.images[index]


def ragged(images: np.ndarray) -> list[np.ndarray]:
    return [*images[:41], images[41, :, 1:], *images[42:]]


IMAGES, LABELS = shortcut()
BROKEN = IMAGES / 255
BROKEN[5, 0, 0, 0] = np.nan


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Failing(IMAGES, LABELS), r"Image 37 cannot be taken: OSError: no such file: 37\.png"),
        (
            Items(ragged(IMAGES), LABELS),
            r"Image 41 cannot .* has shape \(3, 7, 8\) .* first one has \(3, 8, 8\)",
        ),
        (Items(BROKEN, LABELS), "Image 5 cannot be taken: ValueError: it holds NaN"),
        (Restless(IMAGES, LABELS), "must return the same image for an index each time"),
        (Bare(IMAGES, LABELS), "'y' argument must hold the labels"),
        (Items(IMAGES[:, None], LABELS), r"must hold images of shape \(C, H, W\)"),
    ],
)
def test_what_cannot_be_taken_is_named(
    streamed: None, data: Dataset[Any], message: str, num_workers: int
) -> None:
    with pytest.raises(ValueError, match=message):
        make(num_workers=num_workers).fit(data)


def test_other_arguments_that_do_not_fit_are_named(streamed: None) -> None:
    with pytest.raises(TypeError, match="map-style Dataset"):
        make().fit(Endless())
    with pytest.raises(ValueError, match="'y' argument must hold a label for each of 80 images. Got 79"):
        make().fit(Items(IMAGES, LABELS), LABELS[1:])
    with pytest.raises(ValueError, match="'num_workers' parameter"):
        make(num_workers=-1).fit(Items(IMAGES, LABELS))
    clf = make().fit(Items(IMAGES, LABELS))
    with pytest.raises(
        ValueError, match=r"images of shape \(3, 4, 8\), but LVLMVAClassifier was fitted with"
    ):
        clf.predict(Items(IMAGES[:, :, :4], LABELS))
    with pytest.warns(UserWarning, match=r"values from 0 to \d+"):
        make(epochs=0, align_epochs=0, classes=["dog", "cat"]).fit(Items(IMAGES.astype(np.float32), LABELS))


def test_a_folder_is_aligned_from_its_files(
    align: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--irrelevant", "corners")
    expected = align(tmp_path / "one", *options)
    monkeypatch.setattr(_inputs, "LARGEST_IN_MEMORY", 0)
    found = align(tmp_path / "two", *options, "--workers", 1)
    assert found.returncode == expected.returncode == 0, found.stderr
    one, two = (tmp_path / name for name in ("one", "two"))
    assert (two / "aligned.safetensors").read_bytes() == (one / "aligned.safetensors").read_bytes()
    assert found.stdout.replace(str(two), str(one)) == expected.stdout
