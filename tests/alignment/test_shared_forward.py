from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lvlm_va.alignment import AlignmentSet, TrainingOptions, train
from lvlm_va.alignment.penalty import input_gradient
from lvlm_va.alignment.shared_forward import _Sharing, forward_shared
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
    """Nets all of whose convolutions, linear maps and norms can be taken from the first run."""
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
    }


def left_to_torch() -> dict[str, nn.Module]:
    """Nets that are forwarded and differentiated as ever, in part or as a whole."""
    return {
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
        "other rows elsewhere": Wrapped(
            lambda net, x: net.stem(x) * net.stem(x + len(x)).tanh(), stem=convolution()
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
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(ROWS, 2, 6, 6, generator=generator, dtype=torch.float64)
    masks = torch.rand(MARKED, 1, 6, 6, generator=generator, dtype=torch.float64)
    return images.to(dtype), torch.arange(ROWS) % 3, masks.to(dtype)


def loss_of(logits: Tensor, gradient: Tensor, labels: Tensor, masks: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels) + 10 * (masks * gradient).square().sum()


def whole(net: nn.Module, images: Tensor, labels: Tensor, masks: Tensor) -> Tensor:
    """The loss as one would write it: every row through torch's own double backward."""
    images = images.clone().requires_grad_()
    logits = net(images)
    return loss_of(logits, input_gradient(logits, images)[-MARKED:], labels, masks)


def assert_as_whole(net: nn.Module, expect_saved: bool, dtype: torch.dtype = torch.float64) -> None:
    images, labels, masks = batch(dtype)
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    before = state(net)
    torch.manual_seed(0)
    logits, gradient, saved = forward_shared(net, images, MARKED)
    loss = loss_of(logits, gradient, labels, masks)
    ours = torch.autograd.grad(loss, parameters)
    assert saved == expect_saved
    assert not images.requires_grad
    assert_equal_states(net, before)
    torch.manual_seed(0)
    expected = whole(net, images, labels, masks)
    rtol, atol = OP[dtype]
    torch.testing.assert_close(loss, expected, rtol=rtol, atol=atol)
    theirs = torch.autograd.grad(expected, parameters)
    for one, other in zip(ours, theirs, strict=True):
        scale = float(other.abs().max())
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol + rtol * scale)


@pytest.fixture(autouse=True)
def own_generator() -> object:
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", seeded(0, nets))
def test_loss_and_gradients_are_those_of_the_whole_batch(name: str, dtype: torch.dtype) -> None:
    assert_as_whole(ready(lambda: nets()[name], dtype), expect_saved=True, dtype=dtype)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("name", seeded(0, left_to_torch))
def test_what_cannot_be_shared_is_left_to_torch(name: str) -> None:
    net = ready(lambda: left_to_torch()[name])
    if name == "other rows elsewhere":  # it looks at the number of rows: no two ways of forwarding it agree
        assert not forward_shared(net, batch()[0], MARKED)[2]
    else:
        assert_as_whole(net, expect_saved=False)


def test_autocast_is_left_to_torch() -> None:
    net = ready(
        lambda: Wrapped(lambda net, x: torch.autocast("cpu")(net.stem)(x).float(), stem=convolution()),
        torch.float32,
    )
    assert not forward_shared(net, batch(torch.float32)[0], MARKED)[2]


@pytest.mark.parametrize("kind", [nn.Dropout, nn.Dropout2d])
@pytest.mark.parametrize("inplace", [False, True])
def test_dropout_drops_the_same_in_both_runs(kind: type[nn.Module], inplace: bool) -> None:
    net = ready(
        lambda: nn.Sequential(
            convolution(), nn.GELU(), kind(0.4, inplace=inplace), nn.Conv2d(4, 4, 3), *head()
        )
    )
    assert_as_whole(net, expect_saved=True)


def test_hooks_and_forwards_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    net = ready(lambda: nets()["residual"])
    calls: list[str] = []
    net.conv.register_forward_hook(lambda *_: calls.append("hook"))
    before = {name: dict(vars(part)) for name, part in net.named_modules()}
    forward_shared(net, batch()[0], MARKED)
    assert calls == ["hook"] * 4
    assert {name: dict(vars(part)) for name, part in net.named_modules()} == before
    assert torch.overrides._get_current_function_mode() is None


@pytest.mark.parametrize("finish", [True, False])
def test_graph_is_freed_without_the_garbage_collector(finish: bool) -> None:
    net = ready(lambda: nets()["wide"])
    images, labels, masks = batch()
    gc.collect()
    gc.disable()
    try:
        logits, gradient, _ = forward_shared(net, images, MARKED)
        loss = loss_of(logits, gradient, labels, masks)
        if finish:
            loss.backward()
        del logits, gradient, loss
        assert not any(type(kept) is _Sharing for kept in gc.get_objects())
    finally:
        gc.enable()


@pytest.mark.parametrize("of", ["input", "weight"])
def test_a_module_that_differentiates_is_left_alone(of: str) -> None:
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        energy = net.stem(x).square().sum()
        what = x if of == "input" else net.stem.weight
        if not what.requires_grad:  # all rows are forwarded without
            return net.stem(x)
        (slope,) = torch.autograd.grad(energy, what, create_graph=True)
        return net.stem(x) * slope.mean()

    net = ready(lambda: Wrapped(forward, stem=convolution()))
    assert forward_shared(net, batch()[0], MARKED) is None


def test_a_third_derivative_is_refused_rather_than_wrong() -> None:
    images, labels, masks = batch()
    net = ready(lambda: nets()["gelu"])
    logits, gradient, _ = forward_shared(net, images, MARKED)
    loss = loss_of(logits, gradient, labels, masks)
    with pytest.raises(RuntimeError, match="differentiated once"):
        torch.autograd.grad(loss, list(net.parameters()), create_graph=True)


def small_net(compiled: bool = False) -> nn.Module:
    net = seeded(
        0, lambda: nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    )
    return torch.compile(net, backend="eager") if compiled else net


def test_training_shares_for_convolutional_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    from lvlm_va.alignment import objective

    seen: list[bool] = []

    def forward(module: nn.Module, images: Tensor, n_marked: int) -> tuple[Tensor, Tensor, bool] | None:
        result = forward_shared(module, images, n_marked)
        seen.append(result is not None and result[2])
        return result

    monkeypatch.setattr(objective, "forward_shared", forward)
    options = TrainingOptions(epochs=2, batch_size=8)
    images, labels = data(16)
    aligned = alignment_set(5)
    aligned = AlignmentSet(aligned.images, aligned.labels, torch.ones_like(aligned.masks))
    train(small_net(), images, labels, options, alignment_set=aligned, seed=0)
    assert seen == [True] * 8  # batches
    seen.clear()
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Tanh())
    train(net, images, labels, options, alignment_set=aligned, seed=0)
    assert seen == [False] * 2  # tried once an epoch


def test_compiled_modules_are_aligned_as_eager_ones() -> None:
    options = TrainingOptions(epochs=1, batch_size=8)
    eager, compiled = (
        train(small_net(flag), *data(16), options, alignment_set=alignment_set(5), seed=0)
        for flag in (False, True)
    )
    assert eager.history.loss == compiled.history.loss
    for one, other in zip(eager.module.parameters(), compiled.module.parameters(), strict=True):
        assert torch.equal(one, other)
