"""The right-for-the-right-reasons penalty of Ross et al. (2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from lvlm_va.alignment.checks import check_findings
from lvlm_va.modules.heads import log_probability_sums
from lvlm_va.ops import masked_gradient_penalty


def input_gradient(logits: Tensor, inputs: Tensor, findings: Tensor | None = None) -> Tensor:
    """Return ``d/dx sum_k log y_k`` over each row's outcomes with its graph, so that it can be trained on.

    Parameters
    ----------
    logits : Tensor of shape (n, K)
        Computed from `inputs`, each row from its own input alone.
    inputs : Tensor of shape (n, C, *spatial)
        Required gradients when the logits were computed.
    findings : Tensor of shape (n,), int64, optional
        As in `right_reasons_penalty`.

    Returns
    -------
    Tensor of shape (n, C, *spatial)
        The gradient.

    Raises
    ------
    ValueError
        If no gradient reaches `inputs`.
    """
    # Rows do not mix, so the gradient of the sum over rows is each row's own.
    total = log_probability_sums(logits, findings).sum()
    gradient = None
    if total.requires_grad and inputs.requires_grad:
        (gradient,) = torch.autograd.grad(total, inputs, create_graph=True, allow_unused=True)
    if gradient is None:
        raise ValueError(
            "The 'logits' argument must be computed differentiably from 'inputs', with inputs.requires_grad "
            "set beforehand. Got logits from which no gradient reaches them instead. Look for detach(), "
            "argmax, rounding or no_grad() in the module's forward."
        )
    return gradient


def right_reasons_penalty(
    logits: Tensor, inputs: Tensor, masks: Tensor, findings: Tensor | None = None
) -> Tensor:
    """Penalise each image for what its marked pixels do to the prediction.

    ``penalty_n = sum_c sum_p (A_np * d/dx_ncp sum_k log y_nk)^2`` with ``y = softmax(logits)``: the second
    term of Ross, Hughes and Doshi-Velez (2017, arXiv 1703.03717, eq. 1), for one image, summed over pixels
    and channels. It is differentiable in whatever `logits` depend on. One logit z per image has a sigmoid, and the
    sum is over both outcomes, ``log s(z) + log s(-z)``; so has the one of several findings that a row is about.

    The penalty scales with the square of the pixel range: for images in [0, 255] instead of [0, 1] it is
    65,025 times smaller.

    Parameters
    ----------
    logits : Tensor of shape (n, K), float32 or float64
        Computed from `inputs`, each row from its own input alone (batch normalisation in evaluation mode).
    inputs : Tensor of shape (n, C, *spatial)
        Images in [0, 1], with ``requires_grad`` set before the logits were computed.
    masks : Tensor of shape (n, *spatial)
        1 where a pixel must not matter, 0 where it may; shared by the channels.
    findings : Tensor of shape (n,), int64, optional
        Where each logit stands for a finding of its own: which of them each mask is about. The others may go on using
        the marked pixels. None for classes.

    Returns
    -------
    Tensor of shape (n,)
        The penalty of each image, >= 0.

    Raises
    ------
    ValueError
        If the shapes do not fit, or no gradient reaches `inputs`.

    Examples
    --------
    >>> import torch
    >>> from lvlm_va.alignment import right_reasons_penalty
    >>> inputs = torch.tensor([[[0.0, 0.0]]], requires_grad=True)
    >>> logits = inputs[:, 0] @ torch.tensor([[3.0, 1.0], [0.0, 0.0]])
    >>> right_reasons_penalty(logits, inputs, torch.tensor([[1.0, 0.0]])).item() < 4
    True
    """
    if findings is not None:
        check_findings("findings", findings, len(logits), logits.shape[1])
    gradient = input_gradient(logits, inputs, findings)
    return masked_gradient_penalty(gradient, masks.to(gradient.dtype))
