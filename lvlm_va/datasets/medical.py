"""Load skin lesions of the ISIC archive and knee radiographs, grouped by class and artefact."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from lvlm_va.datasets.folder import FolderData, load_image_folder
from lvlm_va.datasets.image_file import Window
from lvlm_va.datasets.label_table import Columns

ISIC_COLUMNS: Columns = {"path": "isic_id", "label": "diagnosis_1"}
ISIC_CLASSES = {
    **dict.fromkeys(("Benign", "benign", "NV", "BKL", "DF", "VASC"), "benign"),
    **dict.fromkeys(("Malignant", "malignant", "MEL", "BCC", "SCC"), "malignant"),
}
KNEE_COLUMNS: Columns = {"label": "grade"}
KNEE_CLASSES = {
    **dict.fromkeys(("0", "1", "0.0", "1.0"), "healthy"),
    **dict.fromkeys(("2", "3", "4", "2.0", "3.0", "4.0"), "arthritic"),
}

# Names of images, with or without their extension, or a text file with one of them in each line.
NameList = Iterable[str] | str | os.PathLike[str]


def isic_lesions(
    folder: str | os.PathLike[str],
    metadata_csv: str | os.PathLike[str],
    *,
    bandages: NameList | None = None,
    markers: NameList | None = None,
    rulers: NameList | None = None,
    image_size: tuple[int, int] = (224, 224),
    columns: Columns | None = None,
    classes: Mapping[str, str] | None = None,
    extension: str = ".jpg",
) -> FolderData:
    """Return lesions of an ISIC export, grouped by class and by what lies beside the lesion.

    Parameters
    ----------
    folder : str or path-like
        Folder of the images.
    metadata_csv : str or path-like
        The export's table, with its path taken from `folder` unless absolute.
    bandages, markers, rulers : iterable of str, path-like or None, default=None
        Names of the images that show a plaster, ink or a ruler, with or without extension, or a text file with
        one name in each line. Names that are not in the table are passed over.
    image_size : (int, int), default=(224, 224)
        Height and width in pixels.
    columns : mapping or None, default=None
        Columns of the table, as in :func:`load_image_folder`. None takes ``isic_id`` and ``diagnosis_1``, as today's
        exports call them.
    classes : mapping of str to str or None, default=None
        Diagnosis to class; images with another diagnosis, or none, are left out. None takes ``benign`` and
        ``malignant``, and from the lesion types of the yearly challenges NV, BKL, DF and VASC as benign, MEL, BCC and
        SCC as malignant (AK, which lies between, is left out).
    extension : str, default=".jpg"
        Added to each name in the table.

    Returns
    -------
    FolderData
        Colour images; groups are ``"benign/none"``, ``"malignant/bandage"``, ``"benign/bandage+ruler"`` and the like.

    Raises
    ------
    FileNotFoundError
        If the folder, the table, a list or an image is missing.
    ValueError
        If an argument, the table or a file is not as it should be, or no name of a list is in the table.

    Examples
    --------
    An export of the archive, and the training images of the challenge of 2019:

    >>> data = isic_lesions("ISIC-images", "metadata.csv", bandages="bandages.txt")  # doctest: +SKIP
    >>> types = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"]
    >>> data = isic_lesions(
    ...     "ISIC_2019_Training_Input",
    ...     "../ISIC_2019_Training_GroundTruth.csv",
    ...     bandages=["ISIC_0000037", "ISIC_0000043"],
    ...     columns={"path": "image", "label": types},
    ... )  # doctest: +SKIP
    """
    lists = {"bandages": bandages, "markers": markers, "rulers": rulers}
    named = {argument: _read_names(argument, names) for argument, names in lists.items() if names is not None}
    data = load_image_folder(
        folder,
        metadata_csv,
        image_size=image_size,
        columns=ISIC_COLUMNS if columns is None else columns,
        extension=extension,
        classes=ISIC_CLASSES if classes is None else classes,
    )
    names = [_stem(image_id) for image_id in data.image_ids]
    for argument, listed in named.items():
        if listed.isdisjoint(names):
            raise ValueError(
                f"The {argument!r} argument must name images of the table. Got {len(listed)} names, such as "
                f"{min(listed, default='')!r}, of which none is among its {len(names)} images, such as "
                f"{names[0]!r}, instead."
            )
    groups = [
        f"{label}/{'+'.join(argument[:-1] for argument, listed in named.items() if name in listed) or 'none'}"
        for label, name in zip(data.labels, names, strict=True)
    ]
    return dataclasses.replace(data, groups=np.array(groups))


def knee_radiographs(
    folder: str | os.PathLike[str],
    csv: str | os.PathLike[str],
    *,
    image_size: tuple[int, int] = (224, 224),
    columns: Columns | None = None,
    classes: Mapping[str, str] | None = None,
    extension: str = "",
    window: Window | None = None,
) -> FolderData:
    """Return knee radiographs, grouped by class and, if the table says it, by tag.

    Parameters
    ----------
    folder : str or path-like
        Folder of the images, of 8 or more bits (PNG, JPEG, TIFF or DICOM).
    csv : str or path-like
        Table of the images, with its path taken from `folder` unless absolute.
    image_size : (int, int), default=(224, 224)
        Height and width in pixels.
    columns : mapping or None, default=None
        Columns of the table that are not called ``path``, ``grade`` (under the key ``"label"``; Kellgren and Lawrence,
        0 to 4), ``group`` (the tag, any text such as ``L`` or ``none``; never empty), ``split`` and ``mask_path`` (the
        tag's pixels). The last three may be missing.
    classes : mapping of str to str or None, default=None
        Grade to class; images with another grade, or none, are left out. None takes 0 and 1 as ``healthy``, 2 to 4 as
        ``arthritic``.
    extension : str, default=""
        Added to each path in the table.
    window : (float, float) or None, default=None
        The values that become black and white in images of more than 8 bits, as in :func:`load_image_folder`.

    Returns
    -------
    FolderData
        Grey images; groups are ``"healthy/L"`` and the like, or None.

    Raises
    ------
    FileNotFoundError
        If the folder, the table, an image or a mask is missing.
    ValueError
        If an argument, the table or a file is not as it should be.

    Examples
    --------
    >>> columns = {"path": "file", "label": "KL", "group": "tag"}
    >>> data = knee_radiographs("knees", "grades.csv", columns=columns)  # doctest: +SKIP
    """
    data = load_image_folder(
        folder,
        csv,
        image_size=image_size,
        mode="L",
        columns={**KNEE_COLUMNS, **(columns or {})},
        extension=extension,
        classes=KNEE_CLASSES if classes is None else classes,
        window=window,
    )
    if data.groups is None:
        return data
    groups = [f"{label}/{tag}" for label, tag in zip(data.labels, data.groups, strict=True)]
    return dataclasses.replace(data, groups=np.array(groups))


def _read_names(argument: str, names: NameList) -> set[str]:
    if not isinstance(names, (str, os.PathLike)):
        return {_stem(name) for name in names}
    path = Path(names).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"The {argument!r} argument must be a list of names or a text file with one name in each line. Got {path}, "
            "which is no file, instead."
        )
    return {_stem(line.strip()) for line in path.read_text("utf-8-sig").splitlines() if line.strip()}


def _stem(name: str) -> str:
    return PurePosixPath(name).stem
