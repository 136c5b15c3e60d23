"""The faces of the attribution ops: DeepLIFT backward for every (reference, image) pair at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from lvlm_va.common.errors import unknown_name
from lvlm_va.ops._checks import FLOATING, require_device, require_tensor

Activation = Literal[
    "abs",
    "elu",
    "erf",
    "exp",
    "gelu",
    "gelu_tanh",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "log",
    "mish",
    "reciprocal",
    "relu",
    "rsqrt",
    "sigmoid",
    "silu",
    "softplus",
    "sqrt",
    "tanh",
]
ACTIVATIONS: tuple[str, ...] = get_args(Activation)
# How many numbers shape an activation; 0 where it is not named.
_N_PARAMETERS = {"elu": 3, "hardtanh": 2, "leaky_relu": 1, "softplus": 2}


def rescale_multipliers(
    grad_output: Tensor,
    input: Tensor,
    reference: Tensor,
    activation: Activation,
    parameters: Sequence[float] = (),
) -> Tensor:
    """Carry multipliers back through an elementwise activation f, for all pairs at once.

    ``m_in = m_out * (f(u) - f(r)) / (u - r)``, DeepLIFT's rescale rule (Shrikumar et al. 2017, arXiv
    1704.02685, eq. 14); the derivative where ``u = r``. Hence ``m_in * (u - r) = m_out * (f(u) - f(r))``.
    It is 0 where m_out is, whatever the slope, and where ``u = r`` (infinities included) and the slope is not finite:
    what does not change, or has no effect, explains nothing.

    Parameters
    ----------
    grad_output : Tensor of shape (B, n, *rest) or (1, n, *rest), float32 or float64
        Multipliers of the activation's output. B references, n images.
    input : Tensor of shape (1, n, *rest)
        The images' pre-activations u.
    reference : Tensor of shape (B, 1, *rest) or (B, n, *rest)
        The references' pre-activations r, shared by the images or one for each.
    activation : str
        ``abs``, ``elu`` (alpha, scale, input_scale: ``scale * (relu(x) + alpha * expm1(input_scale *
        min(x, 0)))``, thus ELU, SELU and CELU), ``erf``, ``exp``, ``gelu``, ``gelu_tanh``, ``hardswish``,
        ``hardtanh`` (low, high), ``leaky_relu`` (negative_slope), ``log``, ``mish``, ``reciprocal``,
        ``relu``, ``rsqrt``, ``sigmoid``, ``silu``, ``softplus`` (beta, threshold), ``sqrt`` or ``tanh``.
    parameters : sequence of float
        The numbers in parentheses above, in that order.

    Returns
    -------
    Tensor of shape (B, n, *rest)
        Multipliers of the activation's input.

    Raises
    ------
    TypeError, ValueError
        If a tensor is of another type, dtype, device or shape, the activation is unknown, or its number of
        parameters is wrong.

    Examples
    --------
    >>> import torch
    >>> from lvlm_va.ops import rescale_multipliers
    >>> u, r = torch.tensor([[[3.0]]]), torch.tensor([[[-1.0]]])
    >>> rescale_multipliers(torch.ones(1, 1, 1), u, r, "relu")
    tensor([[[0.7500]]])
    """
    if activation not in ACTIVATIONS:
        raise unknown_name("activation", activation, ACTIVATIONS)
    n_parameters = _N_PARAMETERS.get(activation, 0)
    if len(parameters) != n_parameters:
        raise ValueError(
            f"The 'parameters' argument must hold {n_parameters} numbers for {activation!r}. "
            f"Got {len(parameters)} instead."
        )
    _require_pairs(grad_output, input, reference)
    order = _memory_order(input)
    if order is not None:
        grad_output, input, reference = (t.permute(order) for t in (grad_output, input, reference))
    multipliers: Tensor = torch.ops.lvlm_va.rescale_multipliers.default(
        grad_output, input, reference, activation, [float(parameter) for parameter in parameters]
    )
    return multipliers if order is None else multipliers.permute(_inverse(order))


def maxpool_rescale(
    grad_output: Tensor,
    input: Tensor,
    reference: Tensor,
    input_indices: Tensor,
    reference_indices: Tensor,
) -> Tensor:
    """Carry multipliers back through max-pooling of any kind, for all pairs at once.

    Let i be where the image's window is highest and j where the reference's is. A window that rises,
    ``u_i >= r_j``, gives its change to i with the multiplier ``(u_i - r_j) / (u_i - r_i)``, one that falls to
    j with ``(u_i - r_j) / (u_j - r_j)``: both lie in [0, 1]. Shares of overlapping windows add up, so that
    ``sum m_in * (u - r) = sum m_out * (max u - max r)`` for every stride, padding and dilation.

    Parameters
    ----------
    grad_output : Tensor of shape (B, n, *rest, O) or (1, n, *rest, O), float32 or float64
        Multipliers of the O pooled values. B references, n images.
    input : Tensor of shape (1, n, *rest, S)
        The images' values before pooling, their S spatial positions flattened.
    reference : Tensor of shape (B, 1, *rest, S) or (B, n, *rest, S)
        The references' values.
    input_indices : Tensor of shape (1, n, *rest, O), int64
        Position in [0, S) of each window's maximum, as ``return_indices=True`` of torch's poolings gives it.
    reference_indices : Tensor of shape (B, 1, *rest, O) or (B, n, *rest, O), int64
        The same for the references.

    Returns
    -------
    Tensor of shape (B, n, *rest, S)
        Multipliers of the values before pooling.

    Raises
    ------
    TypeError, ValueError
        If a tensor is of another type, dtype, device or shape, or an index lies outside [0, S). On CUDA
        nobody waits to find that out: the S values that such an index belongs to become NaN instead.
    """
    _require_pairs(grad_output, input, reference, pooled=True)
    for name, indices, values in (
        ("input_indices", input_indices, input),
        ("reference_indices", reference_indices, reference),
    ):
        expected = (*values.shape[:-1], grad_output.shape[-1])
        if indices.dtype != torch.int64 or indices.shape != expected:
            raise ValueError(
                f"The {name!r} argument must be an int64 tensor of shape {tuple(expected)}. "
                f"Got {indices.dtype} of shape {tuple(indices.shape)} instead."
            )
        require_device(name, indices, "input", input)
    try:
        multipliers: Tensor = torch.ops.lvlm_va.maxpool_rescale.default(
            grad_output, input, reference, input_indices, reference_indices
        )
    except RuntimeError:
        _require_positions("input_indices", input_indices, input.shape[-1])
        _require_positions("reference_indices", reference_indices, input.shape[-1])
        raise
    return multipliers


def attribution_reduce(multipliers: Tensor, images: Tensor, references: Tensor) -> Tensor:
    """Average the contributions of the input over the references.

    ``phi_n = mean_b (x_n - r_bn) * m_bn`` (Lundberg & Lee 2017, arXiv 1705.07874, section 4.2).

    Parameters
    ----------
    multipliers : Tensor of shape (B, n, *shape) or (1, n, *shape), float32 or float64
        Multipliers of the input, B references for n images.
    images : Tensor of shape (1, n, *shape)
        The images.
    references : Tensor of shape (B, 1, *shape) or (B, n, *shape)
        The references, shared by the images or one for each.

    Returns
    -------
    Tensor of shape (n, *shape)
        Contributions, in units of the output.

    Raises
    ------
    TypeError, ValueError
        If a tensor is of another type, dtype, device or shape.
    """
    _require_pairs(multipliers, images, references, names=("multipliers", "images", "references"))
    order = _memory_order(images)
    if order is not None:
        multipliers, images, references = (t.permute(order) for t in (multipliers, images, references))
    contributions: Tensor = torch.ops.lvlm_va.attribution_reduce.default(multipliers, images, references)
    return contributions if order is None else contributions.permute([d - 1 for d in _inverse(order)[1:]])


def _memory_order(tensor: Tensor) -> list[int] | None:
    """Return the dimensions as they lie in memory, the first two in place; None where that is their own order.

    In this order the ops find the values of a channels-last tensor side by side, and copy nothing.
    """
    # While a graph is compiled, strides are symbols that cannot be sorted; the op then copies what it must.
    if tensor.is_contiguous() or torch.compiler.is_compiling():
        return None
    strides = tensor.stride()
    order = [0, 1, *sorted(range(2, tensor.ndim), key=lambda dim: -strides[dim])]
    return None if order == list(range(tensor.ndim)) else order


def _inverse(order: list[int]) -> list[int]:
    return sorted(range(len(order)), key=order.__getitem__)


def _require_positions(name: str, indices: Tensor, n_positions: int) -> None:
    low, high = (int(bound) for bound in indices.aminmax())
    if low < 0 or high >= n_positions:
        raise ValueError(
            f"The {name!r} argument must lie in [0, {n_positions}), the positions of 'input'. "
            f"Got {low if low < 0 else high} instead."
        )


_NAMES = ("grad_output", "input", "reference")


def _require_pairs(
    gradient: Tensor,
    input: Tensor,
    reference: Tensor,
    names: tuple[str, str, str] = _NAMES,
    *,
    pooled: bool = False,
) -> None:
    """Raise unless the tensors have the layout (references, images, *rest); the last of a pooled one is free."""
    # The sentences take longer than the op on a small net: they are made only where there is something to say.
    if not _are_pairs(gradient, input, reference, pooled):
        _refuse_pairs(gradient, input, reference, names, pooled)


def _are_pairs(gradient: object, input: object, reference: object, pooled: bool) -> bool:
    if not (isinstance(gradient, Tensor) and isinstance(input, Tensor) and isinstance(reference, Tensor)):
        return False
    g, u, r, dtype = gradient.shape, input.shape, reference.shape, input.dtype
    return (
        len(g) == len(r) == len(u) >= 2 + pooled
        and u[0] == 1
        and r[2:] == u[2:]
        and (r[1] == 1 or r[1] == u[1])
        and (g[0] == 1 or g[0] == r[0])
        and (g[1:-1] == u[1:-1] if pooled else g[1:] == u[1:])
        and dtype in FLOATING
        and gradient.dtype == dtype == reference.dtype
        and gradient.device == input.device == reference.device
    )


def _refuse_pairs(
    gradient: Tensor, input: Tensor, reference: Tensor, names: tuple[str, str, str], pooled: bool
) -> None:
    tensors = dict(zip(names, (gradient, input, reference), strict=True))
    layout = "(references, images, *rest, last)" if pooled else "(references, images, *rest)"
    for name, tensor in tensors.items():
        require_tensor(name, tensor, layout, 2 + pooled, FLOATING, at_least=True)
    for name, tensor in tensors.items():
        require_device(name, tensor, names[1], input)
        if tensor.dtype != input.dtype:
            raise TypeError(
                f"The {name!r} argument must be in {input.dtype}, as {names[1]!r} is. Got {tensor.dtype} instead."
            )
    if input.shape[0] != 1:
        raise ValueError(
            f"The {names[1]!r} argument must have shape (1, n, *rest). Got {tuple(input.shape)} instead."
        )
    (n_references, columns, *reference_rest), (_, n, *rest) = reference.shape, input.shape
    if columns not in (1, n) or reference_rest != rest:
        raise ValueError(
            f"The {names[2]!r} argument must have shape {('B', f'1 or {n}', *rest)}. "
            f"Got {tuple(reference.shape)} instead."
        )
    if pooled:
        rest = [*rest[:-1], gradient.shape[-1]]
    if gradient.shape[0] not in (1, n_references) or list(gradient.shape[1:]) != [n, *rest]:
        raise ValueError(
            f"The {names[0]!r} argument must have shape {(f'{n_references} or 1', n, *rest)}. "
            f"Got {tuple(gradient.shape)} instead."
        )
