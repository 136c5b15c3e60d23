"""Fashion-MNIST with a decoy."""

from __future__ import annotations

import os

from lvlm_va.datasets.decoy import Variant, decoy_mnist
from lvlm_va.datasets.idx import Split
from lvlm_va.datasets.types import DecoyData

FASHION_CLASSES = (
    "T-shirt",
    "trousers",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
_WHAT_COUNTS = (
    "a top with short sleeves and no buttons, about as long as wide",
    "two legs side by side, joined at the waist",
    "a top with long sleeves and no opening in front",
    "a narrow piece from the shoulders to below the knees, wider at its hem",
    "a long-sleeved piece with an opening down its front and a collar or hood",
    "an open shoe of straps, with gaps through which the background shows",
    "a top with a collar or buttons, mostly thin and with sleeves",
    "a low, closed shoe with a flat sole",
    "a box or pouch, often with a handle or strap above it",
    "a closed shoe with a shaft that covers the ankle",
)
FASHION_SPECIFICATIONS = {
    number: (
        f"{name}: {what}. Only the shape and the surface of the piece of clothing may count. A small square of "
        "one grey in a corner, and the black background, must not count."
    )
    for number, (name, what) in enumerate(zip(FASHION_CLASSES, _WHAT_COUNTS, strict=True))
}


def decoy_fashion_mnist(
    data_dir: str | os.PathLike[str],
    variant: Variant = "ross",
    split: Split = "train",
    random_state: int = 0,
    limit: int | None = None,
) -> DecoyData:
    """Return Decoy-Fashion-MNIST: pieces of clothing with a grey patch in a corner.

    The patch, its corners and shades are those of :func:`decoy_mnist`. Unlike digits, clothing often reaches into a
    corner, where the patch then covers some of it.

    Parameters
    ----------
    data_dir : str or path-like
        Folder with Fashion-MNIST's idx files, gzipped or not; nothing is downloaded. The Debian package
        ``dataset-fashion-mnist`` brings them.
    variant : {"ross", "cdep"}, default="ross"
        Which definition of patch, shades and mask.
    split : {"train", "test"}, default="train"
        Which files are read, and which shades their patches have.
    random_state : int, default=0
        Seed of corners and shades.
    limit : int or None, default=None
        Take the first images only.

    Returns
    -------
    DecoyData
        Images, labels, masks and groups such as ``"3/agrees"``; `FASHION_CLASSES` names the labels.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        As :func:`decoy_mnist` does.
    """
    return decoy_mnist(data_dir, variant, split, random_state, limit)
