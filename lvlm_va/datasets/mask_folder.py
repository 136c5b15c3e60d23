"""Masks of some images, in a folder of their own, found by the images' names."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from lvlm_va.datasets.folder import FolderDataset
from lvlm_va.datasets.image_file import FORMATS, SUFFIXES


def with_mask_folder(data: FolderDataset, folder: str | os.PathLike[str]) -> FolderDataset:
    """Return the images with the masks in a folder, and no others.

    Parameters
    ----------
    data : FolderDataset
        The images.
    folder : path-like
        Holds PNG files that are named like the images: that of ``left/7.jpg`` is ``left/7.png`` or ``left/7.jpg.png``.

    Returns
    -------
    FolderDataset
        All images; those without a mask in the folder have none.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If it is that of the images, holds no mask, one that belongs to no image or might belong to two, or another
        image file.
    """
    home = Path(folder).expanduser().resolve()
    if not home.is_dir():
        raise FileNotFoundError(f"The folder of masks must exist. Got {home}, which is none.")
    if home == data.root.resolve():
        raise ValueError(f"The folder of masks must be another than that of the images. Got {home}.")
    files = _image_files(home)
    names = mask_names(data.image_ids)
    known = {name: i for i, both in enumerate(names) for name in both}
    unknown = sorted(path.relative_to(home).as_posix() for name, path in files.items() if name not in known)
    if unknown or not files:
        raise ValueError(
            f"{home}: must hold PNG masks named like their images, such as {names[0][0]}. Got "
            f"{', '.join(unknown[:5]) or 'none'}{', ...' * (len(unknown) > 5)} instead."
        )
    owners = Counter(short for short, _ in names)
    found: list[Path | None] = []
    for image_id, (short, full) in zip(data.image_ids, names, strict=True):
        own = [files[name] for name in dict.fromkeys((full, short)) if name in files]
        if len(own) > 1 or (own and full not in files and owners[short] > 1):
            raise ValueError(
                f"{home}: must hold one mask for {image_id}. Got {own[-1].name}, which might be that of another image, "
                f"or not its only one: name it {full}."
            )
        found.append(own[0] if own else None)
    return data.with_masks(found)


def mask_names(image_ids: Sequence[str]) -> list[tuple[str, str]]:
    """Return the two names that each image's mask may have: without the image's suffix, and with it."""
    suffixes = [PurePosixPath(name).suffix for name in image_ids]
    return [
        (f"{name.removesuffix(suffix) if suffix.lower() in SUFFIXES else name}.png", f"{name}.png")
        for name, suffix in zip(image_ids, suffixes, strict=True)
    ]


def _image_files(home: Path) -> dict[str, Path]:
    """Return the image files below a folder by their names, the suffix in small letters; hidden ones are tools'."""
    found = {}
    for path in sorted(home.rglob("*")):
        name = path.relative_to(home).as_posix()
        if path.suffix.lower() in FORMATS and path.is_file() and "/." not in f"/{name}":
            found[name.removesuffix(path.suffix) + path.suffix.lower()] = path
    return found
