"""Folders of images with their table."""

import itertools

import numpy as np
import pytest
from PIL import Image

from lvlm_va.datasets import open_image_folder
from tests.datasets.folders import RED, halves, load, save, write


def test_everything_a_table_can_say(root):
    data = load(root)
    assert (data.images.shape, data.images.dtype) == ((2, 3, 6, 8), np.uint8)
    assert (data.images[0] == RED[:, None, None]).all()
    assert (data.images[1] == halves(0, 255)).all()
    assert data.labels.tolist() == ["cat", "dog"]
    assert data.groups.tolist() == ["cat/tag", "dog/none"]
    assert data.splits.tolist() == ["train", "test"]
    assert data.image_ids == ("a.png", "sub/b.png")
    assert not data.masks[0].any()
    assert (data.masks[1] == halves(False, True, dtype=bool)).all()


def test_images_that_stay_in_their_files(root):
    data, folder = load(root), open_image_folder(root, image_size=(6, 8))
    assert len(folder) == 2
    for i, (image, label) in enumerate(folder):
        assert (image == data.images[i]).all()
        assert label == data.labels[i]
    assert (folder.read_masks() == data.masks).all()
    dog = folder.select(np.array([False, True]))
    assert (dog.image_ids, dog.splits.tolist(), dog[0][1]) == (("sub/b.png",), ["test"], "dog")
    (root / "a.png").write_bytes(b"nothing")
    assert dog.read_masks().any()
    with pytest.raises(ValueError, match=r"labels.csv, line 2, path: .*a.png: cannot be read as an image"):
        folder[0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_fits_its_image_whichever_way_that_was_held(root, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(root / "sub" / "b.png", halves(0, 255), exif=exif)
    upright = halves(0, 1) if orientation < 5 else halves(0, 1).T
    save(root / "masks" / "b.png", upright)
    assert (load(root, size=upright.shape).masks[1] == upright).all()


def test_only_paths_and_labels(root):
    write(root, " path , label ", "", '"a.png", cat ', encoding="utf-8-sig")  # as Excel and people write it
    data = load(root, mode="L")
    assert data.images.shape == (1, 1, 6, 8)
    assert (data.images == round(0.299 * 200 + 0.587 * 10 + 0.114 * 30)).all()
    assert data.labels.tolist() == ["cat"]
    assert (data.groups, data.splits, data.masks) == (None, None, None)


def test_a_split(root):
    data = load(root, split="test")
    assert data.image_ids == ("sub/b.png",)
    assert data.masks.any()
    with pytest.raises(ValueError, match=r"'split' argument must be one of .*Did you mean 'test'"):
        load(root, split="tset")
    write(root, "path,label", "a.png,cat")
    with pytest.raises(ValueError, match="'split' argument must be None where there is no column of splits"):
        load(root, split="test")


def test_isic(tmp_path):
    """One-hot labels, names without their extension, the table outside the folder of images."""
    for name in ("ISIC_1", "ISIC_2"):
        save(tmp_path / "images" / f"{name}.jpg", np.tile(RED, (16, 16, 1)), quality=95)
    write(tmp_path, "image,MEL,NV", "ISIC_1,1.0,0.0", "ISIC_2,0.0,1.0", name="truth.csv")
    options = {"columns": {"path": "image", "label": ["MEL", "NV"]}, "extension": ".jpg"}
    data = load(tmp_path / "images", "../truth.csv", **options)
    assert data.labels.tolist() == ["MEL", "NV"]
    assert data.image_ids == ("ISIC_1.jpg", "ISIC_2.jpg")
    assert data.images.std(axis=(2, 3)).max() < 5
    for cells, message in (
        ("1,1", r"exactly one .* must be 1. Got \['MEL', 'NV'\]"),
        ("0,x", "'NV' must be 0 or 1"),
    ):
        write(tmp_path, "image,MEL,NV", f"ISIC_1,{cells}", name="truth.csv")
        with pytest.raises(ValueError, match=f"truth.csv, line 2: .*{message}"):
            load(tmp_path / "images", tmp_path / "truth.csv", **options)


def test_knees(tmp_path):
    """16-bit grey, of which 12 bits are used, in one folder per grade and without a table."""
    save(tmp_path / "0" / "9001.png", halves(0, 4080, dtype=np.uint16))
    save(tmp_path / "4" / "9002.png", halves(16, 16, dtype=np.uint16))
    (tmp_path / "4" / "notes.txt").write_text("no image")
    data = load(tmp_path, None, mode="L")
    assert data.labels.tolist() == ["0", "4"]
    assert data.image_ids == ("0/9001.png", "4/9002.png")
    assert (data.images[0, 0] == halves(0, 255)).all()
    assert (data.images[1] == 1).all()  # one window for all: what is darker stays darker
    assert (load(tmp_path, None).images == data.images).all()  # colour repeats the grey

    write(tmp_path, "path,label,split", "0/9001.png,0,train", "4/9002.png,4,test")
    assert (load(tmp_path, mode="L", split="test").images == data.images[1:]).all()
    with pytest.raises(
        ValueError, match="'columns', 'extension', 'classes' and 'findings' arguments must be left out"
    ):
        load(tmp_path, None, extension=".png")
    save(tmp_path / "loose.png", halves(0, 1))
    with pytest.raises(
        ValueError, match=r"one folder per class .* 1 images outside of any, such as loose\.png"
    ):
        load(tmp_path, None)


def test_resizing(tmp_path):
    """Antialiased images, nearest masks, and the aspect goes."""
    stripes = np.zeros((40, 40), np.uint8)
    stripes[:, ::2] = 254
    save(tmp_path / "c" / "stripes.png", stripes)
    inside = load(tmp_path, None, size=(5, 10)).images[..., 1:-1]
    assert ((inside >= 126) & (inside <= 128)).all()
    save(tmp_path / "mask.png", halves(0, 255, 40, 40))
    write(tmp_path, "path,label,mask_path", "c/stripes.png,c,mask.png")
    assert (load(tmp_path, size=(4, 6)).masks[0] == halves(False, True, 4, 6, bool)).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("fit", "seen"), [("stretch", (0, 16, 4, 12)), ("pad", (4, 12, 4, 12)), ("crop", (0, 16, 0, 16))]
)
@pytest.mark.parametrize("upright", [False, True])
def test_images_of_another_aspect(tmp_path, dtype, fit, seen, upright):
    """The bright middle half of an image twice as long as it is wide, and the mask of just that."""
    image = np.zeros((32, 64), dtype)
    image[:, 16:48] = np.iinfo(dtype).max
    expected = np.zeros((16, 16), bool)
    expected[seen[0] : seen[1], seen[2] : seen[3]] = True
    if upright:
        image, expected = image.T, expected.T
    save(tmp_path / "a.png", np.ascontiguousarray(image))
    save(tmp_path / "mask.png", np.ascontiguousarray((image > 0).astype(np.uint8)))
    write(tmp_path, "path,label,mask_path", "a.png,c,mask.png")
    data = load(tmp_path, size=(16, 16), fit=fit, window=(0, 65535))
    assert ((data.images[0] > 127) == expected).all()
    assert (data.masks[0] == expected).all()
    folder = open_image_folder(tmp_path, image_size=(16, 16), fit=fit, window=(0, 65535))
    assert (folder.select(np.array([True]))[0][0] == data.images[0]).all()


def test_exif_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    sideways = np.zeros((8, 16), np.uint8)
    sideways[:, :8] = 255
    save(tmp_path / "c" / "a.jpg", sideways, exif=exif, quality=95)
    image = load(tmp_path, None, size=(16, 8), mode="L").images[0, 0]
    assert image[:8].min() > 200
    assert image[8:].max() < 50


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_masks_in_every_mode(root, mode):
    mask = halves(0, 1)
    if mode == "1":
        image = Image.fromarray(mask.astype(bool))
    elif mode == "P":
        image = Image.fromarray(mask).convert("L")
        image.putpalette([0, 0, 0, 9, 9, 9])
    elif mode == "I;16":
        image = Image.fromarray(mask.astype(np.uint16))
    else:
        image = Image.fromarray(mask * 255).convert(mode)
    image.save(root / "masks" / "b.png")
    assert (load(root).masks[1] == mask).all()


def test_patients_are_told_from_groups(root):
    write(root, "path,label,group,patient", "a.png,cat,tag,7", "sub/b.png,dog,none,")
    data = load(root)
    assert (data.groups.tolist(), data.patients.tolist()) == (["tag", "none"], ["7", ""])
    data = load(root, columns={"patient": "group"})
    assert (data.groups, data.patients.tolist()) == (None, ["tag", "none"])
    rows = [f"{i}.png,cat,{i // 2}" for i in range(60)]
    for i in range(60):
        save(root / f"{i}.png", halves(0, 1))
    write(root, "path,label,group", *rows)
    with pytest.warns(
        UserWarning, match=r"labels\.csv: has 30 groups of 60 images.*columns=\{'patient': ...\}"
    ):
        load(root)
    assert load(root, columns={"patient": "group"}).groups is None


# Errors.


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["path,klass", "a.png,cat"],
            r"no column \['label'\] for the label. Its .* \['path', 'klass'\]. .* columns=\{'label': ...\}",
        ),
        (["path,label,label", "a.png,cat,cat"], "two columns called 'label'"),
        (["path,label"], "no rows below its header"),
        ([""], "has no column"),
        (["path,label", "a.png,cat,extra"], "line 2: has 3 cells. The header has 2"),
        (["path,label", "a.png"], "line 2: has 1 cells"),
        (["path,label", "", "a.png, "], "line 3: the column 'label' is empty"),
        (["path,label", ",cat"], "line 2: the column 'path' is empty"),
        (["path,label,group", "a.png,cat,"], "line 2: the column 'group' is empty"),
        (["path,label", "a.png,cat", "./a.png,dog"], "line 3: lists 'a.png' again, after line 2"),
        (["path,label", "../a.png,cat"], "line 2: the column 'path' must hold paths below the root"),
        (["path,label", "sub/../../a.png,cat"], "line 2: .* paths below the root"),
        (["path,label", "/etc/passwd,cat"], "line 2: .* paths below the root folder. Got '/etc/passwd'"),
        (
            ["path,label,mask_path", "a.png,cat,../m.png"],
            "line 2: the column 'mask_path' must hold paths below",
        ),
        (["path,label", "labels.csv,cat"], "line 2, path: .*labels.csv: cannot be read as an image"),
        (["path,label", "..\\a.png,cat"], "line 2: .* paths below the root"),
        (["path,label", "C:\\scans\\a.png,cat"], "line 2: .* paths below the root"),
        (["path,label,mask_path", "a.png,cat,labels.csv"], "line 2, mask_path: .*labels.csv: cannot be read"),
        (["path,label", 'a.png,"cat'], "line 2: not a CSV table"),
        (["path,label", "a.png,cat", "sub/b.png,cat\0"], "line 3: not a CSV table: it holds a NUL"),
    ],
)
def test_every_error_names_file_line_and_column(root, lines, message):
    write(root, *lines)
    with pytest.raises(ValueError, match=f"labels.csv.*{message}"):
        load(root)


def test_a_mask_must_have_the_size_of_its_image(root):
    save(root / "masks" / "b.png", halves(0, 1, 3, 4))
    with pytest.raises(
        ValueError, match=r"line 3, mask_path: .*b\.png: must have the size of its image, 6x8 .* 3x4"
    ):
        load(root)


def test_missing_files_are_counted_and_the_first_named(root):
    write(root, "path,label,mask_path", *[f"x{i}.png,cat,m{i}.png" for i in range(10)])
    with pytest.raises(
        FileNotFoundError, match=r"20 of its .* x0.png \(line 2\), m0.png .* x2.png \(line 4\), \.\.\."
    ):
        load(root)
    write(root, "path,label", "a.png,cat", "9" * 5000 + ",cat")  # longer than a path can be
    with pytest.raises(FileNotFoundError, match=r"labels\.csv: 1 of its images .*9 \(line 3\)"):
        load(root)


def test_truncated_images_are_named(root):
    data = (root / "a.png").read_bytes()
    (root / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"labels\.csv, line 2, path: .*a\.png: cannot be read as an image"):
        load(root)


def test_tables_as_spreadsheets_write_them(root):
    for encoding, separator in itertools.product(("utf-8", "utf-8-sig", "utf-16"), ",;\t"):
        lines = [
            ["path", "label", "notes"],
            ["sub\\b.png", "Bär", '"1,5; 2\t' + "7 " * 70_000 + '"'],
            ["", "", ""],
        ]
        write(root, *map(separator.join, lines), encoding=encoding)
        data = load(root)
        assert (data.image_ids, data.labels.tolist()) == (("sub/b.png",), ["Bär"])
    write(root, "path;MEL;NV", "a.png;1,0;0,0")
    assert load(root, columns={"label": ["MEL", "NV"]}).labels.tolist() == ["MEL"]


@pytest.mark.parametrize("separator", ",;\t")
def test_quotation_marks_behind_a_space(root, separator):
    lines = ['"path"', '"label"'], ["a.png", f'"cat{separator} old"'], ["sub/b.png", '"dog"']
    write(root, *map(f"{separator} ".join, lines))
    assert load(root).labels.tolist() == [f"cat{separator} old", "dog"]


@pytest.mark.parametrize("name", ["Split", "\ufeffsplit", "SPLIT?"])
def test_a_column_whose_name_is_not_quite_right_is_not_left_out_silently(root, name):
    write(root, f"{name},path,label", "train,a.png,cat", "test,sub/b.png,dog", encoding="utf-16")
    with pytest.warns(UserWarning, match=r"labels\.csv: the column .* is not read.*columns=\{'split': "):
        assert load(root).splits is None
    assert load(root, columns={"split": name}).splits.tolist() == ["train", "test"]
    assert load(root, columns={"group": name}).groups.tolist() == ["train", "test"]


def test_tables_of_unknown_encoding(root):
    write(root, "path;label", "a.png;cat", "sub/b.png;Bär", encoding="cp1252")
    with pytest.warns(UserWarning, match=r"labels\.csv, line 3: is not in UTF-8"):
        assert load(root).labels.tolist() == ["cat", "Bär"]
    (root / "labels.csv").write_bytes(b"path,label\na.png,\x81\n")
    with pytest.raises(ValueError, match=r"line 2: not a CSV table in UTF-8.*Save it as 'CSV UTF-8'"):
        load(root)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": 224}, ValueError, r"'image_size' argument must be a pair \(height, width\).* Got 224"),
        ({"size": (0, 224)}, ValueError, "'image_size' argument must be a pair"),
        ({"mode": "rgb"}, ValueError, "'mode' argument must be one of .*'RGB'"),
        (
            {"columns": {"labels": "klass"}},
            ValueError,
            "'columns' argument must be one of .*Did you mean 'label'",
        ),
        ({"columns": {"group": "grp"}}, ValueError, r"has no column \['grp'\] for the group"),
        ({"window": (9, 9)}, ValueError, r"'window' argument must be a pair \(black, white\)"),
        ({"fit": "cut"}, ValueError, "'fit' argument must be one of .*crop"),
        ({"window": 9}, ValueError, r"'window' argument must be a pair"),
        ({"columns": {"label": []}}, ValueError, "for the label"),
        (
            {"columns": {"path": ["path", "label"]}},
            ValueError,
            "'columns' argument must name one column for 'path'",
        ),
    ],
)
def test_wrong_arguments(root, options, error, message):
    with pytest.raises(error, match=message):
        load(root, **options)


def test_missing_folders_and_tables(tmp_path):
    with pytest.raises(FileNotFoundError, match="'root' argument must be a folder"):
        load(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"labels\.csv"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match="'root' argument must hold images"):
        load(tmp_path, None)
