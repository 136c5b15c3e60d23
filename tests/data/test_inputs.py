"""What users pass as X: the values that nets get, or a clear error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import BaseEstimator
from torch.utils.data import DataLoader, TensorDataset

from lvlm_va.data.inputs import check_images, warn_of_unusual_images

COLOURS = np.random.default_rng(0).integers(0, 256, (3, 6, 5, 3), np.uint8)


def read(X: Any) -> Any:
    return check_images(BaseEstimator(), X, reset=True)[0]


class Items(torch.utils.data.Dataset[Any]):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


def with_palette(pixels: np.ndarray, **info: Any) -> Image.Image:
    """The same image, whose 30 pixels each have an entry of the palette."""
    image = Image.fromarray(np.arange(30, dtype=np.uint8).reshape(6, 5)).convert("P")
    image.putpalette(pixels.tobytes())
    image.info.update(info)
    return image


def in_inks(pixels: np.ndarray) -> Image.Image:
    return Image.merge("CMYK", [*Image.fromarray(255 - pixels).split(), Image.new("L", (5, 6))])


def sideways(pixels: np.ndarray) -> Image.Image:
    image = Image.fromarray(np.rot90(pixels))
    image.getexif()[0x0112] = 6  # to be turned by 90 degrees clockwise
    return image


@pytest.mark.parametrize(
    "make",
    [
        Image.fromarray,
        with_palette,
        lambda pixels: with_palette(pixels, transparency=bytes(30)),
        lambda pixels: with_palette(pixels, transparency=3),
        in_inks,
        sideways,
    ],
    ids=["RGB", "palette", "transparent entries", "transparent entry", "inks", "sideways"],
)
@pytest.mark.parametrize("kind", [list, Items])
def test_pillow_images_are_read_as_they_are_seen(make: Any, kind: Any) -> None:
    found = read(kind([make(pixels) for pixels in COLOURS]))
    np.testing.assert_array_equal(found, np.float32(COLOURS.transpose(0, 3, 1, 2)) / np.float32(255))


@pytest.mark.parametrize("kind", [list, Items])
@pytest.mark.parametrize(
    ("items", "error", "message"),
    [
        # Together they would be scaled as one type.
        (
            [Image.new("L", (5, 6), 255), Image.fromarray(np.full((6, 5), 4095, np.uint16))],
            ValueError,
            r"images of one type. Got types \['uint16', 'uint8'\]",
        ),
        ([Image.new("RGB", (5, 6)), Image.new("L", (5, 6))], ValueError, "images of one shape"),
        ([np.zeros((3, 6, 5)), "scan.png"], TypeError, "Pillow images. Got str instead"),
    ],
)
def test_images_that_do_not_go_together(kind: Any, items: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        read(kind(items))


def test_what_holds_no_images_is_named() -> None:
    images = torch.zeros(4, 1, 6, 5)
    with pytest.raises(TypeError, match="Got a DataLoader instead; pass its attribute 'dataset'"):
        read(DataLoader(TensorDataset(images)))
    with pytest.raises(TypeError, match=r"images, or \(image, label\) pairs.* Got dict with the keys"):
        read(Items([{"image": image} for image in images]))


@pytest.mark.parametrize(
    ("dtype", "largest"), [(np.uint16, 1023), (np.uint16, 4095), (np.uint16, 16383), (np.uint8, 1)]
)
def test_integers_that_do_not_use_their_type_are_said(dtype: Any, largest: int) -> None:
    values = np.linspace(0, largest, 120).astype(dtype).reshape(4, 1, 6, 5)
    with pytest.warns(
        UserWarning, match=r"should hold images that fill \[0, 1\]. Got values from 0 to 0\.\d+ .*12"
    ):
        warn_of_unusual_images(read(values))
    warn_of_unusual_images(read(values / np.float32(largest)))
