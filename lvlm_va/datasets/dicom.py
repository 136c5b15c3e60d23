"""Radiographs as hospitals keep them: DICOM files (extra ``dicom``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SUFFIXES = (".dcm", ".dicom")


def open_dicom(path: Path, most_pixels: int) -> Image.Image:
    """Return a grey image of a DICOM file, bright where its maker shows it bright.

    The rescaling of the file is done, then its window or table of values of interest (VOI), if it has any; MONOCHROME1
    is turned around.

    Parameters
    ----------
    path : Path
        The file.
    most_pixels : int
        More are refused, before they are decoded.

    Returns
    -------
    PIL.Image.Image
        Of mode F.

    Raises
    ------
    ImportError
        If pydicom is missing.
    ValueError
        If the file is no DICOM image, is in colour, or holds several frames, or its compression needs more packages.
    """
    try:
        import pydicom
        from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
    except ImportError as error:
        raise ImportError(f"{path}: reading DICOM needs pydicom: pip install 'lvlm-va[dicom]'") from error
    try:
        found = pydicom.dcmread(path)
        _check(found, most_pixels)
        raw = found.pixel_array
        has_voi = "WindowCenter" in found or "VOILUTSequence" in found
        inverted = found.PhotometricInterpretation == "MONOCHROME1"
        if inverted and not has_voi:
            raw = _turned_around(raw, int(found.BitsStored))
        values = apply_modality_lut(raw, found)
        if has_voi:
            values = apply_voi_lut(values, found)
            if inverted:
                values = 2 ** int(found.BitsStored) - 1 - values
    except Exception as error:  # pydicom's, and those of its decoders, have no common base
        raise ValueError(f"{path}: cannot be read as a DICOM image ({error}).") from error
    return Image.fromarray(np.asarray(values, np.float32))


def _check(found: Any, most_pixels: int) -> None:
    if "PixelData" not in found:
        raise ValueError("it holds no pixels")
    if int(found.get("NumberOfFrames") or 1) > 1:
        raise ValueError(f"it holds {found.NumberOfFrames} frames; write each into a file of its own")
    if found.PhotometricInterpretation not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(f"it is in {found.PhotometricInterpretation}, not grey; export it as PNG")
    if int(found.Rows) * int(found.Columns) > most_pixels:
        raise ValueError(
            f"it has {found.Rows} x {found.Columns} pixels; of more than {most_pixels:,} make it smaller"
        )


def _turned_around(raw: NDArray[Any], bits: int) -> NDArray[Any]:
    # Unsigned 0 to 2^bits - 1, signed -2^(bits - 1) to 2^(bits - 1) - 1.
    ends = 2**bits - 1 if raw.dtype.kind == "u" else -1
    return np.asarray(ends - raw.astype(np.int64))
