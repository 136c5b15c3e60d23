"""Weights as trainers leave them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lvlm_va.cli.weights import load_weights


def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return net().state_dict()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {f"_orig_mod.{name}": value for name, value in state.items()},
        lambda state: {
            "state_dict": {f"classifier.{name}": value for name, value in state.items()},
            "epoch": 3,
        },
        lambda state: {"model_state_dict": state, "optimizer_state_dict": {"state": {}}},
    ],
)
def test_wrapped_weights_are_found(tmp_path, state, wrap):
    torch.save(wrap(state), tmp_path / "net.pt")
    module = net()
    load_weights(module, tmp_path / "net.pt")
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def test_a_folder_of_transformers(tmp_path, state):
    save_file(state, tmp_path / "model.safetensors")
    module = net()
    load_weights(module, tmp_path)
    assert torch.equal(module[1].weight, state["1.weight"])


def test_home_is_found(tmp_path, state, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save_file(state, tmp_path / "net.safetensors")
    load_weights(net(), Path("~/net.safetensors"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            lambda state, path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
            "git lfs pull",
        ),
        (lambda state, path: torch.save(net(), path), "whole module.*state_dict"),
        (lambda state, path: path.write_bytes(b"junk"), "damaged"),
        (lambda state, path: path.mkdir(), "folder without a model.safetensors"),
        (lambda state, path: torch.save([1, 2], path), "must hold the module's state_dict"),
        (
            lambda state, path: torch.save({f"k{i}": torch.zeros(1) for i in range(90)}, path),
            r"4 missing \(1.weight, 1.bias, 3.weight, ...\) and 90 unknown \(k0, k1, k2, ...\)",
        ),
        (
            lambda state, path: torch.save(state | {"3.bias": torch.zeros(5)}, path),
            r"'3.bias' of shape \(5,\). The module has \(2,\)",
        ),
    ],
)
def test_what_is_no_weights_is_said(tmp_path, state, content, message):
    content(state, tmp_path / "net.pt")
    before = (module := net()).state_dict()
    with pytest.raises(ValueError, match=message) as refused:
        load_weights(module, tmp_path / "net.pt")
    assert len(str(refused.value)) < 600
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_what_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_weights(net(), tmp_path / "nowhere.pt")
