"""Read idx files, the format of MNIST and Fashion-MNIST."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "test"]

_PREFIX: dict[Split, str] = {"train": "train", "test": "t10k"}
_WHERE_FROM = (
    "Nothing is downloaded: put the idx files of MNIST or Fashion-MNIST there. Fashion-MNIST comes with the "
    "Debian package dataset-fashion-mnist ('dpkg -L dataset-fashion-mnist' shows its folder)."
)


def read_idx_folder(
    data_dir: str | os.PathLike[str], split: Split
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the images and labels of one split.

    Parameters
    ----------
    data_dir : str or path-like
        Folder that holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the two ``t10k-``
        files, each as it is or with ``.gz``.
    split : {"train", "test"}
        The ``train-`` or the ``t10k-`` files.

    Returns
    -------
    images : ndarray of shape (n, H, W), uint8
        Grey values.
    labels : ndarray of shape (n,), uint8
        Class numbers.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is no idx file of bytes, or the two do not hold the same number of images.
    """
    images = read_idx(_find(Path(data_dir).expanduser(), f"{_PREFIX[split]}-images-idx3-ubyte"), ndim=3)
    labels = read_idx(_find(Path(data_dir).expanduser(), f"{_PREFIX[split]}-labels-idx1-ubyte"), ndim=1)
    if len(images) != len(labels):
        raise ValueError(
            f"The 'data_dir' argument must hold as many images as labels. Got {len(images)} images and "
            f"{len(labels)} labels in the {split} files of {data_dir} instead."
        )
    return images, labels


def read_idx(path: Path, ndim: int) -> NDArray[np.uint8]:
    """Return the array of bytes in an idx file, gzipped or not.

    The file starts with two zero bytes, the type (8 for unsigned bytes), the number of axes, and the length
    of each axis as a big-endian 32-bit integer; the values follow, last axis fastest.

    Parameters
    ----------
    path : Path
        The file; gzipped if its name ends in ``.gz``.
    ndim : int
        Number of axes that it must have.

    Returns
    -------
    ndarray of `ndim` axes, uint8
        The values; read-only.

    Raises
    ------
    ValueError
        If the file is something else, or shorter or longer than its header says.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read ({error}). Copy the file again.") from error
    header = 4 + 4 * ndim
    if data[:4] != bytes((0, 0, 8, ndim)) or len(data) < header:
        raise ValueError(
            f"{path}: must be an idx file of {ndim}-dimensional bytes, which starts with 0000 08{ndim:02x}. "
            f"Got {data[:4].hex(' ', 2)} instead. {_WHERE_FROM}"
        )
    shape = tuple(int(length) for length in np.frombuffer(data, ">u4", count=ndim, offset=4))
    if len(data) != header + math.prod(shape):
        raise ValueError(
            f"{path}: must hold {math.prod(shape)} values, as its header says. Got {len(data) - header} "
            "instead. Copy the file again."
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"The 'data_dir' argument must be a folder with the file {name} or {name}.gz. Got {folder} without "
        f"it instead. {_WHERE_FROM}"
    )
