"""Exports of the ISIC archive and knee radiographs, as tiny folders of their shape."""

import numpy as np
import pytest
from PIL import Image

from lvlm_va.datasets import isic_lesions, knee_radiographs


def write_table(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def isic(tmp_path):
    """Four lesions of an export, and one without a diagnosis."""
    for number in range(5):
        Image.new("RGB", (12, 9), (200, 20 * number, 90)).save(tmp_path / f"ISIC_{number}.jpg")
    diagnoses = ["Benign", "Malignant", "Benign", "Benign", ""]
    write_table(
        tmp_path / "metadata.csv", "isic_id,diagnosis_1", *[f"ISIC_{i},{d}" for i, d in enumerate(diagnoses)]
    )
    return tmp_path


def test_isic_groups_by_class_and_artefact(isic):
    lists = {
        "bandages": write_table(isic / "bandages.txt", "ISIC_0", "", "ISIC_3.jpg"),
        "markers": ["ISIC_9999", "ISIC_1.jpg"],
        "rulers": iter(["ISIC_3"]),
    }
    data = isic_lesions(isic, "metadata.csv", image_size=(6, 8), **lists)
    assert (data.images.shape, data.images.dtype) == ((4, 3, 6, 8), np.uint8)
    assert data.image_ids == ("ISIC_0.jpg", "ISIC_1.jpg", "ISIC_2.jpg", "ISIC_3.jpg")
    assert data.labels.tolist() == ["benign", "malignant", "benign", "benign"]
    assert data.groups.tolist() == [
        "benign/bandage",
        "malignant/marker",
        "benign/none",
        "benign/bandage+ruler",
    ]


def test_isic_challenges_name_lesion_types(isic):
    write_table(isic / "types.csv", "image,MEL,NV,AK", "ISIC_0,1.0,0.0,0.0", "ISIC_1,0,1,0", "ISIC_2,0,0,1")
    columns = {"path": "image", "label": ["MEL", "NV", "AK"]}
    data = isic_lesions(isic, "types.csv", columns=columns)
    assert data.images.shape == (2, 3, 224, 224)
    assert data.groups.tolist() == ["malignant/none", "benign/none"]
    chosen = isic_lesions(isic, "types.csv", columns=columns, classes={"AK": "keratosis", "NV": "nevus"})
    assert chosen.labels.tolist() == ["nevus", "keratosis"]


def test_knees_group_by_class_and_tag(tmp_path):
    for grade in range(5):
        image = np.full((10, 10), 100, np.uint16)
        image[5:] = 4000
        Image.fromarray(image).save(tmp_path / f"{grade}.png")
    rows = ["0.png,0,L", "1.png,1.0,R", "2.png,2,none", "4.png,4,L", "3.png,,L"]
    write_table(tmp_path / "grades.csv", "path,grade,tag", *rows)
    data = knee_radiographs(tmp_path, "grades.csv", columns={"group": "tag"}, image_size=(10, 10))
    assert data.images.shape == (4, 1, 10, 10)
    assert (data.images[:, 0, :5] == 0).all()
    assert (data.images[:, 0, 5:] == 255).all()
    assert data.groups.tolist() == ["healthy/L", "healthy/R", "arthritic/none", "arthritic/L"]

    ungrouped = knee_radiographs(tmp_path, "grades.csv", classes={"0": "none", "4": "severe"})
    assert ungrouped.groups is None
    assert ungrouped.labels.tolist() == ["none", "severe"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"bandages": ["ISIC_77"]},
            ValueError,
            "'bandages' argument must name images of the table. Got 1 .*'ISIC_77'",
        ),
        ({"rulers": []}, ValueError, "'rulers' argument must name images"),
        (
            {"markers": "none.txt"},
            FileNotFoundError,
            "'markers' argument must be a list of names or a text file",
        ),
        ({"columns": {"path": "name"}}, ValueError, r"metadata.csv: has no column \['name'\] for the path"),
        (
            {"classes": {"nevus": "benign"}},
            ValueError,
            r"no row whose label, in 'diagnosis_1', is one of \['nevus'\]",
        ),
        ({"extension": ".png"}, FileNotFoundError, r"4 of its .* ISIC_0.png \(line 2\)"),
        ({"metadata_csv": "none.csv"}, FileNotFoundError, "none.csv"),
        ({"folder": "none"}, FileNotFoundError, "'root' argument must be a folder"),
    ],
)
def test_isic_errors(isic, options, error, message):
    if "path" in options.get("columns", {}):
        options["columns"]["label"] = "diagnosis_1"
    arguments = {"folder": isic, "metadata_csv": "metadata.csv", **options}
    with pytest.raises(error, match=message):
        isic_lesions(**arguments)


def test_knee_errors(tmp_path):
    table = write_table(tmp_path / "grades.csv", "path,KL", "0.png,0")
    with pytest.raises(ValueError, match=r"has no column \['grade'\] for the label"):
        knee_radiographs(tmp_path, table)
    with pytest.raises(ValueError, match=r"has no column \['tag'\] for the group"):
        knee_radiographs(tmp_path, table, columns={"label": "KL", "group": "tag"})
    with pytest.raises(FileNotFoundError, match=r"0.png \(line 2\)"):
        knee_radiographs(tmp_path, table, columns={"label": "KL"})
