"""What is infinite on the way and does not matter leaves attributions finite; else, an error says where it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lvlm_va.attribution import (
    DeepLiftShap,
    Explainer,
    Explanation,
    GradientXInput,
    IntegratedGradients,
    ReferenceSet,
)
from lvlm_va.common.errors import NotFiniteError, numbered
from lvlm_va.modules.logits import predict_logits
from tests.attribution import nets
from tests.tolerances import COMPLETENESS, OP

IMAGES, REFERENCES = nets.rand(4, 3, 8, 8), nets.rand(3, 3, 8, 8, seed=1)
TARGET = torch.tensor([0, 1, 1, 0])


class Around(nn.Module):
    """A function of the image, and a linear layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function, self.head = function, nn.LazyLinear(2, dtype=torch.float64)
        self(IMAGES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.function(x).flatten(1))


def explain(function: Callable[[Tensor], Tensor], images: Tensor, references: Tensor) -> Explanation:
    torch.manual_seed(0)
    return DeepLiftShap().attribute(Around(function), images, TARGET, references)


def assert_complete(explanation: Explanation) -> None:
    assert explanation.relative_completeness_error() < COMPLETENESS[torch.float64]


AT_ZERO: dict[str, Callable[[Tensor], Tensor]] = {
    "sqrt": torch.sqrt,
    "power": lambda z: z**0.4,
    "power of a tensor": lambda z: z ** z.new_tensor(1.5),
    "norm": lambda z: z.norm(dim=1),
    "normalize": lambda z: F.normalize(z, dim=1),
    "std": lambda z: z.std(1),
    "lp_pool": lambda z: F.lp_pool2d(z, 3, 2),
    "guarded log": lambda z: (z.log() * 0.3).exp(),
    "guarded root": lambda z: torch.where(torch.arange(8) > 1, (z - 0.0).rsqrt(), 0),
    "guarded quotient": lambda z: torch.where(torch.arange(8) > 1, z[:, :1] / z[:, 1:], 0),
    "asin": lambda z: torch.asin(torch.where(torch.arange(8) > 1, 0.5, 1 - z)),
}


@pytest.mark.filterwarnings("ignore:DeepLIFT has no rule")
@pytest.mark.parametrize("name", AT_ZERO)
def test_margins_of_zeros(name: str) -> None:
    images, references = IMAGES.clone(), REFERENCES.clone()
    images[..., :2], references[..., :2] = 0, 0
    explanation = explain(AT_ZERO[name], images, references)
    assert not explanation.attributions[..., :2].any() or name == "std"
    if name != "asin":
        assert_complete(explanation)


@pytest.mark.parametrize("exponent", [0.3, 1.7, -0.5, -1, -1.7, -3, 1, 3, 3.0, 12])
def test_powers(exponent: float) -> None:
    assert_complete(explain(lambda z: (z + 0.1) ** exponent, IMAGES, REFERENCES))


@pytest.mark.parametrize("exponent", [0.3, 1.7])
def test_powers_from_zero(exponent: float) -> None:
    assert_complete(explain(lambda z: z**exponent, IMAGES, torch.zeros_like(REFERENCES)))


@pytest.mark.parametrize(
    "function",
    [
        lambda z: 2.0**z,
        lambda z: (z + 0.1) ** z,
        lambda z: (z + 0.1).log2(),
        lambda z: (z + 0.1).log10(),
        lambda z: z.min(1)[0],
        lambda z: torch.min(z[:, 0], z[:, 1]),
        torch.exp2,
        torch.expm1,
        torch.log1p,
    ],
)
def test_other_spellings(function: Callable[[Tensor], Tensor]) -> None:
    assert_complete(explain(function, IMAGES, REFERENCES))


QUOTIENTS: dict[str, Callable[[Tensor], Tensor]] = {
    "share": lambda z: z / (z.sum(1, keepdim=True) + 1e-9),
    "unit length": lambda z: F.normalize(z, dim=1),
    "standardised": lambda z: F.layer_norm(z, (8, 8), eps=1e-12),
    "root mean square": lambda z: F.rms_norm(z, (8, 8), eps=1e-12),
    "instance": lambda z: F.instance_norm(z, eps=1e-12),
}


@pytest.mark.parametrize("name", QUOTIENTS)
def test_quotients_next_to_zero(name: str) -> None:
    explanation = explain(QUOTIENTS[name], IMAGES, torch.zeros_like(REFERENCES[:1]))
    assert_complete(explanation)
    assert float(explanation.attributions.abs().max()) < 10


def test_a_denominator_that_changes_its_sign() -> None:
    assert_complete(explain(lambda z: z[:, :1] / (z[:, 1:] - 0.5), IMAGES, REFERENCES))
    opposite = explain(lambda z: z[:, :1] / (z[:, 1:] - 0.5), IMAGES, 1 - IMAGES[:1])
    assert_complete(opposite)


class Masked(nn.Module):
    """Attention over the rows of an image, each to itself and those above it."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.keys, self.head = how, nn.Linear(24, 24), nn.Linear(24, 2)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.keys(x.transpose(1, 2).flatten(2))
        allowed = torch.ones(8, 8, dtype=torch.bool).tril()
        if self.how == "fused":
            return self.head(F.scaled_dot_product_attention(tokens, tokens, tokens, is_causal=True).mean(1))
        scores = tokens @ tokens.mT * 24**-0.5
        if self.how == "added":
            scores = scores + torch.zeros(8, 8).masked_fill(~allowed, -torch.inf)
        else:
            scores = scores.masked_fill(~allowed, -1e9 if self.how == "finite" else -torch.inf)
        return self.head((scores.softmax(-1) @ tokens).mean(1))


@pytest.mark.parametrize("how", ["filled", "added", "fused"])
def test_scores_of_minus_infinity(how: str) -> None:
    expected, found = (
        DeepLiftShap().attribute(nets.randomised(Masked(h)), IMAGES, TARGET, REFERENCES)
        for h in ("finite", how)
    )
    rtol, atol = OP[torch.float64]
    torch.testing.assert_close(found.attributions, expected.attributions, rtol=rtol, atol=atol)


def test_other_methods_count_what_changes() -> None:
    images, references = IMAGES.clone(), REFERENCES.clone()
    images[..., :2], references[..., :2] = 0, 0
    for method in (IntegratedGradients(200), GradientXInput()):
        explanation = method.attribute(Around(torch.sqrt), images, TARGET, references)
        assert not explanation.attributions[..., :2].any()


class Breaks(nn.Module):
    """Divides by what a pixel lacks to one half."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.ratio = nn.Flatten(), nn.Identity()
        self.head = nn.Linear(192, 2, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.ratio(self.first(x) / (x[:, 0, 0, 0, None] - 0.5)))


def test_errors_name_images_and_part() -> None:
    images = IMAGES.clone()
    images[1, 0, 0, 0] = images[3, 0, 0, 0] = 0.5
    words = r"finite logits. Got NaN or infinity for images \[1, 3\] .*in its part 'ratio' \(Identity\)"
    for method in (DeepLiftShap(), IntegratedGradients(2), GradientXInput()):
        with pytest.raises(NotFiniteError, match=words):
            method.attribute(Breaks(), images, TARGET, REFERENCES)
    with pytest.raises(NotFiniteError, match=words):
        predict_logits(Breaks(), images, batch_size=3)
    with pytest.raises(FloatingPointError, match=r"for references \[1\]"):
        DeepLiftShap().attribute(Breaks(), IMAGES, TARGET, images[:3])


def test_an_explanation_that_is_not_finite_cannot_be_made() -> None:
    numbers = torch.ones(3, dtype=torch.float64)
    attributions = torch.ones(3, 1, 2, 2)
    attributions[2, 0, 1, 1] = torch.nan
    with pytest.raises(NotFiniteError, match=r"'attributions' .* images \[2\]"):
        Explanation(attributions, torch.zeros(3), numbers, numbers, numbers, "own")
    with pytest.raises(NotFiniteError, match=r"'completeness_error' .* images \[0, 1, 2\]"):
        Explanation(torch.ones(3, 1, 2, 2), torch.zeros(3), numbers, numbers, numbers / 0, "own")


def test_images_are_named_by_the_numbers_that_the_user_knows() -> None:
    with pytest.raises(NotFiniteError, match=r"images \[70, 90\] instead"), numbered([70, 80, 90]):
        raise NotFiniteError("All must be finite.", [0, 2])
    with pytest.raises(NotFiniteError, match="and 80 more"):
        raise NotFiniteError("All must be finite.", range(100))


def test_logits_that_do_not_depend_on_the_image() -> None:
    explainer = Explainer(DeepLiftShap(), ReferenceSet("custom", REFERENCES))
    dead = Around(lambda z: (z - 100).relu())
    with pytest.warns(UserWarning, match="logits do not depend on the image"):
        explainer.explain(dead, IMAGES, TARGET)
    same = Explainer(DeepLiftShap(), ReferenceSet("custom", IMAGES[:1]))
    assert not same.explain(dead, IMAGES[:1], TARGET[:1]).output_scale.any()
