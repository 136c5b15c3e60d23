"""What `lvlm-va doctor` looks at, and that its exit code says it."""

import tomllib
from pathlib import Path

import pytest

from lvlm_va.cli.doctor import EXTRAS
from tests.serving import Answer, FaultServer


def test_all_is_well(lvlm_va, scans, tmp_path):
    with FaultServer(lambda asked: Answer("Grey.")) as server:
        done = lvlm_va("doctor", scans, "--critic", f"{server.url}#critic", "--out", tmp_path / "run")
        assert len(server.asked) == 1
    assert done.returncode == 0, done.stderr
    assert "classes: ill 24, well 24" in done.stdout
    assert "48 images, of which 48 were read" in done.stdout
    assert "answered 'Grey.'" in done.stdout
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere"], 3, "nowhere"),
        (["--critic", "http://127.0.0.1:9/v1#critic"], 4, "(connection)"),
        (["--critic", "openai:model"], 2, "allow_remote"),
        (["--critic", "hf:nowhere"], 3, "nowhere"),
        (["--out", "labels.csv"], 3, "labels.csv"),
    ],
)
def test_what_will_not_work_is_said_and_the_rest_looked_at(
    lvlm_va, scans, monkeypatch, arguments, code, said
):
    monkeypatch.chdir(scans)
    done = lvlm_va("doctor", *arguments)
    assert (done.returncode, "All is well" in done.stdout) == (code, False)
    assert said in done.stderr
    assert "installation: Python" in done.stdout


def test_a_broken_image_is_named(lvlm_va, tmp_path):
    (tmp_path / "labels.csv").write_text("path,label\na.png,x\nb.png,y\n")
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"no picture")
    done = lvlm_va("doctor", tmp_path)
    assert done.returncode == 2
    assert "a.png" in done.stderr


def test_every_extra_for_users_is_looked_for():
    offered = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(EXTRAS) == set(offered["optional-dependencies"]) - {"serve", "bench", "docs", "dev"}
