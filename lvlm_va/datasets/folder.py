"""Load a folder of images and the table that describes them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from lvlm_va.common.errors import unknown_name
from lvlm_va.common.warnings import warn
from lvlm_va.datasets.class_folders import rows_of_class_folders
from lvlm_va.datasets.image_file import Fit, Mode, Window, read_image, read_mask, read_size, shared_window
from lvlm_va.datasets.label_table import Columns, LabelledImage, read_label_table

# So many groups, of fewer images on the average, are hardly kinds of images.
_MANY_GROUPS, _FEW_IMAGES = 20, 5


@dataclass(frozen=True, eq=False)
class FolderData:
    """Images of a folder.

    Attributes
    ----------
    images : ndarray of shape (n, C, H, W), uint8
        Pixels; C is 3 for colour, 1 for grey.
    labels : ndarray of shape (n,), str, or (n, K), int64
        Classes; or 0 or 1 for each of K findings.
    image_ids : tuple of str
        Paths below the root, with forward slashes; all different.
    groups, splits : ndarray of shape (n,), str, or None
        None where the table has no such column.
    masks : ndarray of shape (n, H, W), bool, or None
        Ground truth: true where a pixel is spurious. Empty for an image whose row names no mask; None where
        the table has no such column.
    patients : ndarray of shape (n,), str, or None
        Whom an image shows, empty where nobody knows; None where the table has no such column.
    window : (float, float) or None
        The values that became black and white in images of more than 8 bits; None where there are none.
    """

    images: NDArray[np.uint8]
    labels: NDArray[Any]
    image_ids: tuple[str, ...]
    groups: NDArray[np.str_] | None
    splits: NDArray[np.str_] | None
    masks: NDArray[np.bool_] | None
    patients: NDArray[np.str_] | None = None
    window: Window | None = None


class FolderDataset(Dataset[tuple[NDArray[np.uint8], str | tuple[int, ...]]]):
    """Images of a folder, decoded when they are asked for; made by `open_image_folder`.

    Its items are (image, label): uint8 of shape (C, H, W), and the class, or 0 or 1 for each finding.

    Parameters
    ----------
    root : Path
        The folder of the images.
    source : Path
        What errors name: the table, or the folder.
    rows : sequence of LabelledImage
        What is known of each image.
    size : tuple of (int, int)
        Height and width.
    mode : {"RGB", "L"}
        Colour, or grey.
    window : (float, float) or None
        Values that become black and white in images of more than 8 bits.
    fit : {"stretch", "pad", "crop"}
        What is done with images of another aspect.

    Attributes
    ----------
    labels, image_ids, groups, splits, patients, window
        As in `FolderData`.
    """

    def __init__(
        self,
        root: Path,
        source: Path,
        rows: Sequence[LabelledImage],
        size: tuple[int, int],
        mode: Mode,
        window: Window | None,
        fit: Fit,
    ) -> None:
        self._root, self._source, self._rows, self._size, self._mode = root, source, rows, size, mode
        self.window, self._fit = window, fit
        self.labels: NDArray[Any] = np.array([row.label for row in rows])
        self.image_ids = tuple(row.path for row in rows)
        self.groups = _column(row.group for row in rows)
        self.splits = _column(row.split for row in rows)
        self.patients = _column(row.patient for row in rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], str | tuple[int, ...]]:
        row = self._rows[index]
        with _naming(self._source, row, "path"):
            return read_image(
                self._root / row.path, self._size, self._mode, self.window, self._fit
            ), row.label

    def select(self, chosen: NDArray[np.bool_]) -> FolderDataset:
        """Return the images marked True."""
        rows = [row for row, kept in zip(self._rows, chosen, strict=True) if kept]
        return FolderDataset(self._root, self._source, rows, self._size, self._mode, self.window, self._fit)

    @property
    def root(self) -> Path:
        """The folder of the images."""
        return self._root

    @property
    def masked(self) -> NDArray[np.bool_]:
        """Which images have a file of a mask: (n,)."""
        return np.array([bool(row.mask_path) for row in self._rows], bool)

    def with_masks(self, files: Sequence[Path | None]) -> FolderDataset:
        """Return these images with other files of masks, one or None for each."""
        rows = [
            replace(row, mask_path="" if file is None else str(file.absolute()))
            for row, file in zip(self._rows, files, strict=True)
        ]
        return FolderDataset(self._root, self._source, rows, self._size, self._mode, self.window, self._fit)

    def read_masks(self) -> NDArray[np.bool_] | None:
        """Return the masks of all images, as `FolderData` has them, in memory."""
        if not self._rows or self._rows[0].mask_path is None:
            return None
        masks = np.zeros((len(self), *self._size), bool)
        for i, row in enumerate(self._rows):
            if row.mask_path:
                with _naming(self._source, row, "mask_path"):
                    original_size = read_size(self._root / row.path)
                    masks[i] = read_mask(self._root / row.mask_path, self._size, original_size, self._fit)
        return masks


def load_image_folder(
    root: str | os.PathLike[str],
    table: str | os.PathLike[str] | None = "labels.csv",
    *,
    image_size: tuple[int, int],
    split: str | None = None,
    mode: Mode = "RGB",
    columns: Columns | None = None,
    extension: str = "",
    classes: Mapping[str, str] | None = None,
    window: Window | None = None,
    fit: Fit = "stretch",
    findings: Sequence[str] | None = None,
    finding_values: Mapping[str, int] | None = None,
) -> FolderData:
    """Read images and what a CSV table (or their folders) say of them into memory.

    Images are BMP, DICOM (extra ``dicom``), GIF, JPEG, PNG, PPM, TIFF or WebP, of at most 67,108,864 (2²⁶) pixels. They
    are turned upright by their EXIF orientation, and resized to `image_size` (bilinear, antialiased; see `fit`), masks
    to the nearest pixel. Transparency is dropped, and of several frames the first is taken, save of DICOM, whose frames
    are refused. They take n·C·H·W bytes;
    `open_image_folder` leaves them in their files.

    Parameters
    ----------
    root : str or path-like
        Folder that the table's paths start from. A path may not lead out of it, save through a symbolic link
        that lies in it.
    table : str, path-like or None, default="labels.csv"
        CSV table, with its path taken from `root` unless absolute: UTF-8; commas, semicolons or tabs; a header; one
        row per image. Columns ``path`` (with either slash) and ``label``; if they exist, also ``group`` (the kind of
        image, such as ``"ill/tag"``, of which the worst is reported), ``patient``, ``split`` and ``mask_path``; a
        name that is not quite one of these, such as ``Split``, is warned of.
        None takes every image in the folders below `root`, with the name of its folder as its label, and where those
        lie in folders such as ``train`` and ``test``, that as its split. Links are followed; what tools leave (names
        that begin with a dot, ``__MACOSX``, ``@eaDir``) is left out.
    image_size : (int, int)
        Height and width in pixels.
    split : str or None, default=None
        Take only the rows with this split.
    mode : {"RGB", "L"}, default="RGB"
        Colour or grey.
    columns : mapping or None, default=None
        Names of columns that are called otherwise, such as ``{"path": "image"}``. Under ``"label"`` there may
        be a list of one-hot columns, whose names are the classes.
    extension : str, default=""
        Added to each image path, such as ``".jpg"`` where the table leaves it out.
    classes : mapping of str to str or None, default=None
        Label in the table to class, such as ``{"MEL": "malignant", "NV": "benign"}``; rows with another label,
        or none, are left out. None takes all rows, with their labels as classes.
    window : (float, float) or None, default=None
        The values that become black (0) and white (255) in images of more than 8 bits, as of 16-bit radiographs; those
        between go linearly, those outside are cut off. None takes the 0.1 and 99.9 % quantiles of all such images of
        the table or the folder, whatever the split (of 256 images, evenly spread, where there are more). Images of
        another folder, such as new ones to predict, must be given the `window` of these.
    fit : {"stretch", "pad", "crop"}, default="stretch"
        What is done with an image, and its mask, whose sides are in another proportion than `image_size`.
        ``"stretch"`` gives up its aspect. ``"pad"`` shows all of it in the middle, with black on two sides, which is a
        shortcut where the aspect tells the class. ``"crop"`` fills all with its middle, and cuts off what stands out.
    findings : sequence of str or None, default=None
        Several findings per image instead of a label: columns of 0 and 1; or names of which the column of the label
        lists those that an image has, as in ``"Mass|Effusion"``, others left aside.
    finding_values : mapping of str to int or None, default=None
        What other cells of such columns stand for, as in ``{"": 0, "-1": 1}`` where nothing, or -1, may stand for
        "not mentioned" and "uncertain". None refuses them.

    Returns
    -------
    FolderData
        In the order of the table, or by path without one.

    Raises
    ------
    FileNotFoundError
        If the folder, the table or any image or mask is missing; the first few missing ones are named.
    ValueError
        If an argument, a row of the table or a file is not as it should be; names file, line and column.

    Examples
    --------
    ISIC 2019, whose ground truth is one-hot and names images without their extension:

    >>> classes = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"]
    >>> data = load_image_folder(
    ...     "ISIC_2019_Training_Input",
    ...     "../ISIC_2019_Training_GroundTruth.csv",
    ...     image_size=(224, 224),
    ...     columns={"path": "image", "label": classes},
    ...     extension=".jpg",
    ... )  # doctest: +SKIP

    Knee X-rays, 16-bit grey, one folder per grade:

    >>> data = load_image_folder("knees/train", None, image_size=(224, 224), mode="L")  # doctest: +SKIP
    >>> test = load_image_folder(
    ...     "knees/test", None, image_size=(224, 224), mode="L", window=data.window
    ... )  # doctest: +SKIP
    """
    folder = open_image_folder(
        root,
        table,
        image_size=image_size,
        split=split,
        mode=mode,
        columns=columns,
        extension=extension,
        classes=classes,
        window=window,
        fit=fit,
        findings=findings,
        finding_values=finding_values,
    )
    height, width = image_size
    images = np.empty((len(folder), 3 if mode == "RGB" else 1, height, width), np.uint8)
    for i in range(len(folder)):
        images[i], _ = folder[i]
    return FolderData(
        images,
        folder.labels,
        folder.image_ids,
        folder.groups,
        folder.splits,
        folder.read_masks(),
        folder.patients,
        folder.window,
    )


def open_image_folder(
    root: str | os.PathLike[str],
    table: str | os.PathLike[str] | None = "labels.csv",
    *,
    image_size: tuple[int, int],
    split: str | None = None,
    mode: Mode = "RGB",
    columns: Columns | None = None,
    extension: str = "",
    classes: Mapping[str, str] | None = None,
    window: Window | None = None,
    fit: Fit = "stretch",
    findings: Sequence[str] | None = None,
    finding_values: Mapping[str, int] | None = None,
) -> FolderDataset:
    """Return the images of a folder as a Dataset that decodes each when it is asked for.

    Parameters
    ----------
    root, table, image_size, split, mode, columns, extension, classes, window, fit, findings, finding_values : optional
        As in `load_image_folder`, which raises the same errors; an image that cannot be read, when it is asked for.

    Returns
    -------
    FolderDataset
        In the order of the table, or by path without one.
    """
    root = Path(root).expanduser()
    if mode not in get_args(Mode):
        raise unknown_name("mode", mode, get_args(Mode))
    if fit not in get_args(Fit):
        raise unknown_name("fit", fit, get_args(Fit))
    size = _check_size(image_size)
    if not root.is_dir():
        raise FileNotFoundError(f"The 'root' argument must be a folder. Got {root}, which is none, instead.")
    if table is None and (columns or extension or classes or findings):
        raise ValueError(
            "The 'columns', 'extension', 'classes' and 'findings' arguments must be left out where 'table' is None. "
            f"Got columns={columns!r}, extension={extension!r}, classes={classes!r} and findings={findings!r} instead."
        )
    source = root if table is None else root / Path(table).expanduser()
    rows = (
        rows_of_class_folders(root)
        if table is None
        else read_label_table(source, columns or {}, extension, classes, findings, finding_values)
    )
    everything = [root / row.path for row in rows]
    if split is not None:
        rows = _of_split(source, rows, split)
    _check_existence(root, source, rows)
    _warn_of_patients(source, rows)
    # Of all, so that it is the same for each split.
    window = shared_window(everything) if window is None else _check_window(window)
    return FolderDataset(root, source, rows, size, mode, window, fit)


def _check_size(image_size: object) -> tuple[int, int]:
    sizes = tuple(image_size) if isinstance(image_size, Sequence) else ()
    if len(sizes) != 2 or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ValueError(
            "The 'image_size' argument must be a pair (height, width) of positive integers. Got "
            f"{image_size!r} instead."
        )
    return sizes


def _check_window(window: object) -> Window:
    ends = tuple(window) if isinstance(window, Sequence) else ()
    if len(ends) != 2 or not all(map(math.isfinite, ends)) or ends[0] >= ends[1]:
        raise ValueError(
            "The 'window' argument must be a pair (black, white) of numbers, the smaller one first. Got "
            f"{window!r} instead."
        )
    return ends


def _warn_of_patients(source: Path, rows: Sequence[LabelledImage]) -> None:
    groups = {row.group for row in rows if row.group is not None}
    if len(groups) > _MANY_GROUPS and len(groups) * _FEW_IMAGES > len(rows):
        warn(
            f"{source}: has {len(groups)} groups of {len(rows)} images. Groups should be a few kinds of images, of "
            "which the worst is reported. If these are patients, say so with columns={'patient': ...}."
        )


def _of_split(source: Path, rows: list[LabelledImage], split: str) -> list[LabelledImage]:
    if rows[0].split is None:
        raise ValueError(
            f"The 'split' argument must be None where there is no column of splits. Got {split!r} for "
            f"{source} instead."
        )
    chosen = [row for row in rows if row.split == split]
    if not chosen:
        raise unknown_name("split", split, {str(row.split) for row in rows})
    return chosen


def _check_existence(root: Path, source: Path, rows: list[LabelledImage]) -> None:
    missing = [
        f"{path} (line {row.line})"
        for row in rows
        for path in (row.path, row.mask_path)
        if path and not os.path.isfile(root / path)  # noqa: PTH113  false for one that is too long, too
    ]
    if missing:
        named = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise FileNotFoundError(
            f"{source}: {len(missing)} of its images and masks do not exist under {root}: {named}. If the "
            "table leaves out the file names' extension, pass it as extension='.jpg'."
        )


@contextmanager
def _naming(source: Path, row: LabelledImage, key: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        place = source if row.line is None else f"{source}, line {row.line}, {key}"
        raise ValueError(f"{place}: {error}") from error


def _column(values: Iterable[str | None]) -> NDArray[np.str_] | None:
    listed = [value for value in values if value is not None]
    return np.array(listed) if listed else None
