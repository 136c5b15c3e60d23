"""What attributions must not depend on, and what they must not touch."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lvlm_va.attribution import DeepLiftShap, GradientXInput, IntegratedGradients
from lvlm_va.attribution.memory import Plan
from lvlm_va.attribution.tape import Tape
from tests.attribution import nets
from tests.tolerances import OP

RTOL, ATOL = OP[torch.float64]
IMAGES, REFERENCES = nets.rand(5, 3, 16, 16), nets.rand(6, 3, 16, 16, seed=1)
TARGET = torch.tensor([0, 3, 9, 3, 1])
NETS: dict[str, Callable[[], nn.Module]] = {
    "resnet": nets.ReusedInPlaceResNet,
    "functional": nets.Functional,
    "attention": lambda: nets.Attention(batch_first=False),
}


@pytest.fixture(params=NETS)
def net(request: pytest.FixtureRequest) -> nn.Module:
    return nets.randomised(NETS[request.param]())


def attributions(net: nn.Module, images: Tensor, target: Tensor, references: Tensor, **kwargs: Any) -> Tensor:
    return DeepLiftShap(**kwargs).attribute(net, images, target, references).attributions


def test_batch_mates(net: nn.Module) -> None:
    together = attributions(net, IMAGES, TARGET, REFERENCES)
    for i in (0, 3):
        alone = attributions(net, IMAGES[i : i + 1], TARGET[i : i + 1], REFERENCES)
        torch.testing.assert_close(alone, together[i : i + 1], rtol=RTOL, atol=ATOL)


def test_order_of_references(net: nn.Module) -> None:
    torch.testing.assert_close(
        attributions(net, IMAGES, TARGET, REFERENCES),
        attributions(net, IMAGES, TARGET, REFERENCES.flip(0)),
        rtol=RTOL,
        atol=ATOL,
    )


@pytest.mark.parametrize("per_image", [False, True])
def test_chunks(net: nn.Module, per_image: bool) -> None:
    images, target, references = IMAGES[:3], TARGET[:3], REFERENCES[:4]
    if per_image:
        references = references[:, None].expand(-1, 3, -1, -1, -1)
    whole = attributions(net, images, target, references, max_memory=2**33)
    for max_memory in (1, 2_000_000):
        chunked = attributions(net, images, target, references, max_memory=max_memory)
        torch.testing.assert_close(chunked, whole, rtol=RTOL, atol=ATOL)


def test_plans_keep_within_the_limit() -> None:
    single = Tape(n_bytes=1000, largest=100)
    device = torch.device("cpu")
    assert Plan.fit(single, 50, 20, False, device, 1) == Plan(1, 1, 1)
    for limit in (10_000, 100_000, 1_000_000):
        for per_image in (False, True):
            plan = Plan.fit(single, 50, 20, per_image, device, limit)
            recorded = plan.references * (plan.images if per_image else 1)
            assert 1000 * (recorded + plan.images) + 800 * plan.images * plan.pairs <= limit
    assert Plan.fit(single, 5, 4, False, device, 10**9) == Plan(4, 5, 4)


def test_plans_do_not_grow_with_the_references_of_one_block() -> None:
    single = Tape(n_bytes=10**7, largest=10**6)
    device = torch.device("cpu")
    assert Plan.fit(single, 8, 50, False, device, 10**9) == Plan.fit(single, 8, 5000, False, device, 10**9)
    # Several blocks of images share references that were forwarded once.
    assert Plan.fit(single, 800, 20, False, device, 10**9).references == 20


class Counting(nn.Module):
    """Counts its calls in a buffer, and has hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nets.ReusedInPlaceResNet()
        self.register_buffer("calls", torch.zeros(()))
        self.hooked = 0
        self.net.stem.register_forward_hook(self._hook)

    def _hook(self, *_: object) -> None:
        self.hooked += 1

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.training:
            raise AssertionError
        if self.hooked == 100:
            raise ArithmeticError
        return self.net(x)


def snapshot(module: nn.Module) -> dict[str, Any]:
    return {
        "tensors": {
            name: (id(t), t._version, t.requires_grad, t.grad, t.detach().clone())
            for name, t in (*module.named_parameters(), *module.named_buffers())
        },
        "modes": [child.training for child in module.modules()],
        "hooks": [(list(child._forward_hooks), list(child._backward_hooks)) for child in module.modules()],
        "attributes": [sorted(vars(child)) for child in module.modules()],
    }


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    for name, (*facts, values) in before["tensors"].items():
        (*facts_after, values_after) = after["tensors"][name]
        assert facts == facts_after
        assert torch.equal(values, values_after)
    assert {k: v for k, v in before.items() if k != "tensors"} == {
        k: v for k, v in after.items() if k != "tensors"
    }


@pytest.mark.parametrize(
    "method", [DeepLiftShap(), IntegratedGradients(2), GradientXInput()], ids=lambda m: m.name
)
@pytest.mark.parametrize("fails", [False, True])
def test_the_module_is_left_as_it_was(method: Any, fails: bool) -> None:
    module = nets.randomised(Counting()).train()
    module.net.blocks.eval()
    module.net.head.weight.requires_grad_(False)
    images, references = IMAGES.clone(), REFERENCES.clone()
    module.hooked = 99 if fails else 0
    before = snapshot(module)
    if fails:
        with pytest.raises(ArithmeticError):
            method.attribute(module, images, TARGET, references)
            method.attribute(module, images, TARGET, references)
    else:
        method.attribute(module, images, TARGET, references)
    assert_same(before, snapshot(module))
    assert torch.equal(images, IMAGES)
    assert torch.equal(references, REFERENCES)


class Holding(nn.Module):
    """Has parts under two names and in a list, tied weights, and keeps whatever passes."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nets.lenet()
        self.stem, self.hidden = self.net[0], [nn.Linear(10, 10).double()]
        self.tied = nn.Linear(10, 10)
        self.tied.weight = self.net[9].weight = nn.Parameter(torch.ones(10, 20))
        self.tied.forward = lambda h: nn.functional.linear(h, self.tied.weight[:, :10])
        self.register_buffer("scale", torch.ones(10))
        self.last, self.all, self.by_name = None, [], {}

    def forward(self, x: Tensor) -> Tensor:
        h = self.net(x)
        self.last, self.new = h, [h]
        self.all.append(h)
        self.by_name["h"] = h
        self.scale.mul_(2)
        if self.fails and x.requires_grad:
            raise ArithmeticError
        return self.tied(self.hidden[0](h) * self.scales[0])


@pytest.mark.parametrize(
    "method", [DeepLiftShap(), IntegratedGradients(2), GradientXInput()], ids=lambda m: m.name
)
@pytest.mark.parametrize("fails", [False, True])
def test_whatever_holds_a_tensor_holds_the_same_one_afterwards(method: Any, fails: bool) -> None:
    module = nets.randomised(Holding())
    module.fails, module.scales = fails, [module.scale]
    parts = [*module.modules(), module.hidden[0]]
    before = [dict(vars(part)) for part in parts]
    parameters = [*module.parameters(), *module.hidden[0].parameters()]
    if fails:
        with pytest.raises(ArithmeticError):
            method.attribute(module, IMAGES, TARGET, REFERENCES)
    else:
        method.attribute(module, IMAGES, TARGET, REFERENCES)
    for part, held in zip(parts, before, strict=True):
        assert vars(part).keys() == held.keys()
        assert all(vars(part)[key] is value for key, value in held.items())
    after = [*module.parameters(), *module.hidden[0].parameters()]
    assert all(a is b for a, b in zip(parameters, after, strict=True))
    assert all(type(p) is nn.Parameter and p.requires_grad and p.grad is None for p in after)
    assert module.stem is module.net[0]
    assert (module.all, module.by_name, module.last) == ([], {}, None)
    assert module.scales[0] is module.scale
    assert bool((module.scale == 1).all())


class Closure(nn.Module):
    """Weights that it does not know of."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.head, self.call = nn.Linear(10, 10), lambda x: net(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.call(x))


def test_weights_that_are_not_registered() -> None:
    net = nets.randomised(nets.lenet())
    module = nets.randomised(Closure(net))
    found = attributions(module, IMAGES, TARGET, REFERENCES)
    assert all(parameter.requires_grad for parameter in net.parameters())
    together = attributions(nn.Sequential(net, module.head), IMAGES, TARGET, REFERENCES)
    torch.testing.assert_close(found, together, rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize(
    "method", [DeepLiftShap(), IntegratedGradients(2), GradientXInput()], ids=lambda m: m.name
)
@pytest.mark.parametrize(
    "context",
    [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)],
    ids=["no_grad", "inference_mode", "autocast"],
)
def test_the_callers_context(method: Any, context: Callable[[], Any]) -> None:
    net = nets.randomised(nets.lenet(), dtype=torch.float32)
    plain = method.attribute(net, IMAGES, TARGET, REFERENCES)
    with context():
        inside = method.attribute(net, IMAGES.clone(), TARGET.clone(), REFERENCES.clone())
    assert torch.equal(plain.attributions, inside.attributions)
    assert not inside.attributions.is_inference()


def test_reduced_precision_is_off_while_attributing() -> None:
    seen = []
    net = nets.randomised(nets.mlp(), dtype=torch.float32)
    net.register_forward_hook(lambda *_: seen.append(torch.backends.mkldnn.matmul.fp32_precision))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        set_by_user = torch.backends.mkldnn.matmul.fp32_precision
        attributions(net, IMAGES, TARGET, REFERENCES)
        assert torch.backends.mkldnn.matmul.fp32_precision == set_by_user
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert set_by_user not in seen
    assert set(seen) <= {"ieee", "none"}


def test_nothing_outlives_the_call() -> None:
    net = nets.randomised(nets.Functional())
    attributions(net, IMAGES, TARGET, REFERENCES)
    gc.collect()
    gc.disable()
    try:
        before = sum(issubclass(type(obj), Tensor | Tape) for obj in gc.get_objects())
        for _ in range(2):
            attributions(net, IMAGES, TARGET, REFERENCES)
        after = sum(issubclass(type(obj), Tensor | Tape) for obj in gc.get_objects())
    finally:
        gc.enable()
    assert after <= before
