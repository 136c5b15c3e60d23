"""From what the user passes as X and y to checked images and labels."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence, Sized
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d, validate_data
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lvlm_va.common.warnings import warn
from lvlm_va.data.findings import is_multilabel
from lvlm_va.data.pixels import as_array, stacked
from lvlm_va.data.stored_images import ImageReader, ImageRows, ImageShape, StoredImages

# A Dataset that takes more than this many bytes as float32 is not read into memory.
LARGEST_IN_MEMORY = 2**30
# Items of a Dataset that are read a second time, to see that they stay what they were.
_READ_TWICE = 8
# Up to so far outside [0, 1] resizing and noise take images; so far out reach images that were standardised.
_OVERSHOOT, _STANDARDISED = 0.25, 20.0
# Where the brightest pixel of all images is no brighter, they are hardly in [0, 1]: 14 bits in uint16 end below.
_DARK = 0.25


def open_dataset(
    data: Dataset[Any], num_workers: int | None
) -> tuple[NDArray[Any] | StoredImages, NDArray[Any] | None]:
    """Return the images of a map-style dataset, and its labels, in memory unless it is too large.

    Parameters
    ----------
    data : torch.utils.data.Dataset
        As for `read_dataset`.
    num_workers : int or None
        Processes that read ahead from a dataset larger than `LARGEST_IN_MEMORY`; None reads that into memory, too.

    Returns
    -------
    images : ndarray or StoredImages of shape (n, ...)
        The images.
    labels : ndarray of shape (n,) or None
        The labels; None for stored images, see `StoredImages.labels`.
    """
    if num_workers is not None and _length(data):
        reader = ImageReader(data, num_workers)
        if 4 * math.prod(reader.shape) > LARGEST_IN_MEMORY:
            return StoredImages(reader), None
    return read_dataset(data)


def read_dataset(data: Dataset[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return the images of a map-style dataset, and its labels where its items are (image, label) pairs.

    Parameters
    ----------
    data : torch.utils.data.Dataset
        Has a length; items are images or (image, label, ...) tuples, all images of one shape: tensors, arrays or
        Pillow images.

    Returns
    -------
    images : ndarray of shape (n, ...)
        The images, all in memory.
    labels : ndarray of shape (n,) or None
        The labels.
    """
    items = [data[i] for i in range(_length(data))]
    tuples = bool(items) and isinstance(items[0], tuple | list)
    images = stacked([item[0] if tuples else item for item in items])
    labels = np.asarray([item[1] for item in items]) if tuples and len(items[0]) > 1 else None
    for row in range(0, len(items), max(1, len(items) // _READ_TWICE)):
        item = data[row]
        if not np.array_equal(as_array(item[0] if tuples else item), images[row], equal_nan=True):
            warn(
                f"The Dataset returned another image when item {row} was read again, as those with random transforms "
                "do. The images of the first reading are used throughout: pass what is to change them, and their masks "
                "with them, as 'augment'."
            )
            break
    return images, labels


def _length(data: Dataset[Any]) -> int:
    if isinstance(data, IterableDataset) or not isinstance(data, Sized):
        raise TypeError(
            "The 'X' argument must be a map-style Dataset with a length. Got an iterable one instead."
        )
    return len(data)


def check_images(
    estimator: BaseEstimator, X: Any, y: Any = "no_validation", *, reset: bool
) -> tuple[Any, Any]:
    """Check X (and y) as scikit-learn does, and return floating arrays.

    Parameters
    ----------
    estimator : BaseEstimator
        Gets ``n_features_in_``, the number of values of an image (and ``feature_names_in_``). Its ``num_workers``, if
        it has any, read a large Dataset; one that normalises images needs them in [0, 1]; its ``task``, if it has one,
        says whether y may hold several findings per image.
    X : array-like, Tensor, Dataset or StoredImages
        Unsigned integers are divided by the largest value of their type (uint8 by 255, uint16 by 65,535, also where
        they use 12 bits only); other types become floating. Pillow images are turned upright by their EXIF orientation,
        palettes and CMYK become RGB.
    y : array-like, None or "no_validation"
        Labels; None takes them from the Dataset.
    reset : bool
        True in fit, False afterwards.

    Returns
    -------
    X : ndarray of shape (n, d), (n, H, W) or (n, C, H, W), float32 or float64, or StoredImages
        The images.
    y : ndarray of shape (n,) or (n, K), or None
        The labels, None without validation of y.
    """
    if isinstance(X, DataLoader):
        raise TypeError(
            "The 'X' argument must be images or a Dataset. Got a DataLoader instead; pass its attribute 'dataset': "
            "batches are drawn here, by 'batch_size' and 'num_workers'."
        )
    if isinstance(X, Dataset):
        X, labels = open_dataset(X, getattr(estimator, "num_workers", None))
        y = labels if y is None else y
    if hasattr(y, "tolist") and not isinstance(getattr(y, "dtype", None), np.dtype | torch.dtype):
        # pandas' nullable labels, which scikit-learn would make floats, so that 0 is called "0.0"
        plain = np.asarray(y.tolist())
        y = plain if plain.dtype.kind in "iub" else y
    if isinstance(X, StoredImages):
        _check_shape(estimator, X.shape, reset=reset)
        y = _check_stored(estimator, X, y, reset=reset)
        _check_range(estimator, X)
        return X, y
    if isinstance(X, list | tuple) and X and (isinstance(X[0], Image.Image) or np.ndim(X[0]) > 1):
        X = stacked(X)
    if isinstance(X, Tensor):
        X = as_array(X)
    if hasattr(X, "columns") and all(dtype == np.uint8 for dtype in X.dtypes):
        X = X.astype(np.float32) / np.float32(255)  # a data frame, which keeps its names
    if isinstance(y, Tensor):
        y = y.detach().cpu().numpy()
    if hasattr(y, "toarray"):  # a sparse matrix
        y = y.toarray()
    if isinstance(X, np.ndarray) and X.ndim > 4:
        raise ValueError(
            f"The 'X' argument must have shape (n, C, H, W), (n, H, W) or (n, d). Got shape {X.shape} instead. Volumes "
            "can be explained, and trained on with masks of your own: see docs/how_to/own_loop.md."
        )
    if isinstance(X, np.ndarray) and np.issubdtype(X.dtype, np.unsignedinteger):
        X = np.asarray(X, dtype=np.float32) / np.float32(np.iinfo(X.dtype).max)
    shape = X.shape if isinstance(X, np.ndarray) and X.ndim > 2 else None
    if shape is not None:
        _check_shape(estimator, shape, reset=reset)
        # scikit-learn counts features in rows
        X = X.reshape(shape[0], int(np.prod(shape[1:])))
    columns = {"multi_output": True} if _has_findings(estimator, y) else {}
    checked = validate_data(estimator, X, y, reset=reset, dtype=[np.float64, np.float32], **columns)
    images, y = checked if isinstance(checked, tuple) else (checked, None)
    _check_range(estimator, images)
    return images if shape is None else images.reshape(shape), y


def _has_findings(estimator: BaseEstimator, y: Any) -> bool:
    """Whether y holds several findings per image, and the estimator takes such labels."""
    task = getattr(estimator, "task", "multiclass")
    if task not in ("auto", "multilabel") or y is None or isinstance(y, str):
        return False
    return is_multilabel(task, np.shape(np.asarray(y)))


def _check_shape(estimator: BaseEstimator, shape: Sequence[int], *, reset: bool) -> None:
    """Check that images that are not flat are of the shape that was fitted: others may have as many values."""
    natural, fitted = (1,) * (4 - len(shape)) + tuple(shape[1:]), getattr(estimator, "image_shape_", None)
    if not reset and len(shape) > 2 and fitted is not None and natural != fitted:
        name = type(estimator).__name__
        raise ValueError(f"X has images of shape {natural}, but {name} was fitted with {fitted}.")


def _check_range(estimator: BaseEstimator, X: NDArray[Any] | StoredImages) -> None:
    """Check that images which the estimator will normalise were not normalised already, and were scaled."""
    if not getattr(estimator, "_normalises", False):
        return
    images = X[:16] if isinstance(X, StoredImages) else X  # a Dataset of many is not read for it
    low, high = float(images.min()), float(images.max())
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        raise ValueError(
            "The 'X' argument must hold images in [0, 1] where 'preprocess' is given, or read from the module's "
            f"folder, which normalises them. Got values from {low:g} to {high:g}: leave out the normalisation of X, "
            "or pass uint8 or divide by 255."
        )


def _check_stored(estimator: BaseEstimator, X: StoredImages, y: Any, *, reset: bool) -> Any:
    """Do for images that are not in memory what `check_images` does; return the labels."""
    if X.ndim > 4:
        raise ValueError(
            "The 'X' argument must hold images of shape (C, H, W), (H, W) or (d,). Got shape "
            f"{tuple(X.shape[1:])} instead."
        )
    # scikit-learn counts features in rows
    validate_data(estimator, np.zeros((1, math.prod(X.shape[1:]))), reset=reset)
    if isinstance(y, str) and y == "no_validation":
        return None
    X.reader.survey()
    if y is None:
        y = X.labels()
    y = np.asarray(y.detach().cpu() if isinstance(y, Tensor) else y)
    if len(y) != len(X):
        raise ValueError(
            f"The 'y' argument must hold a label for each of {len(X)} images. Got {len(y)} instead."
        )
    return y


def resolve_image_shape(X: NDArray[Any] | StoredImages, image_shape: tuple[int, ...] | None) -> ImageShape:
    """Return (C, H, W) of the images in X.

    Parameters
    ----------
    X : ndarray or StoredImages of shape (n, d), (n, H, W) or (n, C, H, W)
        The images.
    image_shape : tuple of (C, H, W) or (H, W), or None
        How to read flat rows; None reads a row as one line of pixels, (1, 1, d).

    Raises
    ------
    ValueError
        If `image_shape` does not fit X.
    """
    channels, height, width = (1,) * (4 - X.ndim) + tuple(X.shape[1:])
    natural = (channels, height, width)
    if image_shape is None:
        return natural
    shape = tuple(int(side) for side in image_shape)
    channels, height, width = (1, *shape) if len(shape) == 2 else shape if len(shape) == 3 else (0, 0, 0)
    fits = min(channels, height, width) > 0 and channels * height * width == np.prod(natural)
    if not fits or (X.ndim > 2 and (channels, height, width) != natural):
        raise ValueError(
            "The 'image_shape' argument must be (C, H, W) or (H, W) and fit the images. "
            f"Got {shape} for X of shape {tuple(X.shape)} instead."
        )
    return channels, height, width


def as_image_rows(X: NDArray[Any] | StoredImages, image_shape: ImageShape, dtype: torch.dtype) -> ImageRows:
    """Return images of shape (n, C, H, W) that share no memory with an array."""
    if isinstance(X, StoredImages):
        return X.shaped(image_shape, dtype)
    return torch.tensor(np.ascontiguousarray(X).reshape(len(X), *image_shape), dtype=dtype)


def warn_of_unusual_images(X: NDArray[Any] | StoredImages) -> None:
    """Warn of images that do not seem to be (n, C, H, W) and to fill [0, 1], on which the penalty's weight rests."""
    if X.ndim == 4 and X.shape[-1] in (1, 3, 4) and X.shape[1] > 4:
        warn(
            f"The 'X' argument should have shape (n, C, H, W). Got {tuple(X.shape)}, which looks like (n, H, W, C): "
            "transpose it."
        )
    low, high = float(X.min()), float(X.max())
    if -_STANDARDISED < low < -_OVERSHOOT and high < _STANDARDISED:
        warn(
            f"The 'X' argument should hold images in [0, 1]. Got values from {low:g} to {high:g}, which look "
            "standardised. Pass the images in [0, 1], and the constants that were taken off and divided by as "
            "preprocess={'mean': [...], 'std': [...]}; ImageNet's are [0.485, 0.456, 0.406] and [0.229, 0.224, 0.225]. "
            "As they are, each is shown stretched to its own range, and the penalty's weight is for steps of theirs."
        )
    elif low < 0 or high > 1:
        warn(
            f"The 'X' argument should hold images in [0, 1]. Got values from {low:g} to {high:g}; the penalty's weight "
            "depends on that scale. Pass uint8, or divide by 255."
        )
    elif high <= _DARK:
        warn(
            f"The 'X' argument should hold images that fill [0, 1]. Got values from {low:g} to {high:g} (integers are "
            "divided by the largest value of their type): of 10, 12 or 14 bits in uint16, or of 0 and 1 in uint8, "
            "divide by the largest value that there can be."
        )


def encode_labels(y: Any, classes: NDArray[Any] | None = None) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the classes, and each label's number among them.

    Parameters
    ----------
    y : array-like of shape (n,)
        Labels of a classification task.
    classes : ndarray of shape (K,), default=None
        The classes, in any order; None takes those in y, sorted.

    Returns
    -------
    classes : ndarray of shape (K,)
        The classes.
    numbers : ndarray of shape (n,), int64
        ``classes[numbers]`` are the labels.

    Raises
    ------
    ValueError
        If y is not of a classification task, holds one class only, or others than `classes`.
    """
    y = column_or_1d(y, warn=True)
    if classes is None:
        check_classification_targets(y)
        classes = np.unique(y)
        if len(classes) < 2:
            raise ValueError(
                f"The 'y' argument must hold at least two classes. Got one class, {classes.tolist()[0]}, instead."
            )
    try:
        order = np.argsort(classes, kind="stable")
        numbers = order[np.searchsorted(classes, y, sorter=order).clip(0, len(classes) - 1)]
        known = np.array_equal(classes[numbers], y)
    except TypeError:  # labels of a type that cannot be compared with the classes
        known = False
    if not known:
        raise ValueError(
            f"The 'y' argument must hold the classes {classes.tolist()}. Got other ones instead."
        )
    return classes, numbers.astype(np.int64)


def check_image_ids(image_ids: Sequence[str] | None, n: int) -> tuple[str, ...]:
    """Return one name per image; their numbers when no names are given.

    Raises
    ------
    ValueError
        If their number is not n, or one comes twice.
    """
    if image_ids is None:
        return tuple(str(i) for i in range(n))
    names = tuple(str(name) for name in image_ids)
    if len(names) != n:
        raise ValueError(
            f"The 'image_ids' argument must hold one name per image, {n}. Got {len(names)} instead."
        )
    if len(set(names)) < n:
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise ValueError(f"The 'image_ids' argument must hold different names. Got {twice!r} twice instead.")
    return names


def draw_seed(random_state: Any, *, kept: bool) -> int:
    """Return the seed of a run, from scikit-learn's ``random_state``.

    Parameters
    ----------
    random_state : int, RandomState instance or None
        What the user passed.
    kept : bool
        Whether results are kept in a run directory.

    Raises
    ------
    ValueError
        If results are kept and the seed would be another one next time.
    """
    if kept and not isinstance(random_state, Integral):
        raise ValueError(
            "The 'random_state' argument must be an integer where 'run_dir' is given, or nothing in that folder could "
            f"be found again. Got {random_state!r} instead."
        )
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def image_keys(X: Any) -> list[str]:
    """Return a key for each image's pixels: the same for all types and shapes in which it may come."""
    images, _ = check_images(BaseEstimator(), X, reset=True)
    # + 0: one zero, not two.
    pixels = np.ascontiguousarray(images.reshape(len(images), -1), dtype=np.float32) + np.float32(0)
    return [hashlib.sha256(row.data).hexdigest() for row in pixels]
