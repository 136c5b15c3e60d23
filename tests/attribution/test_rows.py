"""Image and reference are paired row by row, wherever a module folds the rows of its batch."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lvlm_va.attribution import DeepLiftShap, Explanation
from tests.attribution import nets
from tests.tolerances import COMPLETENESS, OP

RTOL, ATOL = OP[torch.float64]
IMAGES, REFERENCES = nets.rand(4, 3, 16, 16), nets.rand(3, 3, 16, 16, seed=1)
TARGET = torch.tensor([0, 3, 9, 3])


def explain(module: nn.Module, references: Tensor = REFERENCES, **options: int) -> Explanation:
    return DeepLiftShap(**options).attribute(module, IMAGES, TARGET, references)


class Views(nn.Module):
    """The mean of a net's logits over an image and its mirror images, which `batched` brings into one batch."""

    def __init__(
        self, batched: Callable[[list[Tensor]], Tensor] | None, apart: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.net, self.batched, self.apart = nets.lenet(), batched, apart

    def forward(self, x: Tensor) -> Tensor:
        views = [x, x.flip(-1), x.flip(-2)]
        if self.batched is None:
            return sum(map(self.net, views)) / 3
        return self.apart(self.net(self.batched(views)))


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("max_memory", [2**33, 1])
def test_views_along_the_batch(per_image: bool, max_memory: int) -> None:
    orders = (
        Views(None, nn.Identity()),
        Views(torch.cat, lambda z: z.unflatten(0, (3, -1)).mean(0)),
        Views(lambda v: torch.stack(v, 1).flatten(0, 1), lambda z: z.unflatten(0, (-1, 3)).mean(1)),
    )
    references = REFERENCES[:, None].expand(-1, 4, -1, -1, -1) if per_image else REFERENCES
    expected, *found = (explain(nets.randomised(m), references, max_memory=max_memory) for m in orders)
    for explanation in found:
        torch.testing.assert_close(explanation.attributions, expected.attributions, rtol=RTOL, atol=ATOL)


class Heads(nn.Module):
    """Views before the rows, heads after them, in one dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.key, self.head = nn.Linear(48, 48), nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        both = self.key(torch.cat([x, x.flip(-1)]).transpose(1, 2).flatten(2))  # (2 n, rows, 48)
        heads = both.unflatten(2, (4, 12)).transpose(1, 2).flatten(0, 1)  # (2 n 4, rows, 12)
        mixed = (heads @ heads.mT).softmax(-1) @ heads
        tokens = mixed.unflatten(0, (-1, 4)).transpose(1, 2).flatten(2)
        return self.head(tokens.mean(1).unflatten(0, (2, -1)).sum(0))


def test_rows_between_views_and_heads() -> None:
    explanation = explain(nets.randomised(Heads()))
    assert explanation.relative_completeness_error() < COMPLETENESS[torch.float64]
    alone = DeepLiftShap().attribute(nets.randomised(Heads()), IMAGES[2:3], TARGET[2:3], REFERENCES)
    torch.testing.assert_close(alone.attributions, explanation.attributions[2:3], rtol=RTOL, atol=ATOL)


class Mixing(nn.Module):
    def __init__(self, mix: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.mix, self.net = mix, nets.mlp()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.mix(x))


@pytest.mark.parametrize("mix", [lambda x: x - x.mean(0), lambda x: x.flip(0)], ids=["centred", "reversed"])
def test_a_module_that_mixes_rows_is_refused(mix: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match="must treat each image of a batch by itself. In 'relu'"):
        explain(nets.randomised(Mixing(mix)))


def test_a_module_that_is_never_twice_the_same_is_not_refused() -> None:
    module = nets.randomised(Mixing(lambda x: nn.functional.dropout(x, 0.5, training=True)))
    with torch.random.fork_rng(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        explain(module)
    assert any("dropout (" in str(warning.message) for warning in caught)


def test_images_that_are_all_the_same() -> None:
    same = IMAGES[:1].expand(4, -1, -1, -1)
    explanation = DeepLiftShap().attribute(nets.randomised(nets.lenet()), same, TARGET, same[:2])
    assert not explanation.attributions.any()
