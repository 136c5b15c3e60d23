"""DICOM files that pydicom wrote: rescaled, windowed, turned around, and refused where they are no grey image."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.datasets.folders import load, save, write

pydicom = pytest.importorskip("pydicom")

RAW = np.add.outer(np.arange(8), np.arange(6) * 100).astype(np.uint16)


def dicom(path: Path, pixels: np.ndarray = RAW, **changes: Any) -> None:
    """Write an image of 12 bits."""
    found = pydicom.Dataset()
    found.file_meta = pydicom.dataset.FileMetaDataset()
    found.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    found.SOPClassUID, found.SOPInstanceUID = pydicom.uid.DigitalXRayImageStorageForPresentation, "1.2.3"
    found.Rows, found.Columns = pixels.shape[-2:]
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.BitsAllocated, found.BitsStored, found.HighBit = 16, 12, 11
    found.PixelRepresentation = int(pixels.dtype.kind == "i")
    found.PixelData = pixels.tobytes()
    for name, value in changes.items():
        setattr(found, name, value)
    found.save_as(path, enforce_file_format=True)


def read(folder: Path, **changes: Any) -> np.ndarray:
    """Return one image of a folder through a window that keeps 0 to 4095 apart."""
    (folder / "c").mkdir(exist_ok=True)
    dicom(folder / "c" / "a.dcm", **changes)
    return load(folder, None, mode="L", size=(8, 6), window=(0, 4095)).images[0, 0].astype(float)


def shown(values: np.ndarray) -> np.ndarray:
    return (values.clip(0, 4095) * 255 / 4095).astype(np.uint8)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, RAW),
        ({"RescaleSlope": "2", "RescaleIntercept": "100"}, 2.0 * RAW + 100),
        ({"PhotometricInterpretation": "MONOCHROME1"}, 4095 - RAW.astype(float)),
        (
            {"pixels": (RAW.astype(np.int16) - 1), "PhotometricInterpretation": "MONOCHROME1"},
            -RAW.astype(float),
        ),
        # From 100 to 300 goes linearly from 0 to all that 12 bits hold.
        ({"WindowCenter": "200.5", "WindowWidth": "201"}, ((RAW - 100.0) / 200).clip(0, 1) * 4095),
        (
            {"WindowCenter": "200.5", "WindowWidth": "201", "PhotometricInterpretation": "MONOCHROME1"},
            4095 - ((RAW - 100.0) / 200).clip(0, 1) * 4095,
        ),
    ],
    ids=["plain", "rescaled", "turned", "signed", "window", "window turned"],
)
def test_values_are_those_that_the_maker_shows(tmp_path, changes, expected):
    assert np.abs(read(tmp_path, **changes) - shown(np.asarray(expected, float))).max() <= 1


def test_folders_hold_dicom_beside_other_files(tmp_path):
    dicom(tmp_path / "a.DCM", 4 * RAW)
    save(tmp_path / "b.png", 4 * RAW)
    write(tmp_path, "path,label", "a.DCM,x", "b.png,y")
    data = load(tmp_path, mode="L", size=(8, 6))
    np.testing.assert_array_equal(data.images[0], data.images[1])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"pixels": np.stack([RAW, RAW]), "NumberOfFrames": "2"}, "it holds 2 frames"),
        ({"PhotometricInterpretation": "RGB"}, "it is in RGB, not grey"),
        ({"Rows": 40_000, "Columns": 40_000}, "it has 40000 x 40000 pixels"),
    ],
)
def test_what_is_no_grey_image_is_named(tmp_path, changes, says):
    with pytest.raises(ValueError, match=rf"a\.dcm: cannot be read as a DICOM image \({says}"):
        read(tmp_path, **changes)


def test_a_file_that_is_none_and_a_missing_package_are_named(tmp_path, monkeypatch):
    (tmp_path / "c").mkdir()
    Image.fromarray(RAW.astype(np.uint8)).save(tmp_path / "c" / "a.png")
    (tmp_path / "c" / "a.png").rename(tmp_path / "c" / "a.dcm")
    with pytest.raises(ValueError, match=r"a\.dcm: cannot be read as a DICOM image"):
        load(tmp_path, None, mode="L", size=(8, 6))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(
        ImportError, match=r"a\.dcm: reading DICOM needs pydicom: pip install 'lvlm-va\[dicom\]'"
    ):
        load(tmp_path, None, mode="L", size=(8, 6))
