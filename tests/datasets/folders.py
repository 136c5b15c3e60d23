"""Make folders of images, and load them."""

import numpy as np
from PIL import Image

from lvlm_va.datasets import load_image_folder

RED = np.array([200, 10, 30], np.uint8)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path, **options)


def halves(left, right, height=6, width=8, dtype=np.uint8):
    """An image whose left half has one value and whose right half has another."""
    array = np.full((height, width), left, dtype)
    array[:, width // 2 :] = right
    return array


def write(root, *lines, name="labels.csv", encoding="utf-8"):
    (root / name).write_text("\n".join(lines) + "\n", encoding=encoding)


def load(root, *args, size=(6, 8), **options):
    return load_image_folder(root, *args, image_size=size, **options)
