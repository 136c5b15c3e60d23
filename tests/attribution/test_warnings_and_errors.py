"""What cannot be attributed says so, and how much it matters."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lvlm_va.attribution import DeepLiftShap, GradientXInput, IntegratedGradients
from tests.attribution import nets

IMAGES, REFERENCES = nets.rand(3, 3, 8, 8), nets.rand(4, 3, 8, 8, seed=1)
TARGET = torch.tensor([0, 1, 1])
METHODS = [DeepLiftShap(), IntegratedGradients(2), GradientXInput()]


class Middle(nn.Module):
    """A linear layer, a function of its output, another linear layer."""

    def __init__(self, function: Callable[[Tensor], Tensor], width: int = 6) -> None:
        super().__init__()
        self.first, self.second, self.function = nn.Linear(192, 6), nn.Linear(width, 2), function

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.function(self.first(x.flatten(1))))


def caught(function: Callable[[Tensor], Tensor]) -> list[str]:
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        explanation = DeepLiftShap(max_memory=200_000).attribute(
            nets.randomised(Middle(function)), IMAGES, TARGET, REFERENCES
        )
    messages = [str(warning.message) for warning in record]
    if messages:
        assert f"up to {float(explanation.completeness_error.max()):.2g} logits" in messages[0]
        assert record[0].filename == __file__
    return messages


def test_calls_without_a_rule_are_named_with_their_error() -> None:
    (message,) = caught(lambda h: torch.sin(h).relu())
    listed = re.search(r"in logits\): (\w+) \(([\d.e-]+)\)\. The", message)
    total = re.search(r"up to ([\d.e-]+) logits", message)
    assert listed is not None
    assert total is not None
    assert listed[1] == "sin"
    # Everything else is exact, so the one call causes all of the error.
    assert listed[2] == total[1]


def test_fourier_transform_is_exact_and_its_modulus_is_named() -> None:
    assert caught(lambda h: torch.view_as_real(torch.fft.fft(h))[..., 0].relu()) == []
    (message,) = caught(lambda h: torch.fft.fft(h).abs())
    listed = re.search(r"in logits\): (\w+) \(([\d.e-]+)\)\. The", message)
    total = re.search(r"up to ([\d.e-]+) logits", message)
    assert listed is not None
    assert total is not None
    assert (listed[1], listed[2]) == ("abs", total[1])


def test_several_calls_without_a_rule_make_one_warning() -> None:
    (message,) = caught(lambda h: torch.sin(h).cumprod(1).sin_())
    assert "cumprod (" in message
    assert "sin (" in message


def test_a_call_without_a_rule_that_does_no_harm_is_not_named() -> None:
    assert caught(lambda h: torch.real(h) * 2) == []


def test_values_without_a_gradient_are_named() -> None:
    (message,) = caught(lambda h: h * (h > 0))
    assert "carry no gradient: gt." in message


class Doubled(torch.autograd.Function):
    """A square that calls itself linear."""

    @staticmethod
    def forward(ctx: object, h: Tensor) -> Tensor:
        return h.square()

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:
        return 2 * grad


@pytest.mark.filterwarnings("ignore:.*jit.*:DeprecationWarning", "ignore:.*jit.*:FutureWarning")
def test_calls_that_cannot_be_met_are_named() -> None:
    (message,) = caught(lambda h: Doubled.apply(h).relu())
    assert "could not be met, so they kept their gradient: Doubled (a torch.autograd.Function)." in message
    (message,) = caught(torch.jit.script(lambda_free_sigmoid))
    assert "could not be met" in message
    assert "Sigmoid" in message or "DifferentiableGraph" in message


def lambda_free_sigmoid(h: Tensor) -> Tensor:
    return torch.sigmoid(3 * h)


def gated(h: Tensor) -> Tensor:
    with torch.no_grad():
        gate = h.tanh()
    return h * gate


def test_values_made_without_a_gradient_are_named() -> None:
    (message,) = caught(gated)
    assert "carry no gradient: tanh." in message


@pytest.mark.parametrize(("function", "named"), [(gated, "tanh"), (Doubled.apply, "Doubled")])
def test_integrated_gradients_name_them_too(function: Callable[[Tensor], Tensor], named: str) -> None:
    with pytest.warns(UserWarning, match=named):
        IntegratedGradients(20).attribute(nets.randomised(Middle(function)), IMAGES, TARGET, REFERENCES)


class Gated(nn.Module):
    """A gate far outside of where it was made for: contributions cancel to five digits."""

    def forward(self, x: Tensor) -> Tensor:
        h = x.flatten(2).sum(2) * 1e4 - 16e4
        return torch.stack([(h * h).sum(1) * 1e-6 - (h * (h + 1)).sum(1) * 1e-6, h.sum(1)], 1)


def test_rounding_of_contributions_that_cancel_is_mended() -> None:
    explanation = DeepLiftShap().attribute(Gated(), IMAGES.float(), 0 * TARGET, 2 * REFERENCES.float())
    assert explanation.attributions.dtype == torch.float32
    assert explanation.relative_completeness_error() < 1e-3


def test_dropout_that_is_never_off() -> None:
    generator_state = torch.get_rng_state()
    with torch.random.fork_rng():
        (message,) = caught(lambda h: nn.functional.dropout(h, 0.5, training=True))
    assert "dropout (" in message
    assert torch.equal(generator_state, torch.get_rng_state())


class Argmax(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.one_hot(x.flatten(1).argmax(1), 192)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
@pytest.mark.parametrize(
    "module",
    [
        Argmax(),
        Middle(lambda h: h.detach()),
        Middle(lambda h: h.data),
        Middle(lambda h: (h > 0).to(h.dtype)),
        Middle(lambda h: torch.zeros_like(h)),
    ],
    ids=["integer", "detach", "data", "comparison", "constant"],
)
def test_a_module_that_cannot_be_differentiated(method: DeepLiftShap, module: nn.Module) -> None:
    with pytest.raises(ValueError, match="The 'module' argument must .*differentia"):
        method.attribute(module.double(), IMAGES, TARGET, REFERENCES)


class Depends(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return x.relu().tanh() if len(x) > 1 else x.relu()


class Scores(nn.Module):
    def __init__(self, shape: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return self.shape(x.flatten(1)[:, :2])


class Mixes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return x + x.sum().relu()


@pytest.mark.parametrize(
    ("module", "match"),
    [
        (nets.mlp().half(), "float32 or float64.*float16 in '1.weight'.*module.float"),
        (nets.mlp().bfloat16(), "float32 or float64.*bfloat16"),
        (Depends(), "The 'module' argument must make the same calls for every image"),
        (Scores(lambda z: z[:, 0]), "'target' argument must hold classes from 0 to 0, the module's logits"),
        (Scores(lambda z: z[:, :, None]), r"Got shape \(1, 2, 1\) instead. A module that expects flat rows"),
        (Mixes(), "The 'module' argument must treat each image of a batch by itself. In 'relu'"),
    ],
    ids=["half", "bfloat16", "path", "one score", "places", "mixing"],
)
def test_modules_that_cannot_be_explained(module: nn.Module, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        DeepLiftShap().attribute(module, IMAGES, TARGET, REFERENCES)


@pytest.mark.filterwarnings("ignore:.*jit.*:DeprecationWarning", "ignore:.*jit.*:FutureWarning")
def test_a_scripted_module() -> None:
    with pytest.raises(ValueError, match="The 'module' argument must be an eager module"):
        DeepLiftShap().attribute(torch.jit.script(nn.Linear(2, 2)), IMAGES, TARGET, REFERENCES)


def test_a_call_that_is_no_module() -> None:
    with pytest.raises(TypeError, match=r"The 'module' argument must be a torch\.nn\.Module\. Got function"):
        DeepLiftShap().attribute(lambda x: x, IMAGES, TARGET, REFERENCES)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"images": IMAGES[0, 0, 0]}, ValueError, r"'images' argument must have shape \(n, C, H, W\)"),
        ({"images": IMAGES.log().sqrt()}, ValueError, "'images' argument must be finite"),
        (
            {"images": IMAGES.numpy()},
            TypeError,
            "'images' argument must be a floating-point tensor. Got ndarray",
        ),
        ({"images": IMAGES.int()}, TypeError, "'images' argument .* Got torch.int32"),
        ({"references": REFERENCES / 0}, ValueError, "'references' argument must be finite"),
        ({"references": REFERENCES[:, :, 1:]}, ValueError, r"'references' argument .*Got \(4, 3, 7, 8\)"),
        ({"references": REFERENCES[:0]}, ValueError, "'references' argument .*B >= 1"),
        ({"target": TARGET[:2]}, ValueError, r"'target' argument must have shape \(3,\)"),
        ({"target": TARGET.float()}, TypeError, "'target' argument must be an integer tensor"),
        (
            {"target": TARGET + 1},
            ValueError,
            "'target' argument must hold classes from 0 to 1.*Got \\[1, 2\\]",
        ),
    ],
)
def test_bad_arguments(
    method: DeepLiftShap, change: dict[str, object], error: type[Exception], match: str
) -> None:
    arguments = {"images": IMAGES, "target": TARGET, "references": REFERENCES, **change}
    with pytest.raises(error, match=match):
        method.attribute(nets.randomised(Middle(torch.relu)), **arguments)


@pytest.mark.parametrize("value", [0, -1, 1.5])
def test_bad_max_memory(value: object) -> None:
    with pytest.raises(ValueError, match="The 'max_memory' argument must be a positive number of bytes"):
        DeepLiftShap(max_memory=value)
