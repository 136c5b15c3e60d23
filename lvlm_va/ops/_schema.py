"""Schemas, shapes and derivatives of the ops, whatever implements them.

The compiled kernels register themselves for CPU and CUDA; the plain-torch reference stands behind them for
every device that has no kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lvlm_va.ops import _native
from lvlm_va.ops.reference import attribution as attribution_reference
from lvlm_va.ops.reference import masked_gradient_penalty as penalty_reference
from lvlm_va.ops.reference import ppeps_em as em_reference
from lvlm_va.ops.reference import segment_masks as masks_reference

# Lives as long as the process: the registrations end with it.
LIBRARY = torch.library.Library("lvlm_va", "FRAGMENT")


def _define(schema: str, reference: Callable[..., Any], fake: Callable[..., Any]) -> None:
    def fallback(*args: Any) -> Any:
        _native.warn_without_native(args[0].device.type)
        # What derivatives an op has is said below, not by how its reference is written.
        with torch.no_grad():
            return reference(*args)

    name = LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    LIBRARY.impl(name, fallback, "CompositeExplicitAutograd")
    torch.library.register_fake(f"lvlm_va::{name}", fake, lib=LIBRARY)


def _fake_penalty(gradient: Tensor, mask: Tensor) -> Tensor:
    return gradient.new_empty(gradient.shape[0])


def _fake_penalty_backward(grad_output: Tensor, gradient: Tensor, mask: Tensor) -> Tensor:
    return gradient.new_empty(gradient.shape)


def _fake_em(
    weights: Tensor, means: Tensor, covariances: Tensor, shares: Tensor, *options: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    n = weights.shape[0]
    return (
        means.new_empty(means.shape),
        means.new_empty(covariances.shape),
        means.new_empty(shares.shape),
        means.new_empty(n),
        means.new_empty(n, dtype=torch.int64),
        means.new_empty(weights.shape, dtype=torch.int64),
    )


def _fake_rescale(
    grad_output: Tensor, input: Tensor, reference: Tensor, activation: str, parameters: list[float]
) -> Tensor:
    return input.new_empty(reference.shape[0], *input.shape[1:])


def _fake_maxpool(
    grad_output: Tensor, input: Tensor, reference: Tensor, input_indices: Tensor, reference_indices: Tensor
) -> Tensor:
    return input.new_empty(reference.shape[0], *input.shape[1:])


def _fake_reduce(multipliers: Tensor, images: Tensor, references: Tensor) -> Tensor:
    return images.new_empty(images.shape[1:])


def _fake_masks(labels: Tensor, spurious: Tensor, dtype: torch.dtype) -> Tensor:
    return labels.new_empty(labels.shape, dtype=dtype)


_define(
    "masked_gradient_penalty(Tensor gradient, Tensor mask) -> Tensor",
    penalty_reference.masked_gradient_penalty,
    _fake_penalty,
)
_define(
    "masked_gradient_penalty_backward(Tensor grad_output, Tensor gradient, Tensor mask) -> Tensor",
    penalty_reference.masked_gradient_penalty_backward,
    _fake_penalty_backward,
)
_define(
    "ppeps_em(Tensor weights, Tensor means, Tensor covariances, Tensor shares, float floor_row, "
    "float floor_column, int max_iter, float tol) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    em_reference.ppeps_em,
    _fake_em,
)
_define(
    "rescale_multipliers(Tensor grad_output, Tensor input, Tensor reference, str activation, "
    "float[] parameters) -> Tensor",
    attribution_reference.rescale_multipliers,
    _fake_rescale,
)
_define(
    "maxpool_rescale(Tensor grad_output, Tensor input, Tensor reference, Tensor input_indices, "
    "Tensor reference_indices) -> Tensor",
    attribution_reference.maxpool_rescale,
    _fake_maxpool,
)
_define(
    "attribution_reduce(Tensor multipliers, Tensor images, Tensor references) -> Tensor",
    attribution_reference.attribution_reduce,
    _fake_reduce,
)
_define(
    "segment_masks(Tensor labels, Tensor spurious, ScalarType dtype) -> Tensor",
    masks_reference.segment_masks,
    _fake_masks,
)


def _save_gradient_and_mask(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _penalty_backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, None]:
    gradient, mask = ctx.saved_tensors
    if not ctx.needs_input_grad[0]:
        return None, None
    backward = torch.ops.lvlm_va.masked_gradient_penalty_backward.default
    return backward(grad_output, gradient, mask), None


torch.library.register_autograd(
    "lvlm_va::masked_gradient_penalty",
    _penalty_backward,
    setup_context=_save_gradient_and_mask,
    lib=LIBRARY,
)


def _save_all(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _penalty_double_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    """Differentiate ``b = 2 o m^2 g``: ``2 sum m^2 g grad`` in o, and b with `grad` for g in g."""
    grad_output, gradient, mask = ctx.saved_tensors
    by_grad_output = by_gradient = None
    if ctx.needs_input_grad[0]:
        by_grad_output = 2 * (mask.square().unsqueeze(1) * gradient * grad).flatten(1).sum(1)
    if ctx.needs_input_grad[1]:
        backward = torch.ops.lvlm_va.masked_gradient_penalty_backward.default
        by_gradient = backward(grad_output, grad, mask)
    return by_grad_output, by_gradient, None


torch.library.register_autograd(
    "lvlm_va::masked_gradient_penalty_backward",
    _penalty_double_backward,
    setup_context=_save_all,
    lib=LIBRARY,
)


# Their results carry no gradient, whatever their arguments carry: autograd hands the call on and records nothing.
for _name in ("attribution_reduce", "maxpool_rescale", "ppeps_em", "rescale_multipliers", "segment_masks"):
    LIBRARY.impl(_name, torch.library.fallthrough_kernel, "Autograd")
