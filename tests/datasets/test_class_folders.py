"""Folders of images without a table: what is a class, what a split, and what neither."""

import pytest

from tests.datasets.folders import halves, load, save


def tree(root, *names):
    for name in names:
        save(root / name, halves(0, 255))
    return load(root, None)


def test_links_are_followed_and_what_tools_leave_is_left_out(tmp_path):
    tree(tmp_path / "store", "cat/a.png")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "cat").symlink_to(tmp_path / "store" / "cat")
    (tmp_path / "root" / "__MACOSX" / "cat").mkdir(parents=True)
    (tmp_path / "root" / "__MACOSX" / "cat" / "._a.png").write_bytes(b"\0\5\x16\7")
    data = tree(
        tmp_path / "root",
        "dog/b.gif",
        "dog/.ipynb_checkpoints/b.png",
        ".git/c.png",
        "dog/@eaDir/b.png/thumb.png",
    )
    assert data.image_ids == ("cat/a.png", "dog/b.gif")


def test_folders_of_splits(tmp_path):
    data = tree(tmp_path, "train/cat/a.png", "train/dog/a.png", "Validation/cat/b.png", "test/dog/c.png")
    assert dict(zip(data.image_ids, zip(data.labels, data.splits, strict=True), strict=True)) == {
        "train/cat/a.png": ("cat", "train"),
        "train/dog/a.png": ("dog", "train"),
        "Validation/cat/b.png": ("cat", "Validation"),
        "test/dog/c.png": ("dog", "test"),
    }
    assert load(tmp_path, None, split="test").image_ids == ("test/dog/c.png",)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["cat/a.png", "test/dog/b.png"],
            "folder per split, or a folder per class. Got both, such as test and cat",
        ),
        (["train/a.png", "test/b.png"], r"called as splits are, \['test', 'train'\]"),
        (["cat/a.png", "cat/more/b.png"], r"cat: holds images, such as a\.png, and folders of images"),
    ],
)
def test_what_is_a_class_must_be_clear(tmp_path, names, message):
    with pytest.raises(ValueError, match=message):
        tree(tmp_path, *names)


def test_no_class_is_lost(tmp_path):
    tree(tmp_path, "cat/a.png")
    (tmp_path / "cat" / "notes").mkdir()
    load(tmp_path, None)
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "scan.nii").write_bytes(b"")
    with pytest.raises(ValueError, match="dog: holds no image, so its class would be lost"):
        load(tmp_path, None)
    (tmp_path / "dog" / "scan.nii").unlink()
    (tmp_path / "dog").rmdir()
    (tmp_path / "dog").symlink_to(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match=r"dog: is a link to .*gone, which does not exist"):
        load(tmp_path, None)
    (tmp_path / "dog").unlink()
    (tmp_path / "dog").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="dog: is a link to a folder that it lies in"):
        load(tmp_path, None)
