"""Images with a decoy: a grey patch in a corner that tells the class in training, but not in the test."""

from __future__ import annotations

import os
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from lvlm_va.common.errors import unknown_name
from lvlm_va.common.validation import check_integer, is_integer
from lvlm_va.datasets.idx import Split, read_idx_folder
from lvlm_va.datasets.types import DecoyData

Variant = Literal["ross", "cdep"]

_PATCH_SIZE: dict[Variant, int] = {"ross": 4, "cdep": 5}


def decoy_mnist(
    data_dir: str | os.PathLike[str],
    variant: Variant = "ross",
    split: Split = "train",
    random_state: int = 0,
    limit: int | None = None,
) -> DecoyData:
    """Return Decoy-MNIST, or its like made from any folder of idx files with ten classes.

    Two definitions are in use; their published figures must not be mixed.

    =======  =====  ===========  ==================================  ======================
    variant  patch  train shade  test shade                          mask
    =======  =====  ===========  ==================================  ======================
    "ross"   4x4    255 - 25 y   255 - 25 d, d uniform on {0, .. 9}  the patch of the image
    "cdep"   5x5    255 - 25 y   25 y                                all four corners
    =======  =====  ===========  ==================================  ======================

    y is the label, a shade a grey value out of 255.

    The corner is drawn anew for each image, each axis with probability 1/2. A test shade of Ross's agrees
    with the label by chance in a tenth of the images, one of CDEP's never. Groups say so: ``"3/agrees"`` where the
    patch of an image of class 3 has the shade that class 3 has in training, ``"3/conflicts"`` where it has
    another; all training images agree.

    Parameters
    ----------
    data_dir : str or path-like
        Folder with the idx files, gzipped or not; nothing is downloaded.
    variant : {"ross", "cdep"}, default="ross"
        Ross et al. 2017 (arXiv 1703.03717) or Rieger et al. 2020 (arXiv 1909.13584).
    split : {"train", "test"}, default="train"
        Which files are read, and which shades their patches have.
    random_state : int, default=0
        Seed of corners and shades; train and test draw from independent streams.
    limit : int or None, default=None
        Take the first images only. Their decoys are the same as without a limit.

    Returns
    -------
    DecoyData
        Images, labels, masks and groups.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    TypeError, ValueError
        If `variant`, `split`, `random_state` or `limit` is unknown or out of range, or a file is not as it
        should be.
    """
    if variant not in get_args(Variant):
        raise unknown_name("variant", variant, get_args(Variant))
    _check_split_and_seed(split, random_state)
    if limit is not None:
        check_integer("limit", limit, 1, expected="None or at least 1")
    images, labels = read_idx_folder(data_dir, split)
    if labels.max(initial=0) > 9:
        raise ValueError(
            "The 'data_dir' argument must hold images of at most ten classes, 0 to 9, for which the ten "
            f"shades last. Got a label of {labels.max()} in {data_dir} instead."
        )
    if min(images.shape[1:]) < 2 * _PATCH_SIZE[variant]:
        raise ValueError(
            f"The 'data_dir' argument must hold images of at least {2 * _PATCH_SIZE[variant]} pixels in "
            f"height and width, so that the corners do not touch. Got {images.shape[1]}x{images.shape[2]} "
            "instead."
        )
    return _decoyed(images, labels.astype(np.int64), variant, split, random_state, limit)


def decoy_digits(split: Split = "train", random_state: int = 0) -> DecoyData:
    """Return scikit-learn's handwritten digits with Ross's decoy, at MNIST's size and without a download.

    The 1,797 digits of 8x8 pixels are enlarged (bilinear) to 20x20 and set into a black border of 4 pixels,
    so that the 4x4 patch covers no part of the figure. The split is fixed: 1,078 training and 719 test
    images, stratified by class.

    Parameters
    ----------
    split : {"train", "test"}, default="train"
        Training images, whose patches tell the class, or test images, whose patches are drawn at random.
    random_state : int, default=0
        Seed of corners and test shades.

    Returns
    -------
    DecoyData
        Images of 28x28 pixels, labels, masks and groups, as from :func:`decoy_mnist`.

    Raises
    ------
    TypeError, ValueError
        If `split` is unknown, or `random_state` is not an integer or negative.

    Examples
    --------
    >>> train, test = decoy_digits("train"), decoy_digits("test")
    >>> train.images.shape, test.images.shape
    ((1078, 1, 28, 28), (719, 1, 28, 28))
    >>> str(train.groups[0]).endswith("agrees")
    True
    """
    _check_split_and_seed(split, random_state)
    small, labels = load_digits(return_X_y=True)
    rows = train_test_split(np.arange(len(labels)), test_size=0.4, stratify=labels, random_state=0)
    chosen = rows[("train", "test").index(split)]
    images = np.zeros((len(chosen), 28, 28), np.uint8)
    for image, row in zip(images, chosen, strict=True):
        grey = Image.fromarray((small[row].reshape(8, 8) * (255 / 16)).astype(np.float32))
        image[4:24, 4:24] = np.rint(np.asarray(grey.resize((20, 20), Image.Resampling.BILINEAR)))
    return _decoyed(images, labels[chosen].astype(np.int64), "ross", split, random_state, None)


def _check_split_and_seed(split: str, random_state: object) -> None:
    if split not in get_args(Split):
        raise unknown_name("split", split, get_args(Split))
    check_integer("random_state", random_state)
    if not is_integer(random_state, 0):
        raise ValueError(f"The 'random_state' argument must not be negative. Got {random_state} instead.")


def _decoyed(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    variant: Variant,
    split: Split,
    random_state: int,
    limit: int | None,
) -> DecoyData:
    # Drawn for all images, then cut: the decoy of an image does not depend on the limit.
    rng = np.random.default_rng([random_state, get_args(Split).index(split)])
    corners = rng.integers(0, 2, size=(len(labels), 2))[:limit]
    drawn = rng.integers(0, 10, size=len(labels))[:limit]
    images, labels = images[:limit].copy(), labels[:limit]
    objects = images > 0  # before the patch is laid over them

    own = 255 - 25 * labels
    redrawn = 255 - 25 * drawn if variant == "ross" else 25 * labels
    shades = own if split == "train" else redrawn
    size = _PATCH_SIZE[variant]
    far = np.array(images.shape[1:]) - size
    patches = np.zeros(images.shape, bool)
    for patch, (top, left) in zip(patches, corners * far, strict=True):
        patch[top : top + size, left : left + size] = True
    images[patches] = np.repeat(shades, size * size)

    masks = patches
    if variant == "cdep":
        rows, columns = (np.r_[:size, length - size : length] for length in images.shape[1:])
        masks = np.zeros(images.shape, bool)
        masks[:, rows[:, None], columns] = True
    agrees = np.where(shades == own, "agrees", "conflicts")
    groups = np.array([f"{label}/{word}" for label, word in zip(labels, agrees, strict=True)])
    grey = np.divide(images[:, None], 255, dtype=np.float32)
    return DecoyData(grey, labels, masks, groups, objects)
