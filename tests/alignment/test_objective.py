"""The loss of a batch, of which only marked rows are differentiated twice, against the whole batch's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lvlm_va.alignment import AlignmentSet, TrainingOptions, train
from lvlm_va.alignment.mixing import Batch
from lvlm_va.alignment.objective import TrainingRows, batch_loss
from lvlm_va.alignment.penalty import input_gradient
from lvlm_va.alignment.strength import FixedStrength
from tests.alignment.nets import alignment_set, assert_equal_states, data, seeded, state
from tests.tolerances import OP

ROWS, MARKED = 5, 2


class Wrapped(nn.Module):
    """A body whose forward a test writes."""

    def __init__(self, forward: object, **parts: nn.Module) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.GELU(), nn.Flatten(), nn.LazyLinear(3))
        for name, part in parts.items():
            self.add_module(name, part)
        self._forward = forward

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self._forward(self, images))


def convolution(channels: int = 4, **settings: object) -> nn.Conv2d:
    return nn.Conv2d(2, channels, **{"kernel_size": 3, "padding": 1} | settings)


def head() -> tuple[nn.Module, nn.Module]:
    return nn.Flatten(), nn.LazyLinear(3)


def norm(n: int = 4) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(n).eval()
    nn.init.uniform_(layer.running_mean)
    nn.init.uniform_(layer.running_var, 0.5, 2)
    nn.init.uniform_(layer.weight)
    return layer


def residual(net: nn.Module, x: Tensor) -> Tensor:
    x = F.relu(net.norm(net.stem(x)), inplace=True)
    for _ in range(2):  # the same modules twice
        y = net.other_norm(net.conv(x))
        y += x
        x = y.relu_()
    return F.max_pool2d(x, 3, 2, 1)


def nets() -> dict[str, nn.Module]:
    """Nets of all kinds of layers, used once or twice, whole or in part."""
    wide = {"stem": convolution(64), "conv": nn.Conv2d(64, 128, 3, groups=2)}  # weights larger than inputs
    return {
        "relu": nn.Sequential(convolution(), nn.ReLU(inplace=True), *head()),
        "gelu": nn.Sequential(
            convolution(bias=False, stride=2), nn.GELU(), nn.Conv2d(4, 3, 1), nn.Tanh(), *head()
        ),
        "wide": Wrapped(lambda net, x: net.conv(torch.relu_(net.stem(x))), **wide),
        "twice": nn.Sequential(
            *[nn.Conv2d(2, 64, 1), *[nn.Conv2d(64, 64, 3, padding=1)] * 2], nn.SiLU(), *head()
        ),
        "residual": Wrapped(
            residual,
            stem=convolution(bias=False),
            norm=norm(),
            conv=nn.Conv2d(4, 4, 3, padding=1),
            other_norm=norm(),
        ),
        "norm without parameters": nn.Sequential(
            convolution(), nn.BatchNorm2d(4, affine=False).eval(), nn.ReLU(), *head()
        ),
        "circular": nn.Sequential(convolution(padding_mode="circular"), nn.Tanh(), *head()),
        "same": nn.Sequential(convolution(padding="same", dilation=2), nn.Tanh(), *head()),
        "transposed": nn.Sequential(
            nn.ConvTranspose2d(2, 4, 3, 2, 1, output_padding=1, groups=2), nn.Tanh(), *head()
        ),
        "functional": Wrapped(
            lambda net, x: torch.conv2d(input=x, weight=net.stem.weight, padding=1),
            stem=convolution(bias=False),
        ),
        "channels last": Wrapped(
            lambda net, x: net.stem(x.to(memory_format=torch.channels_last)), stem=convolution()
        ),
        "other arithmetic between": Wrapped(
            lambda net, x: net.stem(x).softmax(1) * F.instance_norm(x).sum(1, keepdim=True),
            stem=convolution(),
        ),
        "partly without gradient": Wrapped(
            lambda net, x: net.stem(x) * torch.no_grad()(net.stem)(x), stem=convolution()
        ),
        "frozen stem": Wrapped(
            lambda net, x: net.conv(net.stem(x).relu()),
            stem=convolution().requires_grad_(False),
            conv=nn.Conv2d(4, 4, 3),
        ),
        "no convolution": nn.Sequential(nn.Flatten(), nn.Linear(72, 3), nn.GELU(), nn.Linear(3, 3)),
        "even kernel": nn.Sequential(convolution(kernel_size=2, padding="same"), nn.Tanh(), *head()),
        "weight norm": nn.Sequential(
            nn.utils.parametrizations.weight_norm(convolution()), nn.Tanh(), *head()
        ),
        "checkpoint": Wrapped(
            lambda net, x: checkpoint(net.stem, x, use_reentrant=False).tanh(), stem=convolution()
        ),
        "rows folded": Wrapped(
            lambda net, x: net.stem(x.view(-1, 1, 6, 6)).unflatten(0, (-1, 2)), stem=nn.Conv2d(1, 4, 3)
        ),
        "vmap": Wrapped(
            lambda net, x: torch.vmap(lambda w: F.conv2d(x, w))(net.stem.weight.expand(2, *[-1] * 4)).sum(0),
            stem=convolution(bias=False),
        ),
        "unbatched": Wrapped(lambda net, x: torch.stack([net.stem(y) for y in x]), stem=convolution()),
    }


def ready(build: Callable[[], nn.Module], dtype: torch.dtype = torch.float64) -> nn.Module:
    def built() -> nn.Module:
        net = build()
        net(torch.zeros(1, 2, 6, 6))  # gives lazy layers their sizes
        return net

    return seeded(0, built).to(dtype)


def batch(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """All rows and their labels, and the masks of the last ones."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(ROWS, 2, 6, 6, generator=generator, dtype=torch.float64)
    masks = torch.rand(MARKED, 6, 6, generator=generator, dtype=torch.float64)
    return images.to(dtype), torch.arange(ROWS) % 3, masks.to(dtype)


def of_the_batch(net: nn.Module, images: Tensor, labels: Tensor, masks: Tensor) -> Tensor:
    plain, marked = torch.arange(ROWS - MARKED), torch.arange(MARKED)
    aligned = AlignmentSet(images[-MARKED:], labels[-MARKED:], masks)
    rows = TrainingRows(images[:-MARKED], labels[:-MARKED], aligned, images.device, images.dtype)
    return batch_loss(net, rows, Batch(plain, plain[:0], marked), FixedStrength(10.0)).loss


def of_the_whole(net: nn.Module, images: Tensor, labels: Tensor, masks: Tensor) -> Tensor:
    """The loss as one would write it: every row through torch's own double backward."""
    images = images.clone().requires_grad_()
    logits = net(images)
    gradient = input_gradient(logits, images)[-MARKED:]
    return F.cross_entropy(logits, labels) + 10 * (masks[:, None] * gradient).square().sum() / MARKED


@pytest.fixture(autouse=True)
def own_generator() -> object:
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", seeded(0, nets))
def test_loss_and_gradients_are_those_of_the_whole_batch(name: str, dtype: torch.dtype) -> None:
    net, given = ready(lambda: nets()[name], dtype), batch(dtype)
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    before = state(net)
    found, expected = of_the_batch(net, *given), of_the_whole(net, *given)
    assert_equal_states(net, before)
    rtol, atol = OP[dtype]
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)
    pairs = zip(*(torch.autograd.grad(loss, parameters) for loss in (found, expected)), strict=True)
    for one, other in pairs:
        scale = float(other.abs().max())
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol + rtol * scale)


def test_the_users_tensors_and_modules_stay() -> None:
    net, (images, labels, masks) = ready(lambda: nets()["residual"]), batch()
    before = {name: dict(vars(part)) for name, part in net.named_modules()}
    of_the_batch(net, images, labels, masks).backward()
    assert not images.requires_grad
    assert {name: dict(vars(part)) for name, part in net.named_modules()} == before


def small_net(compiled: bool = False) -> nn.Module:
    net = seeded(
        0, lambda: nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    )
    return torch.compile(net, backend="eager") if compiled else net


def test_compiled_modules_are_aligned_as_eager_ones() -> None:
    options = TrainingOptions(epochs=1, batch_size=8)
    eager, compiled = (
        train(small_net(flag), *data(16), options, alignment_set=alignment_set(5), seed=0)
        for flag in (False, True)
    )
    assert eager.history.loss == compiled.history.loss
    for one, other in zip(eager.module.parameters(), compiled.module.parameters(), strict=True):
        assert torch.equal(one, other)
