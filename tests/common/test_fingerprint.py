"""Keys of stages: equal for equal content, in every process, and different for any change."""

import importlib
import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from lvlm_va.common.fingerprint import fingerprint


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


class WithFunctions(nn.Module):
    def __init__(self, activation, skip=()) -> None:
        super().__init__()
        self.activation, self.skip = activation, list(skip)


def test_functions_and_lists_of_a_module_count():
    leaky = partial(nn.functional.leaky_relu, negative_slope=0.1)
    steep = partial(nn.functional.leaky_relu, negative_slope=5.0)
    nets = [WithFunctions(f) for f in (torch.relu, torch.tanh, leaky, steep)] + [
        WithFunctions(torch.relu, [1])
    ]
    assert len({fingerprint(net) for net in nets}) == len(nets)


def test_mode_of_a_module_does_not_count():
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    assert fingerprint(net) == fingerprint(net) == fingerprint(net.eval())


def test_function_that_calls_itself():
    def count(n):
        return 0 if n == 0 else count(n - 1)

    assert fingerprint(count) == fingerprint(count)


def test_object_that_nothing_tells_apart_is_refused():
    with pytest.raises(TypeError, match="A Generator cannot be a parameter of a run that is kept"):
        fingerprint(torch.Generator())


IN_ANOTHER_PROCESS = """
from functools import partial
import numpy as np, torch
from torch import nn
from lvlm_va import OracleCritic, RegionCritic
from lvlm_va.common.fingerprint import fingerprint
from lvlm_va.modules.built_in import resnet18
from lvlm_va.segmentation import PPEPSWGM

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Identity())
        self.act, self.clamp = torch.relu, partial(torch.clamp, min=0)

plain = [{"b", "a"}, {"x": 1.5}, lambda p: p in {"a", "b", "c"}, torch.relu, partial(max, 1)]
critics = [RegionCritic({"irrelevant": ["corners"]}), OracleCritic(np.zeros((2, 4, 4), bool)), PPEPSWGM()]
torch.manual_seed(0)
print(*[fingerprint(item) for item in [*plain, *critics, Net(), resnet18((1, 8, 8), 2)]])
"""


def test_keys_are_the_same_in_every_process():
    def run(seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", IN_ANOTHER_PROCESS]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout

    keys = run("1").split()
    assert len(set(keys)) == len(keys) == 10
    assert run("2").split() == keys


def scaled(x):
    return FACTOR * helper(x)


def helper(x):
    return x.relu()


FACTOR = 2.0
LOG = logging.getLogger(__name__)


class Calling(nn.Module):
    def forward(self, x):
        LOG.debug("forward")
        return scaled(x)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return helper(x)

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


class CallingClass(nn.Module):
    def forward(self, x):
        return Doubled.apply(x)


CALLING = {"function": lambda: lambda x: scaled(x), "module": Calling, "class": CallingClass}


@pytest.mark.parametrize("made", CALLING)
def test_functions_that_are_called_by_name_count(made, monkeypatch):
    before = fingerprint(CALLING[made]())
    assert fingerprint(CALLING[made]()) == before
    with monkeypatch.context() as patch:
        patch.setitem(globals(), "helper", lambda x: x.sin())
        assert fingerprint(CALLING[made]()) != before
    if made != "class":
        monkeypatch.setitem(globals(), "FACTOR", 3.0)
        assert fingerprint(CALLING[made]()) != before


def test_functions_in_a_file_of_the_user_count(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    keys = []
    for body in ("x.relu()", "x.relu()", "x.sin()"):
        (tmp_path / "my_features.py").write_text(f"def features(x):\n    return {body}\n")
        sys.modules.pop("my_features", None)
        importlib.invalidate_caches()
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        scope = {"my_features": importlib.import_module("my_features"), "__name__": "net"}
        exec("def net(x):\n    return my_features.features(x)", scope)
        keys.append(fingerprint(scope["net"]))
    assert keys[0] == keys[1] != keys[2]
    del sys.modules["my_features"]


def test_a_net_that_its_own_code_names_by_a_global(monkeypatch):
    class Own(nn.Module):
        def forward(self, x):
            return NET.scale * x  # noqa: F821

        scale = 2.0

    net = Own()
    monkeypatch.setitem(globals(), "NET", net)
    assert fingerprint(net) == fingerprint(net)


def test_numbers_that_numpy_does_not_know():
    one, two = torch.ones(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.bfloat16)
    assert fingerprint(one) == fingerprint(one.clone()) != fingerprint(two)
    assert fingerprint(one[0]) != fingerprint(one)
