from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from lvlm_va.alignment import AlignmentSet, right_reasons_penalty
from lvlm_va.alignment.mixing import Batch
from lvlm_va.alignment.objective import TrainingRows, batch_loss
from lvlm_va.alignment.strength import FixedStrength
from tests.alignment.nets import AttentionNet, alignment_set, data, seeded, smooth_net
from tests.tolerances import OP

DOUBLE = dict(zip(("rtol", "atol"), OP[torch.float64], strict=True))


def test_equals_the_squared_jacobian_of_each_image() -> None:
    net, aligned = smooth_net(), alignment_set(4, dtype=torch.float64)
    expected = []
    for image, mask in zip(aligned.images, aligned.masks, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda x: net(x[None]).log_softmax(1)[0], image)
        expected.append((mask * jacobian.sum(0)).square().sum())
    inputs = aligned.images.clone().requires_grad_()
    penalty = right_reasons_penalty(net(inputs), inputs, aligned.masks)
    assert penalty.shape == (4,)
    torch.testing.assert_close(penalty, torch.stack(expected), **DOUBLE)


def test_masks_may_be_bool_and_are_shared_by_channels() -> None:
    inputs = torch.rand(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.arange(24.0, dtype=torch.float64).view(12, 2)
    logits = inputs.flatten(1) @ weight
    mask = torch.tensor([[True, False], [False, False]])
    gradient = torch.autograd.grad(logits.log_softmax(1).sum(), inputs, retain_graph=True)[0]
    penalty = right_reasons_penalty(logits, inputs, mask.expand(2, 2, 2))
    torch.testing.assert_close(penalty, gradient[:, :, 0, 0].square().sum(1), **DOUBLE)


def test_loss_has_the_gradients_that_differences_show() -> None:
    net, aligned = smooth_net(), alignment_set(4, dtype=torch.float64)
    names = [name for name, _ in net.named_parameters()]

    def loss(*values: torch.Tensor) -> torch.Tensor:
        inputs = aligned.images.clone().requires_grad_()
        logits = functional_call(net, dict(zip(names, values, strict=True)), (inputs,))
        penalty = right_reasons_penalty(logits, inputs, aligned.masks).mean()
        return F.cross_entropy(logits, aligned.labels) + 0.3 * penalty

    parameters = tuple(value.detach().clone().requires_grad_() for value in net.parameters())
    assert torch.autograd.gradcheck(loss, parameters)


def test_rows_forwarded_apart_give_the_loss_of_the_whole_batch() -> None:
    net, aligned = smooth_net(), alignment_set(6, dtype=torch.float64)
    images, labels = data(5, dtype=torch.float64)
    rows = TrainingRows(images, labels, aligned, torch.device("cpu"), torch.float64)
    marked = aligned.masks.flatten(1).any(1)
    batch = Batch(torch.arange(5), (~marked).nonzero()[:, 0], marked.nonzero()[:, 0])
    terms = batch_loss(net, rows, batch, FixedStrength(0.3))
    split = torch.autograd.grad(terms.loss, list(net.parameters()))

    inputs = torch.cat([images, aligned.images]).requires_grad_()
    logits = net(inputs)
    masks = torch.cat([torch.zeros(5, 4, 4, dtype=torch.float64), aligned.masks])
    penalty = right_reasons_penalty(logits, inputs, masks).sum() / 6
    whole = F.cross_entropy(logits, torch.cat([labels, aligned.labels])) + 0.3 * penalty
    torch.testing.assert_close(terms.loss, whole, **DOUBLE)
    torch.testing.assert_close(split, torch.autograd.grad(whole, list(net.parameters())), **DOUBLE)
    torch.testing.assert_close(terms.penalty_sum / 6, penalty.detach(), **DOUBLE)


def test_fused_attention_can_be_penalised() -> None:
    aligned = alignment_set(3)
    aligned = AlignmentSet(aligned.images, aligned.labels, torch.ones_like(aligned.masks))
    net = seeded(0, AttentionNet)
    rows = TrainingRows(aligned.images, aligned.labels, aligned, torch.device("cpu"), torch.float32)
    none = torch.empty(0, dtype=torch.int64)
    terms = batch_loss(net, rows, Batch(none, none, torch.arange(3)), FixedStrength(1.0))
    terms.loss.backward()
    assert terms.penalty_sum > 0
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize("requires_grad", [True, False])
def test_says_when_no_gradient_reaches_the_inputs(requires_grad: bool) -> None:
    inputs = torch.rand(2, 1, 2, 2, requires_grad=requires_grad)
    logits = torch.rand(2, 3, requires_grad=True)
    with pytest.raises(ValueError, match="'logits' argument must be computed differentiably from 'inputs'"):
        right_reasons_penalty(logits, inputs, torch.ones(2, 2, 2))
