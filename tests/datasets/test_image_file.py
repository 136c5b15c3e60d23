"""Image files of all kinds, through the folders that they lie in."""

import struct

import numpy as np
import pytest
from PIL import Image

from lvlm_va.datasets import open_image_folder
from tests.datasets.folders import RED, halves, load, save, write


def test_one_window_for_all_splits(tmp_path):
    """A marker, of one thousandth of the pixels or less, does not change what the others become."""
    for i, (black, white) in enumerate(((0, 1000), (500, 1000), (0, 2000))):
        values = halves(black, white, 64, 64, np.uint16)
        values[0, 0] = 60_000 * (i == 0)
        save(tmp_path / f"{i}.png", values)
    write(tmp_path, "path,label,split", "0.png,a,train", "1.png,b,train", "2.png,a,test")
    whole = load(tmp_path, mode="L", size=(64, 64))
    assert whole.window == (0, 2000)
    assert whole.images[:, 0, 9, [0, -1]].tolist() == [[0, 128], [64, 128], [0, 255]]
    for split, rows in (("train", [0, 1]), ("test", [2])):
        assert (load(tmp_path, mode="L", size=(64, 64), split=split).images == whole.images[rows]).all()
    given = load(tmp_path, mode="L", size=(64, 64), window=(500, 1000))
    assert given.images[:, 0, 9, [0, -1]].tolist() == [[0, 255]] * 3

    save(tmp_path / "8bit.png", halves(0, 255))
    write(tmp_path, "path,label", "8bit.png,a")
    assert load(tmp_path).window is None


@pytest.mark.parametrize(("mark", "window"), [(65535, (0, 4000)), (0, (2000, 4000))])
def test_a_large_mark_or_border_far_from_all_else_does_not_count(tmp_path, mark, window):
    """A saturated tag, or an empty border, on a quarter of the pixels leaves the contrast to the others."""
    for i in range(4):
        values = halves(2000 if mark == 0 else 0, 4000, 64, 64, np.uint16)
        values[:, 1:33] = (values[:, 1:33] + np.linspace(0, 200, 32)).clip(*window)
        if mark == 0:
            values += 20_000  # far from the border, too
        values[:32, :32] = mark
        save(tmp_path / f"{i}.png", values)
    write(tmp_path, "path,label", *(f"{i}.png,a" for i in range(4)))
    found = load(tmp_path, mode="L", size=(64, 64)).window
    assert found == tuple(end + 20_000 * (mark == 0) for end in window)


def test_a_deep_image_that_no_window_was_taken_for_is_named(root):
    folder = open_image_folder(root, image_size=(6, 8))
    save(root / "a.png", halves(0, 300, dtype=np.uint16))
    with pytest.raises(ValueError, match=r"a\.png: .* more than 8 bits.* pass window=\(black, white\)"):
        folder[0]


def palette(colour, **options):
    """An image of one colour, which its palette holds at 1."""
    image = Image.new("P", (8, 6), 1)
    image.putpalette([0, 0, 0, *colour])
    return image, options


@pytest.mark.parametrize(
    ("image", "options"),
    [
        palette(RED),
        palette(RED, transparency=b"\xff\x00"),
        palette(RED, transparency=0),
        (Image.new("RGBA", (8, 6), (*RED, 0)), {}),
        (Image.new("CMYK", (8, 6), (*(255 - RED).tolist(), 0)), {}),
    ],
    ids=["palette", "transparent entries", "transparent entry", "transparent", "inks"],
)
def test_colours_are_those_of_the_file(tmp_path, image, options):
    (tmp_path / "c").mkdir()
    image.save(tmp_path / "c" / ("a.tif" if image.mode == "CMYK" else "a.png"), **options)
    assert (load(tmp_path, None).images[0] == RED[:, None, None]).all()
    grey = load(tmp_path, None, mode="L").images
    assert (grey == grey[0, 0, 0, 0]).all()
    assert abs(int(grey[0, 0, 0, 0]) - 69) <= 1


def test_a_dark_colour_is_no_black_of_a_mask(root):
    mask = np.zeros((6, 8, 3), np.uint8)
    mask[:, 4:] = (0, 0, 1)
    save(root / "masks" / "b.png", mask)
    assert (load(root).masks[1] == halves(False, True, dtype=bool)).all()


def test_only_the_named_formats_are_opened(root):
    (root / "a.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 6\n%%EndComments\nshowpage\n%%EOF\n"
    )
    with pytest.raises(
        ValueError, match=r"labels\.csv, line 2, path: .*a\.png: .*\(cannot identify image file"
    ):
        load(root)


def test_too_many_pixels_are_refused_before_they_are_decoded(root):
    header = (
        b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 9000, 9000, 1, 24, *[0] * 6)
    )
    (root / "a.png").write_bytes(header)  # without a single pixel
    with pytest.raises(ValueError, match=r"a\.png: .* has 9,000 x 9,000 pixels; of more than 67,108,864"):
        load(root)
