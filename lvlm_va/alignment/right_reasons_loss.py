"""The estimator's objective as a loss for training loops of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from lvlm_va.alignment.checks import (
    check_findings,
    check_images,
    check_label_width,
    check_labels,
    check_masks,
)
from lvlm_va.alignment.objective import forward_rows, penalised
from lvlm_va.alignment.strength import FixedStrength, RisingStrength, Strength, check_strength
from lvlm_va.common.validation import check_integer
from lvlm_va.modules.heads import row_losses
from lvlm_va.modules.logits import is_batch_norm


class RightReasonsLoss(nn.Module):
    """Cross-entropy, and a price on what marked pixels do to the prediction (Ross et al. 2017, arXiv 1703.03717).

        mean_rows CE  +  lambda * mean_marked sum_pixels (A * d/dx sum_k log y_k)^2

    It is what the estimator minimises in alignment, but for ``gamma ||theta||^2``. It forwards the images itself,
    marked and other ones apart, because only the marked are differentiated twice.

    - Call it once per step: each call with a marked image counts as one batch of lambda's rise.
    - Batch normalisation that it meets is put into evaluation mode, and stays there until the next ``train()``: with
      statistics of the batch an image's gradient would depend on its batch mates. So train such a net plainly first.
    - A net that went through ``torch.compile`` runs uncompiled where an image is marked: compiled code has no second
      derivative. Fused attention, which has none either, is replaced for the call.
    - ``state_dict`` holds how far lambda is; keep it with the module's, so that a resumed loop goes on.

    Parameters
    ----------
    strength : float >= 0 or "auto", default="auto"
        Lambda, for images in [0, 1]. "auto" lets it rise as in the estimator; see `lvlm_va.alignment.RisingStrength`.
    total_steps : int >= 1 or None, default=None
        How many calls with marked images the whole training has, about: ``epochs * len(sampler)`` with a
        `MarkedBatchSampler`. Needed by "auto".
    class_weights : Tensor or sequence of float of shape (K,), default=None
        Weight of each class, > 0, in the mean of the cross-entropies, as in `torch.nn.CrossEntropyLoss`.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Examples
    --------
    >>> import torch
    >>> from lvlm_va.alignment import RightReasonsLoss
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    >>> images, labels = torch.rand(6, 1, 4, 4), torch.arange(6) % 2
    >>> masks = torch.zeros(6, 4, 4)
    >>> masks[:3, 0, 0] = 1
    >>> objective = RightReasonsLoss(total_steps=100)
    >>> objective(net, images, labels, masks).backward()
    >>> 0 < objective.rrr_strength < 0.01
    True
    """

    class_weights: Tensor | None

    def __init__(
        self,
        strength: float | str = "auto",
        *,
        total_steps: int | None = None,
        class_weights: Tensor | Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        check_strength("strength", strength)
        if total_steps is not None or strength == "auto":
            expected = (
                "an integer >= 1, the calls with marked images in the whole training, for strength='auto'"
            )
            check_integer("total_steps", total_steps, 1, expected=expected)
        self._strength: Strength
        if isinstance(strength, str):
            self._strength = RisingStrength(int(total_steps or 0), shared=False)
        else:
            self._strength = FixedStrength(float(strength))
        if class_weights is not None:
            class_weights = torch.as_tensor(class_weights, dtype=torch.get_default_dtype())
            if class_weights.ndim != 1 or not bool(((class_weights > 0) & class_weights.isfinite()).all()):
                raise ValueError(
                    "The 'class_weights' argument must be a finite number > 0 for each class. "
                    f"Got {class_weights.tolist()} instead."
                )
        self.register_buffer("class_weights", class_weights, persistent=False)

    @property
    def rrr_strength(self) -> float:
        """Lambda of the next call; with "auto" 0 before the first marked image."""
        return self._strength.value

    def forward(
        self,
        module: Callable[[Tensor], object],
        images: Tensor,
        labels: Tensor,
        masks: Tensor,
        *,
        findings: Tensor | None = None,
        n_aligned: int | None = None,
    ) -> Tensor:
        """Forward a batch, and return its loss.

        Parameters
        ----------
        module : torch.nn.Module or callable
            Returns logits of shape (n, K), or an object with such ``.logits``, from images. One logit has a sigmoid.
            No row may depend on another, which only batch normalisation is known for.
        images : Tensor of shape (n, C, *spatial), float32 or float64
            In [0, 1], on the module's device.
        labels : Tensor of shape (n,), or (n, K) for K findings, int64
            Class numbers from 0; or 1 where a finding is present, else 0, each with a sigmoid of its own.
        masks : Tensor of shape (n, *spatial), floating or bool
            1 where a pixel must not matter. An image without such a pixel adds to the cross-entropy alone.
        findings : Tensor of shape (n,), int64, or None, default=None
            For several findings: which of them each mask is about. An image may come again with another one.
        n_aligned : int or None, default=None
            Over how many images the penalty is averaged; None takes the marked ones. The estimator also counts
            critiqued images of its batch in which nothing was marked.

        Returns
        -------
        scalar Tensor
            The loss, with its graph.

        Raises
        ------
        TypeError, ValueError
            If arguments do not fit each other, or no gradient reaches the marked images.
        RuntimeError
            Where torch records no gradients, or autocasts to float16.
        """
        # Also within a function that is compiled.
        eagerly = torch.compiler.disable(self._eagerly)
        return eagerly(module, images, labels, masks, findings, n_aligned)  # type: ignore[no-any-return]

    def _eagerly(
        self,
        module: Callable[[Tensor], object],
        images: Tensor,
        labels: Tensor,
        masks: Tensor,
        findings: Tensor | None,
        n_aligned: int | None,
    ) -> Tensor:
        if not torch.is_grad_enabled():
            raise RuntimeError(
                "RightReasonsLoss needs gradients, which torch.no_grad() and inference_mode() switch off. Take "
                "torch.nn.functional.cross_entropy where a net is only validated."
            )
        check_images("images", images)
        if images.dtype not in (torch.float32, torch.float64):
            raise TypeError(
                f"The 'images' argument must be float32 or float64. Got {images.dtype} instead; keep weights and "
                "images in float32, and call this in torch.autocast with bfloat16."
            )
        check_labels("labels", labels, len(images))
        if labels.ndim == 2:
            check_findings("findings", findings, len(images), labels.shape[1])
            if self.class_weights is not None:
                raise ValueError(
                    "The 'class_weights' argument must be None for labels of several findings. Got weights."
                )
        elif findings is not None:
            raise ValueError("The 'findings' argument must be None for labels of shape (n,). Got findings.")
        marked = check_masks("masks", masks, images.shape).flatten(1).any(1)
        n_marked = int(marked.sum())
        if n_aligned is not None:
            check_integer("n_aligned", n_aligned, n_marked)
        order = marked.to(torch.uint8).argsort(stable=True)
        images, labels, masks = (part[order] for part in (images, labels, masks))
        device = images.device.type
        lowered = torch.is_autocast_enabled(device)
        if lowered and torch.get_autocast_dtype(device) != torch.bfloat16:
            raise RuntimeError(
                "RightReasonsLoss must be called without torch.autocast or in its bfloat16. "
                f"Got {torch.get_autocast_dtype(device)}, whose range is too short for second derivatives."
            )
        with ExitStack() as stack:
            # What is outside the module's forward has the images' type.
            stack.enter_context(torch.autocast(device, enabled=False))
            if n_marked:
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(_frozen_statistics(module))
            of_marked = masks[-n_marked:].to(images.dtype) if n_marked else None
            about = findings[order][-n_marked:] if n_marked and findings is not None else None
            forwarded = forward_rows(module, images, labels, of_marked, about, bf16=lowered)
            check_label_width("labels", labels, forwarded.logits.shape[1])
            if self.class_weights is None:
                loss = forwarded.cross_entropy / len(images)
            else:
                weights = self.class_weights.to(forwarded.logits)
                loss = row_losses(forwarded.logits, labels, weights).sum() / weights[labels].sum()
            if n_marked:
                loss = penalised(loss, forwarded.penalty / (n_aligned or n_marked), self._strength)
        self._strength.step(n_marked > 0)
        return loss

    def get_extra_state(self) -> Tensor:
        """Return how far lambda is: a float64 tensor, which all formats of weights hold; NaN stands for None."""
        values = self._strength.state_dict().values()
        return torch.tensor(
            [float("nan") if value is None else value for value in values], dtype=torch.float64
        )

    def set_extra_state(self, state: Tensor) -> None:
        """Go on from such a state.

        Parameters
        ----------
        state : Tensor
            What `get_extra_state` returned.

        Raises
        ------
        ValueError
            If it is that of a loss with another kind of strength.
        """
        names = self._strength.state_dict()
        if len(state) != len(names):
            raise ValueError(
                "The state must be that of a RightReasonsLoss whose 'strength' is a number, or \"auto\", as it is "
                f"here. Got {len(state)} values for {len(names)}."
            )
        values = (None if value != value else value for value in state.tolist())
        self._strength.load_state_dict(dict(zip(names, values, strict=True)))


@contextmanager
def _frozen_statistics(module: Callable[[Tensor], object]) -> Iterator[None]:
    """Put batch normalisation into evaluation mode."""

    def freeze(layer: nn.Module, _: object = None) -> None:
        if is_batch_norm(layer):
            layer.eval()

    if isinstance(module, nn.Module):
        module.apply(freeze)
        yield
        return
    # Nets that hide in a function are met when it calls them.
    handle = nn.modules.module.register_module_forward_pre_hook(freeze)
    try:
        yield
    finally:
        handle.remove()
