"""What the engine does to convolutions changes no value: folded, re-laid, cut into phases, or in half precision."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from lvlm_va.attribution import DeepLiftShap, interception
from lvlm_va.attribution.convolution import Convolutions
from lvlm_va.attribution.phases import Phases
from tests.attribution import nets
from tests.tolerances import COMPLETENESS, LOWERED_COMPLETENESS, OP

IMAGES, REFERENCES = nets.rand(4, 3, 16, 16), nets.rand(5, 3, 16, 16, seed=1)
TARGET = torch.tensor([0, 3, 9, 3])


def attribute(net: nn.Module, **options: Any) -> Tensor:
    dtype = next(net.parameters()).dtype
    images, references = IMAGES.to(dtype), REFERENCES.to(dtype)
    return DeepLiftShap(**options).attribute(net, images, TARGET, references).attributions


@pytest.fixture
def without_the_engine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Tensor]:
    """Attribute with torch's own convolutions and batch normalisation in their place."""

    def run(net: nn.Module) -> Tensor:
        with monkeypatch.context() as patch:
            patch.setattr(interception, "is_convolution", lambda _: False)
            return attribute(net)

    return run


@pytest.fixture
def folded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the number of folded normalisations with each attribution."""
    counts: list[int] = []
    settle = Convolutions.settle

    def counting(self: Convolutions) -> bool:
        result = settle(self)
        counts.append(len(self.absorbed))
        return result

    monkeypatch.setattr(Convolutions, "settle", counting)
    return counts


class Around(nn.Module):
    """A convolution and a normalisation, with something done to the result between them."""

    def __init__(self, between: Callable[[Tensor], Any], *, affine: bool = True, bias: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=bias)
        self.norm = nn.BatchNorm2d(4, affine=affine)
        self.between = between
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        seen = self.between(h)
        out = self.norm(h).relu_()
        rest = seen if isinstance(seen, Tensor) else out
        return self.head(torch.cat([out.amax((2, 3)), rest.mean((2, 3))], 1))


@pytest.mark.parametrize("dtype", OP, ids=str)
@pytest.mark.parametrize(
    ("net", "n_folded"),
    [
        (nets.ReusedInPlaceResNet, 5),
        (lambda: Around(lambda h: (h.shape, h.dim(), h.device)), 1),
        (lambda: Around(lambda h: None, affine=False, bias=True), 1),
        (lambda: Around(torch.sigmoid), 0),
        (lambda: Around(lambda h: F.relu(h)), 0),
        (lambda: Around(lambda h: h[:, :, 1:]), 0),
        (lambda: Around(lambda h: h.detach().cpu().numpy()), 0),
    ],
    ids=["resnet", "shape read", "no affine", "read", "read by a function", "view", "numpy"],
)
def test_folding(
    net: Callable[[], nn.Module],
    n_folded: int,
    dtype: torch.dtype,
    folded: list[int],
    without_the_engine: Callable[[nn.Module], Tensor],
) -> None:
    module = nets.randomised(net(), dtype=dtype)
    attributions = attribute(module)
    assert folded == [n_folded]
    expected = without_the_engine(module)
    error = (attributions - expected).abs().max() / expected.abs().max()
    assert float(error) <= COMPLETENESS[dtype]


def test_training_statistics_are_not_folded(folded: list[int]) -> None:
    module = nets.randomised(Around(lambda h: None))
    module.norm.running_mean = module.norm.running_var = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        DeepLiftShap().attribute(module, IMAGES[:1], TARGET[:1], REFERENCES[:1])
    assert folded == [0]


@pytest.mark.parametrize("dtype", OP, ids=str)
@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(3, 6, (3, 2), stride=(2, 1), padding=(1, 0)),
        nn.Conv2d(3, 6, 3, dilation=2, groups=3),
        nn.Conv2d(3, 6, 3, padding="same"),
        nn.Conv2d(3, 6, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(3, 6, 7, stride=3, padding=4),
        nn.ConvTranspose2d(3, 6, 3, stride=2),
    ],
    ids=["rectangular", "grouped", "same", "reflect", "strided", "transposed"],
)
def test_kinds_of_convolution(
    conv: nn.Module, dtype: torch.dtype, without_the_engine: Callable[[nn.Module], Tensor]
) -> None:
    net = nets.randomised(
        nn.Sequential(conv, nn.Tanh(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(54, 10))
    )
    net = net.to(dtype)
    expected = without_the_engine(net)
    assert float((attribute(net) - expected).abs().max() / expected.abs().max()) <= COMPLETENESS[dtype]


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    size=st.tuples(st.integers(5, 17), st.integers(5, 17)),
    stride=st.integers(2, 4),
    channels=st.integers(1, 4),
)
def test_phases_are_the_transpose(
    kernel: tuple[int, int], padding: tuple[int, int], size: tuple[int, int], stride: int, channels: int
) -> None:
    assume(all(n + 2 * p >= k for n, p, k in zip(size, padding, kernel, strict=True)))
    weight = torch.randn(
        5, channels, *kernel, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    phases = Phases.of(weight, [stride] * 2, list(padding), [1, 1], 1)
    if phases is None:
        assert channels * stride**2 > 16
        return
    x = nets.rand(2, channels, *size).requires_grad_()
    y = torch.conv2d(x, weight, None, stride, list(padding))
    grad = nets.rand(*y.shape, seed=1)
    (expected,) = torch.autograd.grad(y, x, grad)
    rtol, atol = OP[torch.float64]
    torch.testing.assert_close(phases.to_input(grad, *size), expected, rtol=rtol, atol=atol)


def test_lowered_precision_says_what_it_costs() -> None:
    net = nets.randomised(nets.ReusedInPlaceResNet(), dtype=torch.float32)
    images, references = IMAGES.float(), REFERENCES.float()
    errors = {
        precision: DeepLiftShap(precision=precision)
        .attribute(net, images, TARGET, references)
        .relative_completeness_error()
        for precision in ("float32", "tf32", "bfloat16")
    }
    assert errors["tf32"] == errors["float32"] < COMPLETENESS[torch.float32]
    assert errors["float32"] < errors["bfloat16"] < LOWERED_COMPLETENESS


def test_lowered_precision_leaves_float64_alone() -> None:
    net = nets.randomised(nets.ReusedInPlaceResNet())
    assert torch.equal(attribute(net, precision="bfloat16"), attribute(net))


def test_unknown_precision() -> None:
    with pytest.raises(ValueError, match=r"'precision' argument must be one of.*Got 'bfloat'"):
        DeepLiftShap(precision="bfloat")
