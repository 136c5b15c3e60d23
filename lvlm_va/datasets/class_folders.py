"""Images in one folder per class, without a table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lvlm_va.datasets.image_file import SUFFIXES
from lvlm_va.datasets.label_table import LabelledImage
from lvlm_va.datasets.splits import usual_split

# Folders that tools leave; those whose names begin with a dot, and files of such names, are left out as well.
_OF_TOOLS = {"__MACOSX", "__pycache__", "@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found"}


def rows_of_class_folders(root: Path) -> list[LabelledImage]:
    """Return the images below a folder, by path.

    Parameters
    ----------
    root : Path
        Folders in it, or in its folders for splits (train, test, ...), are the classes. Links are followed.

    Raises
    ------
    FileNotFoundError
        If there is no image, or what a link leads to is missing.
    ValueError
        If an image is in no folder, a folder of images lies in another one, a folder holds none, a link leads to a
        folder that it lies in, or what is a class and what a split cannot be told.
    """
    loose, folders = _entries(root)
    if loose:
        raise ValueError(
            "The 'root' argument must hold one folder per class where 'table' is None. "
            f"Got {len(loose)} images outside of any, such as {loose[0].name}, in {root} instead."
        )
    found = [path for folder in folders for path in _images(folder, (root.resolve(),))]
    if not found:
        raise FileNotFoundError(f"The 'root' argument must hold images. Got {root} without any instead.")
    names = [path.relative_to(root).parts for path in sorted(found)]
    splits = [parts[0] if len(parts) > 2 and usual_split(parts[0]) else None for parts in names]
    of_none = [parts[0] for parts, split in zip(names, splits, strict=True) if split is None]
    if any(splits) and of_none:
        raise ValueError(
            "The 'root' argument must hold a folder per split, or a folder per class. Got both, such as "
            f"{next(filter(None, splits))} and {of_none[0]}, in {root} instead."
        )
    if all(usual_split(parts[-2]) for parts in names):
        raise ValueError(
            "The 'root' argument must hold one folder per class. Got folders that are called as splits are, "
            f"{sorted({parts[-2] for parts in names})}, in {root} instead."
        )
    return [
        LabelledImage(None, "/".join(parts), parts[-2], split=split)
        for parts, split in zip(names, splits, strict=True)
    ]


def _images(folder: Path, above: Sequence[Path], *, within: bool = False) -> list[Path]:
    """Return the images in and below a folder; `within` says that it lies in a folder of images."""
    real = folder.resolve()
    if real in above:
        raise ValueError(f"{folder}: is a link to a folder that it lies in.")
    here, folders = _entries(folder)
    below = [path for each in folders for path in _images(each, (*above, real), within=within or bool(here))]
    if here and below:
        raise ValueError(
            f"{folder}: holds images, such as {here[0].name}, and folders of images, such as {below[0].parent}. "
            "Which of them are classes cannot be told."
        )
    if not (here or below or within):
        raise ValueError(
            f"{folder}: holds no image, so its class would be lost. Images are {', '.join(SUFFIXES)}. Remove the "
            "folder if it is no class."
        )
    return here or below


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the images and the folders in a folder, less those that tools have left."""
    images, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith(".") or entry.name in _OF_TOOLS:
                continue
            if entry.is_dir():
                folders.append(path)
            elif entry.is_file():
                if path.suffix.lower() in SUFFIXES:
                    images.append(path)
            elif entry.is_symlink():
                raise FileNotFoundError(f"{path}: is a link to {path.readlink()}, which does not exist.")
    return sorted(images), sorted(folders)
