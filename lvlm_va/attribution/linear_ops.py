"""Calls that keep their gradient: linear ones, and those that are linear in any one of their tensors."""

from __future__ import annotations

from lvlm_va.attribution.calls import Call


def _names(*lines: str) -> frozenset[str]:
    return frozenset(name for line in lines for name in line.split())


# Affine in all their tensors together; what only reads a shape or makes a constant is so too.
LINEAR = _names(
    "add sub rsub neg positive sum mean cumsum trace cat stack hstack vstack dstack column_stack",
    "getitem setitem view view_as reshape reshape_as flatten unflatten ravel squeeze unsqueeze permute",
    "transpose t swapaxes swapdims movedim moveaxis adjoint expand expand_as broadcast_to",
    "repeat tile repeat_interleave narrow select index_select gather take take_along_dim",
    "chunk unsafe_chunk split unsafe_split split_with_sizes tensor_split unbind unfold",
    "roll flip fliplr flipud rot90 diagonal diag diag_embed triu tril",
    "clone contiguous alias to type type_as float double cpu cuda copy zero fill",
    "masked_fill masked_select where index_add index_copy index_fill scatter scatter_add",
    "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d",
    "upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d upsample_bilinear2d",
    "upsample_bicubic2d upsample_trilinear3d upsample_nearest_exact1d upsample_nearest_exact2d",
    "upsample_nearest_exact3d upsample_bilinear2d_aa upsample_bicubic2d_aa",
    "pad constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d",
    "replication_pad2d replication_pad3d pixel_shuffle pixel_unshuffle channel_shuffle",
    "native_channel_shuffle im2col col2im",
    "size dim ndimension numel nelement stride len is_floating_point is_complex is_contiguous get_device",
    "requires_grad retain_grad register_hook",
    "zeros_like ones_like empty_like full_like rand_like randn_like",
    "new_zeros new_ones new_empty new_full new_tensor",
)

# Constants of the input's shape: no gradient is lost in them.
CONSTANT = frozenset(name for name in LINEAR if name.endswith("_like") or name.startswith("new_"))

# Linear in each tensor, of degree two in all together.
BILINEAR = _names(
    "mul matmul rmatmul mm bmm mv dot vdot inner outer ger kron einsum tensordot bilinear lerp",
    "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d",
    "addmm addmv addbmm baddbmm addcmul",
)

# Of degree two even in a single tensor.
QUADRATIC = frozenset({"square", "var"})

# Linear in the first tensor while the others do not depend on the input.
_LINEAR_IN_FIRST = frozenset({"div", "grid_sampler"})

_DROPOUTS = frozenset({"dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"})


def is_linear(call: Call) -> bool:
    """Return whether the gradient of this call is its multiplier already."""
    name, n = call.name, len(call.dependents)
    if name in _DROPOUTS:
        return not call.argument(2, "train", True)
    if name in _LINEAR_IN_FIRST:
        return n == 1 and call.dependents[0] is call.args[0] and call.kwargs.get("rounding_mode") is None
    return name in LINEAR or (n == 1 and name in BILINEAR)


def is_quadratic(call: Call) -> bool:
    """Return whether the call is of degree two in the tensors that depend on the input."""
    if call.name == "einsum" and len(call.dependents) > 2:
        return False
    return call.name in BILINEAR or call.name in QUADRATIC
