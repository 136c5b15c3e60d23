"""Several findings per image in a table: columns as CheXpert has them, or lists as NIH's ChestX-ray has them."""

import numpy as np
import pytest

from tests.datasets.folders import load, save, write

NAMES = ("a.png", "b.png", "c.png")
FINDINGS = ["Effusion", "Mass"]


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        save(tmp_path / name, np.zeros((6, 8, 3), np.uint8))
    return tmp_path


def test_a_column_of_each_finding(folder):
    write(folder, "path,Mass,Effusion,Other", "a.png,1,0.0,9", "b.png,0,1.0,", "c.png,1,1,x")
    data = load(folder, findings=FINDINGS)
    assert data.labels.tolist() == [[0, 1], [1, 0], [1, 1]]
    assert data.labels.dtype == np.int64


def test_what_is_uncertain_or_not_mentioned_is_as_it_is_said_to_be(folder):
    lines = ("Path,label,Mass,Effusion", "a.png,old,-1.0,", "b.png,,0,1", "c.png,,,-1")
    write(folder, *lines)
    columns = {"path": "Path"}
    found = load(folder, columns=columns, findings=FINDINGS, finding_values={"": 0, "-1": 1})
    assert found.labels.tolist() == [[0, 1], [1, 0], [1, 0]]
    with pytest.raises(ValueError, match=r"line 2: the column 'Effusion' must be 0 or 1. Got '' instead"):
        load(folder, columns=columns, findings=FINDINGS, finding_values={"-1": 1})
    with pytest.raises(
        ValueError, match=r"'Mass' must be 0 or 1. Got '-1.0' .* finding_values=\{'-1.0': 0\}"
    ):
        load(folder, columns=columns, findings=FINDINGS, finding_values={"": 1})


def test_one_column_that_lists_those_present(folder):
    write(
        folder,
        "Image Index,Finding Labels,Patient ID",
        "a.png,Mass|Effusion,1",
        "b.png,No Finding,1",
        "c.png,Hernia | Mass,2",
    )
    columns = {"path": "Image Index", "label": "Finding Labels", "patient": "Patient ID"}
    data = load(folder, columns=columns, findings=FINDINGS)
    assert data.labels.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert data.patients.tolist() == ["1", "1", "2"]
    with pytest.raises(ValueError, match="no row lists 'Efusion' in its column 'Finding Labels'"):
        load(folder, columns=columns, findings=["Efusion", "Mass"])
    with pytest.raises(ValueError, match="'finding_values' argument is for columns of 0 and 1"):
        load(folder, columns=columns, findings=FINDINGS, finding_values={"": 0})
    write(folder, "path,label", "a.png,Mass|Effusion", "b.png,")
    with pytest.raises(ValueError, match="line 3: the column 'label' is empty"):
        load(folder, findings=FINDINGS)


@pytest.mark.parametrize(
    ("header", "options", "message"),
    [
        ("path,Mass", {}, r"has no column \['Effusion'\] for the findings"),
        ("path,x", {}, r"has no column \['Effusion', 'Mass'\] .* columns=\{'label': ...\}"),
        ("path,Mass,Mass,Effusion", {}, "two columns called 'Mass'"),
        ("path,Mass", {"findings": ["Mass"]}, "two or more different names; for one"),
        ("path,Mass", {"findings": "Mass"}, "two or more different names"),
        ("path,Mass", {"findings": ["Mass", "Mass"]}, "two or more different names"),
        ("path,Mass,Effusion", {"finding_values": {"": 2}}, r"map cells to 0 or 1. Got \{'': 2\}"),
        ("path,Mass,Effusion", {"classes": {"a": "b"}}, "'classes' without"),
        ("path,Mass,Effusion", {"findings": None, "finding_values": {"": 0}}, "goes with 'findings'"),
    ],
)
def test_what_does_not_fit_is_refused(folder, header, options, message):
    write(folder, header, "a.png" + ",1" * header.count(","))
    with pytest.raises(ValueError, match=message):
        load(folder, **{"findings": FINDINGS, **options})


def test_folders_name_no_findings(folder):
    with pytest.raises(ValueError, match="must be left out where 'table' is None"):
        load(folder, None, findings=FINDINGS)
