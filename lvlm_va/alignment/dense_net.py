"""The loss of an alignment batch and its derivative by hand, for chains of linear maps and rectifiers.

Autograd takes a batch of such a small net apart into some hundred and fifty calls, which cost more than the products
do. Written out it is four walks along the chain: all rows forward, the marked rows' input gradient backward,
the penalty's derivative forward, and the loss of all rows backward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.modules.module import _has_any_global_hook

from lvlm_va.ops import masked_gradient_penalty

Layer = nn.Linear | nn.ReLU
# From mean penalty and mean cross-entropy to lambda.
Weigh = Callable[[Tensor, Tensor], float]

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@dataclass(frozen=True, eq=False)
class DenseTerms:
    """What `dense_loss` returns: the loss, whose graph leads straight to the parameters, and its parts without one."""

    loss: Tensor
    cross_entropy_sum: Tensor
    penalty_sum: Tensor
    logits: Tensor


def dense_layers(module: nn.Module) -> tuple[Layer, ...] | None:
    """Return the layers of a chain ``Flatten, Linear, ReLU, Linear, ...``, or None for any other module.

    Only torch's own classes in `nn.Sequential` count, without hooks: others may do more than their name says.
    """
    first, *layers = list(_leaves(module)) or [module]
    parameters = [parameter for layer in layers for parameter in layer.parameters()]
    is_chain = (
        type(first) is nn.Flatten
        and (first.start_dim, first.end_dim) == (1, -1)
        and any(type(layer) is nn.Linear for layer in layers)
        and all(type(layer) in (nn.Linear, nn.ReLU) for layer in layers)
        and all(type(parameter) is nn.Parameter for parameter in parameters)
        and len(set(parameters)) == len(parameters)
        and not _has_any_global_hook()
        and not any(getattr(part, hooks) for part in module.modules() for hooks in _HOOKS)
        and not any("forward" in vars(part) for part in module.modules())
    )
    return cast(tuple[Layer, ...], tuple(layers)) if is_chain else None


def dense_loss(
    layers: Sequence[Layer],
    images: Tensor,
    labels: Tensor,
    masks: Tensor,
    n_rows: int,
    n_aligned: int,
    weigh: Weigh,
) -> DenseTerms:
    """Return ``cross entropy / n_rows + lambda * penalty / n_aligned``.

    Parameters
    ----------
    layers : sequence of nn.Linear and nn.ReLU
        From `dense_layers`.
    images : Tensor of shape (n, C, *spatial)
        A batch, the marked rows last.
    labels : Tensor of shape (n,), int64
        Their classes.
    masks : Tensor of shape (m, *spatial)
        Of the marked rows.
    n_rows, n_aligned : int
        Over how many rows the cross-entropy and the penalty are averaged; more than here in a part of a batch.
    weigh : callable
        Gives lambda.
    """
    with torch.no_grad():
        loss, terms, gradients = _differentiate(layers, images, labels, masks, n_rows, n_aligned, weigh)
    return DenseTerms(_Loss.apply(loss, list(gradients.values()), *gradients), *terms)


class _Loss(Function):
    """A scalar whose derivatives are known."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: list[Tensor], *parameters: Tensor) -> Tensor:
        """Return the loss."""
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the derivatives, times the scalar's own."""
        return None, None, *torch._foreach_mul(ctx.gradients, grad)


def _differentiate(
    layers: Sequence[Layer],
    images: Tensor,
    labels: Tensor,
    masks: Tensor,
    n_rows: int,
    n_aligned: int,
    weigh: Weigh,
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor], dict[Tensor, Tensor]]:
    """Return the loss, its parts, and its derivatives."""
    n, marked = len(images), slice(len(images) - len(masks), None)
    # The input of each layer, and at the end the logits.
    values = [images.flatten(1)]
    for layer in layers:
        values.append(_forward(layer, values[-1]))
    logits, outputs = values[-1], values[1:]
    log_probs = logits.log_softmax(1)
    probs = log_probs.exp()
    n_classes = logits.shape[1]
    cross_entropy = F.nll_loss(log_probs, labels, reduction="sum")

    # d/dz sum_k log softmax(z)_k = 1 - K softmax(z), taken down to the images.
    passed = [1 - n_classes * probs[marked]]
    for layer, output in zip(reversed(layers), reversed(outputs), strict=True):
        passed.append(_backward(layer, passed[-1], output[marked]))
    gradient = passed.pop().view_as(images[marked])
    passed.reverse()
    penalty = masked_gradient_penalty(gradient, masks).sum()
    weight = weigh(penalty / n_aligned, cross_entropy / n_rows)
    loss = cross_entropy / n_rows + weight * (penalty / n_aligned)

    # The penalty's derivative in that gradient, taken up; a weight's share is its product with what was passed down.
    gradients: dict[Tensor, Tensor] = {}
    share = gradient.new_full((len(masks),), weight / n_aligned)
    up = torch.ops.lvlm_va.masked_gradient_penalty_backward.default(share, gradient, masks).flatten(1)
    for layer, output, down in zip(layers, outputs, passed, strict=True):
        if isinstance(layer, nn.Linear):
            if layer.weight.requires_grad:
                gradients[layer.weight] = down.t() @ up
            up = up @ layer.weight.t()
        else:
            up = _gate(up, output[marked])
    softmax = probs[marked]
    by_logits = softmax * ((softmax * up).sum(1, keepdim=True) - up) * n_classes

    # The loss taken down, to which the penalty adds through the softmax of its rows.
    down = probs
    down.scatter_add_(1, labels[:, None], down.new_tensor(-1.0).expand(n, 1)).div_(n_rows)
    down[marked] += by_logits
    for i, layer in reversed(list(enumerate(layers))):
        if isinstance(layer, nn.Linear):
            _add(gradients, layer, down, values[i])
        if i:
            down = _backward(layer, down, outputs[i])
    return loss, (cross_entropy, penalty, logits), gradients


def _forward(layer: Layer, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight, layer.bias) if isinstance(layer, nn.Linear) else F.relu(x)


def _backward(layer: Layer, grad: Tensor, output: Tensor) -> Tensor:
    return grad @ layer.weight if isinstance(layer, nn.Linear) else _gate(grad, output)


def _gate(grad: Tensor, output: Tensor) -> Tensor:
    """Let through what a rectifier let through."""
    gated: Tensor = torch.ops.aten.threshold_backward.default(grad, output, 0)
    return gated


def _add(gradients: dict[Tensor, Tensor], layer: nn.Linear, grad: Tensor, x: Tensor) -> None:
    if layer.weight in gradients:
        gradients[layer.weight].addmm_(grad.t(), x)
    elif layer.weight.requires_grad:
        gradients[layer.weight] = grad.t() @ x
    if layer.bias is not None and layer.bias.requires_grad:
        gradients[layer.bias] = grad.sum(0)


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    if type(module) is nn.Sequential:
        for part in module:
            yield from _leaves(part)
    else:
        yield module
