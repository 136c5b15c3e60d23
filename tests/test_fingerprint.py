"""Keys of stages: equal for equal content, in every process, and different for any change."""

import subprocess
import sys
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from lvlm_va._fingerprint import fingerprint


@dataclass(frozen=True)
class Options:
    n: int = 3
    name: str = "a"


class Plain:
    def __init__(self, value: object) -> None:
        self.value = value


class WithOwn:
    def __init__(self) -> None:
        self.secret = object()

    def fingerprint(self) -> str:
        return "own"


def add(n):
    return lambda x: x + n


VALUES = [
    None,
    0,
    1,
    1.5,
    "1",
    True,
    (1, 2),
    {"a": 1},
    {1: "a"},
    {"1": "a"},
    {1, 2},
    np.zeros(3),
    np.zeros((3, 1)),
    np.zeros(3, np.float32),
    np.array(["a", None], dtype=object),
    torch.ones(2),
    Options(),
    Options(n=4),
    Plain(1),
    Plain(2),
    WithOwn(),
    add(1),
    add(2),
    partial(max, 1),
    partial(min, 1),
    partial(min, 2),
    max,
    lambda p: p.max(1),
    lambda p: p.min(1),
    lambda p: [x + 1 for x in p],
    lambda p: [x * 2 for x in p],
    nn.Linear,
    torch.float32,
]


def test_different_content_has_different_keys():
    keys = [fingerprint(value) for value in VALUES if value is not True]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    "make", [lambda: np.arange(4)[::2], lambda: Options(), lambda: Plain([1]), lambda: add(1)]
)
def test_equal_content_has_equal_keys(make):
    assert fingerprint(make()) == fingerprint(make())


def test_order_of_a_mapping_does_not_count():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


def test_weights_of_a_module_count():
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    assert fingerprint(one) != fingerprint(two)
    two.load_state_dict(one.state_dict())
    assert fingerprint(one) == fingerprint(two)


class Sloped(nn.Module):
    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope


class AlsoSloped(Sloped):
    def forward(self, x):
        return x * self.slope


def test_what_a_module_computes_counts_beside_its_weights():
    nets = [
        nn.Linear(2, 2),
        nn.Linear(2, 2),
        Sloped(1.0),
        Sloped(2.0),
        AlsoSloped(1.0),
        nn.Sequential(nn.Tanh()),
    ]
    nets[1].load_state_dict(nets[0].state_dict())
    nets[1].bias.requires_grad_(False)
    assert len({fingerprint(net) for net in nets}) == len(nets)


def test_object_that_refers_to_itself_is_refused():
    loop = Plain(None)
    loop.value = [loop]
    with pytest.raises(TypeError, match=r"A Plain that refers to itself.*fingerprint\(\)"):
        fingerprint(loop)


def test_key_is_the_same_in_another_process():
    code = "from lvlm_va._fingerprint import fingerprint; print(fingerprint({'a', 'b'}, {'x': 1.5}))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == fingerprint({"a", "b"}, {"x": 1.5})
