"""What a run directory holds, and for whom: corrections of this run alone, images only where they may be."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvlm_va import LVLMVAClassifier, RegionCritic, VerdictTable
from lvlm_va.critique import Critique, CritiqueRequest
from lvlm_va.report import read_run

Blobs = tuple[Any, Any]


def fitted(blobs: Blobs, **parameters: Any) -> LVLMVAClassifier:
    defaults = {
        "critic": RegionCritic({"irrelevant": ["corners"]}),
        "n_align": 6,
        "epochs": 2,
        "align_epochs": 1,
        "n_references": 2,
        "random_state": 0,
        "specifications": {0: "The left counts."},
    }
    return LVLMVAClassifier("mlp", **(defaults | parameters)).fit(*blobs)


def test_a_table_of_another_run_is_refused_everywhere(blobs: Blobs, tmp_path: Path) -> None:
    blobs = tuple(part[:10] for part in blobs)
    here, there = (
        fitted(blobs, n_align=10, random_state=seed, run_dir=tmp_path / str(seed)) for seed in (0, 1)
    )
    mine = next((tmp_path / "0").glob("verdicts-*.json"))
    exported = tmp_path / "exported.json"
    there.verdicts_.replace(there.verdicts_.verdicts[:1]).save(exported)
    assert VerdictTable.load(exported).places == there.verdicts_.places
    before = here.masks_.copy()
    with pytest.raises(ValueError, match="made for other segments of .* of its 10 images"):
        here.realign(exported)
    np.testing.assert_array_equal(here.masks_, before)
    with pytest.raises(ValueError, match=r"exported\.json: .*belongs to another run"):
        fitted(blobs, n_align=10, critic=f"table:{exported}")
    there.realign(exported)

    mine.write_bytes(exported.read_bytes())
    with pytest.raises(ValueError, match=rf"{mine.name}: .*belongs to another run.*Remove the file"):
        fitted(blobs, n_align=10, run_dir=tmp_path / "0")
    mine.unlink()
    again = fitted(blobs, n_align=10, run_dir=tmp_path / "0")
    assert again.verdicts_ == here.verdicts_ == read_run(tmp_path / "0").verdicts


def test_segments_are_known_again_when_they_are_rounded_otherwise(blobs: Blobs) -> None:
    clf = fitted(blobs)
    shaken = {
        name: tuple(tuple(number + 1e-3 for number in place) for place in places)
        for name, places in clf.verdicts_.places.items()
    }
    clf.realign(replace(clf.verdicts_, places=shaken))


@pytest.mark.parametrize("way", ["realign", "file"])
def test_a_mistyped_class_in_a_corrected_table_is_told(way: str, blobs: Blobs, tmp_path: Path) -> None:
    clf = fitted(blobs, run_dir=tmp_path)
    edited = replace(clf.verdicts_, specifications={"O": "The left counts."})
    with pytest.raises(ValueError, match=r"'specifications' argument must be one of \['0', '1'\]. Got 'O'"):
        if way == "realign":
            clf.realign(edited)
        else:
            edited.save(next(tmp_path.glob("verdicts-*.json")))
            fitted(blobs, run_dir=tmp_path)
    assert clf.verdicts_.specifications == {"0": "The left counts."}


class Intruding(RegionCritic):
    """A critic that begins another fit in the same folder while it is asked."""

    fit_too: Callable[[], object]

    def critique(self, requests: Sequence[CritiqueRequest]) -> list[Critique]:
        with pytest.raises(
            ValueError, match="'run_dir' argument must name a folder in which nothing else works"
        ):
            type(self).fit_too()
        return super().critique(requests)


def test_two_fits_in_one_folder(blobs: Blobs, tmp_path: Path) -> None:
    alone = fitted(blobs)
    Intruding.fit_too = lambda: fitted(blobs, run_dir=tmp_path)
    clf = fitted(blobs, critic=Intruding({"irrelevant": ["corners"]}), run_dir=tmp_path)
    np.testing.assert_array_equal(clf.predict_proba(blobs[0]), alone.predict_proba(blobs[0]))
    fitted(blobs, run_dir=tmp_path)


def holds(file: Path, images: Any) -> bool:
    """Whether an archive has an array with the values of one of these images, as floats or bytes."""
    if file.suffix != ".npz":
        return False
    wanted = {np.round(255 * image).astype(np.uint8).tobytes() for image in images[:, 0]}
    with np.load(io.BytesIO(file.read_bytes())) as arrays:
        found = [
            array for array in arrays.values() if array.ndim == 4 and array.shape[2:] == images.shape[2:]
        ]
    maps = [channel if array.dtype == np.uint8 else np.round(255 * channel).clip(0, 255) for array in found
            for channel in array[:, 0]]  # fmt: skip
    return any(channel.astype(np.uint8).tobytes() in wanted for channel in maps)


def test_a_run_directory_without_images(blobs: Blobs, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    with_images, without = tmp_path / "with", tmp_path / "without"
    one = fitted(blobs, run_dir=with_images)
    two = fitted(blobs, run_dir=without, keep_images=False)
    np.testing.assert_array_equal(one.predict_proba(blobs[0]), two.predict_proba(blobs[0]))
    stages = {path.name.rpartition("-")[0] for path in with_images.rglob("*") if holds(path, blobs[0])}
    assert stages == {"shown", "alignment-set"}
    assert not any(holds(path, blobs[0]) for path in without.rglob("*"))
    with pytest.raises(ValueError, match="kept no pictures, by keep_images=False"):
        read_run(without)
    two.report(tmp_path / "report.html")
    assert (tmp_path / "report.html").exists()
    assert fitted(blobs, run_dir=without, keep_images=False).masks_.tolist() == two.masks_.tolist()
