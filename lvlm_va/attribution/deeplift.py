"""DeepLIFT SHAP: the mean over references of DeepLIFT with the rescale rule."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lvlm_va.attribution.convolution import Convolutions, fastest_layout
from lvlm_va.attribution.frozen import FrozenModule, not_differentiable
from lvlm_va.attribution.gaps import INCOMPLETE, causes, unmet_calls
from lvlm_va.attribution.inputs import Inputs
from lvlm_va.attribution.interception import DeepLiftMode
from lvlm_va.attribution.layouts import Layout, find_layouts, layouts_alone
from lvlm_va.attribution.memory import Plan, free_memory
from lvlm_va.attribution.tape import Pairing, Rows, Tape, drop_saved_tensors
from lvlm_va.attribution.types import Explanation
from lvlm_va.common.errors import unknown_name
from lvlm_va.common.validation import is_integer
from lvlm_va.common.warnings import warn
from lvlm_va.ops import attribution_reduce

# Errors below this many units of rounding of the logits say nothing about the rules.
_ROUNDING = 1000

Precision = Literal["float32", "tf32", "bfloat16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
# Relative error of one rounding, where it is larger than that of the module's own dtype.
_EPS = {"float32": 0.0, "tf32": 2.0**-11, "bfloat16": 2.0**-8}


@dataclass(frozen=True)
class DeepLiftShap:
    """DeepLIFT SHAP attributions of an unmodified module.

    ``phi = mean_b (x - b) * m(x, b)`` with DeepLIFT's multipliers m, the rescale rule at every nonlinear call
    (Shrikumar et al. 2017, arXiv 1704.02685; Lundberg & Lee 2017, arXiv 1705.07874), so that
    ``sum phi = f_t(x) - mean_b f_t(b)``. Calls are met by a `TorchFunctionMode`: reused and in-place
    activations, functional calls, residual sums and overlapping max-pools are all attributed exactly.
    Softmax, normalisation, attention, products and quotients of activations are taken apart into steps with
    exact rules.

    Images that rounding in float32 leaves incomplete by more than a thousandth are explained anew in float64.

    References are forwarded once, images once; only the backward pass runs for every pair. Batch normalisation is
    folded into the convolution before it wherever nothing else reads that one's result.

    Parameters
    ----------
    max_memory : int or None
        Bytes to work in, beside the module and the images; None takes a quarter of the device's free memory.
        The result depends on it by rounding only.
    precision : {"float32", "tf32", "bfloat16"}
        In which a float32 module's multipliers pass its linear maps: ``"float32"`` in full precision, ``"tf32"`` on a
        GPU with 10 bits of mantissa (in the forward passes too), ``"bfloat16"`` through 2-d convolutions with 7 bits.
        What a lower one costs stands in `Explanation.completeness_error`; what it saves depends on the processor.

    Notes
    -----
    The method's published definition knows no rule for products and softmax; ours are those of symmetric
    differences, ``change(ab) = change(a) mean(b) + mean(a) change(b)``, exact by construction.

    Examples
    --------
    >>> import torch
    >>> from lvlm_va.attribution import DeepLiftShap
    >>> from torch import nn
    >>> module = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> images, references = torch.rand(5, 1, 2, 2), torch.rand(7, 1, 2, 2)
    >>> explanation = DeepLiftShap().attribute(module, images, torch.zeros(5, dtype=torch.int64), references)
    >>> explanation.attributions.shape
    torch.Size([5, 1, 2, 2])
    >>> explanation.relative_completeness_error() < 1e-4
    True
    """

    max_memory: int | None = None
    precision: Precision = "float32"
    name: str = field(default="deeplift_shap", init=False)

    def __post_init__(self) -> None:
        if self.max_memory is not None and not is_integer(self.max_memory, 1):
            raise ValueError(
                "The 'max_memory' argument must be a positive number of bytes, or None. "
                f"Got {self.max_memory!r} instead."
            )
        if self.precision not in PRECISIONS:
            raise unknown_name("precision", self.precision, PRECISIONS)

    def attribute(self, module: nn.Module, images: Tensor, target: Tensor, references: Tensor) -> Explanation:
        """Explain the logit ``target[i]`` of ``images[i]`` against the references.

        Parameters
        ----------
        module : torch.nn.Module
            The classifier, in float32 or float64; left as it was, bit for bit.
        images : Tensor of shape (n, C, H, W), or (n, *shape) as the module takes it
            Images, on any device and in any floating dtype; moved to the module's.
        target : Tensor of shape (n,), int
            Class whose logit is explained.
        references : Tensor of shape (B, C, H, W) or (B, n, C, H, W)
            References shared by all images, or B references for each image.

        Returns
        -------
        Explanation
            On the device of `images`, in the module's dtype.

        Raises
        ------
        TypeError
            If an argument is of the wrong type.
        ValueError
            If shapes do not fit, values are not finite, or the module is in half precision, not
            differentiable, mixes the images of a batch, or takes another path for some of them.

        Warns
        -----
        UserWarning
            Once, if calls without a rule, or not to be met (both keep their gradient), or values cut from the
            gradient leave the attributions incomplete by more than rounding; it names them and what they caused.
        """
        frozen = FrozenModule(module)
        inputs = Inputs.check(frozen, images, target, references)
        if not len(inputs.images):
            nothing = inputs.images.new_zeros(0)
            return inputs.explain(self.name, inputs.images, nothing, nothing.expand(len(references), 0))
        with frozen.running(tf32=self.precision == "tf32"):
            run = _Run(frozen, inputs, self.max_memory, self.precision)
            explanation = run.explain(self.name)
        rough = run.rough(explanation) if self.precision == "float32" else []
        if rough:
            explanation = self._explain_finely(module, inputs, explanation, rough)
        run.warn_of_gaps(explanation)
        return explanation

    def _explain_finely(
        self, module: nn.Module, inputs: Inputs, explanation: Explanation, rows: list[int]
    ) -> Explanation:
        """Explain some images anew in float64; one that the module cannot compute in leaves them as they are."""
        frozen = FrozenModule(module, torch.float64)
        references = inputs.references[:, rows if inputs.per_image else 0]
        part = Inputs.check(frozen, inputs.images[rows], inputs.target[rows], references)
        try:
            with frozen.running():
                finer = _Run(frozen, part, self.max_memory, self.precision).explain(self.name)
        except (RuntimeError, TypeError, ValueError):
            return explanation
        columns = {}
        for name in ("attributions", "output_difference", "output_scale"):
            columns[name] = getattr(explanation, name).clone()
            columns[name][rows] = getattr(finer, name).to(columns[name])
        total = columns["attributions"].flatten(1).sum(1, dtype=torch.float64)
        error = (total - columns["output_difference"]).abs()
        return replace(explanation, **columns, completeness_error=error)


class _Run:
    """One call of `DeepLiftShap.attribute`."""

    def __init__(
        self, frozen: FrozenModule, inputs: Inputs, max_memory: int | None, precision: Precision
    ) -> None:
        self.frozen, self.inputs = frozen, inputs
        self.n, self.n_references = len(inputs.images), len(inputs.references)
        limit = free_memory(frozen.device) // 4 if max_memory is None else max_memory
        lowered = precision == "bfloat16" and frozen.dtype == torch.float32
        self.convolutions = Convolutions(torch.bfloat16 if lowered else frozen.dtype)
        self.layout: torch.memory_format | None = None
        self.single, _, logits = self._forward(inputs.images[:1], keep_graph=False)
        if not logits.requires_grad:
            raise not_differentiable()
        self.unmet = unmet_calls(logits)
        if self.convolutions.settle():
            self.layout = fastest_layout(frozen.device, frozen.dtype)
        self.layouts = self._find_layouts()
        self.plan = Plan.fit(self.single, self.n, self.n_references, inputs.per_image, frozen.device, limit)
        self.blame: dict[str, Tensor] = {}
        self.eps = max(torch.finfo(frozen.dtype).eps, _EPS[precision])
        self.rounding = 0.0

    def explain(self, method: str) -> Explanation:
        """Return the attributions of all images."""
        x, r = self.inputs.images, self.inputs.references
        attributions = torch.zeros_like(x)
        scores, reference_scores = x.new_zeros(self.n), x.new_zeros(self.n_references, self.n)
        only_block = self._forward(x) if self.plan.images == self.n else None
        for first in range(0, self.n_references, self.plan.references):
            last = min(first + self.plan.references, self.n_references)
            shared = None if self.inputs.per_image else self._forward_references(r[first:last])
            for start in range(0, self.n, self.plan.images):
                rows = slice(start, min(start + self.plan.images, self.n))
                block = r[first:last] if shared else r[first:last, rows]
                reference_tape, reference_logits = shared or self._forward_references(block)
                tape, leaf, logits = only_block or self._forward(x[rows])
                target_scores = self.inputs.scores(logits, rows)
                scores[rows] = target_scores.detach()
                reference_scores[first:last, rows] = self.inputs.scores(
                    reference_logits.expand(-1, len(logits), -1), rows
                )
                tape.pairing = Pairing(
                    tape, reference_tape, self.layouts, len(logits), last - first, self.inputs.per_image
                )
                for a in range(0, last - first, self.plan.pairs):
                    pairs = slice(a, min(a + self.plan.pairs, last - first))
                    multipliers = self._multipliers(target_scores.sum(), leaf, tape.pairing, pairs, rows)
                    part = attribution_reduce(multipliers, x[None, rows], block[pairs])
                    attributions[rows] += part * ((pairs.stop - a) / self.n_references)
        magnitude = max(float(scores.abs().max()), float(reference_scores.abs().max()))
        self.rounding = _ROUNDING * self.eps * magnitude
        return self.inputs.explain(method, attributions, scores, reference_scores)

    def rough(self, explanation: Explanation) -> list[int]:
        """Return the images whose attributions only rounding in float32 leaves incomplete.

        Contributions that cancel, as where a gate multiplies activations far from any that it was trained on, are
        thousands of times as large as what they add up to, and so is their rounding.
        """
        explained = self.blame or self.unmet or self.single.cuts
        if explained or self.frozen.dtype != torch.float32 or self.frozen.device.type == "mps":
            return []
        limit = INCOMPLETE * explanation.output_scale.mean()
        return [int(i) for i in (explanation.completeness_error > limit).nonzero()]

    def warn_of_gaps(self, explanation: Explanation) -> None:
        """Warn once if calls of the module are not covered by the rules, and it shows."""
        largest = float(explanation.completeness_error.max())
        relative = explanation.relative_completeness_error()
        caused = {name: float(amount.abs().max()) / self.n_references for name, amount in self.blame.items()}
        caused = {name: amount for name, amount in caused.items() if amount > self.rounding}
        incomplete = relative > INCOMPLETE and largest > self.rounding
        if not caused and not incomplete:
            return
        sentences = []
        if caused:
            listed = ", ".join(f"{name} ({amount:.2g})" for name, amount in sorted(caused.items()))
            sentences.append(
                "DeepLIFT has no rule for these calls of the module, so they kept their gradient (in "
                f"parentheses: the largest completeness error that each caused, in logits): {listed}."
            )
        if incomplete:
            sentences.extend(causes(self.single, self.unmet))
        sentences.append(
            f"The attributions miss the output difference by up to {largest:.2g} logits, {relative:.2g} of its "
            "mean size."
        )
        warn(" ".join(sentences))

    def _find_layouts(self) -> list[list[Layout]]:
        """Return where the rows lie, by a pass over the first image and what differs from it in the most values."""
        first = self.inputs.images[:1]
        if self.n == self.n_references == 1:
            return layouts_alone(self.single.records)
        others = torch.cat([self.inputs.images, self.inputs.references.flatten(0, 1)])
        farthest = (others != first).flatten(1).sum(1).argmax()
        two, _, _ = self._forward(torch.cat([first, others[farthest, None]]), keep_graph=False)
        return find_layouts(
            self.single.records, two.records, lambda: self._forward(first, keep_graph=False)[0].records
        )

    def _forward(self, images: Tensor, keep_graph: bool = True) -> tuple[Tape, Tensor, Tensor]:
        """Return the tape, the leaf that stands for the input, and the logits of a pass."""
        leaf = images.detach().requires_grad_()
        tape = Tape(self.layout)
        kept = nullcontext() if keep_graph else drop_saved_tensors()
        # A copy, so that a module that starts with an in-place call changes neither leaf nor images.
        copy = leaf.clone()
        with kept, DeepLiftMode(tape, self.convolutions):
            logits = self.frozen.logits(copy)
        return tape, leaf, logits

    def _forward_references(self, block: Tensor) -> tuple[Tape, Tensor]:
        """Return the tape and the logits (B, 1 or n, K) of references of shape (B, 1 or n, *shape)."""
        tape, _, logits = self._forward(block.flatten(0, 1), keep_graph=False)
        return tape, logits.detach().unflatten(0, block.shape[:2])

    def _multipliers(
        self, score: Tensor, leaf: Tensor, pairing: Pairing, pairs: slice, images: slice
    ) -> Tensor:
        """Return the multipliers (pairs, n, *shape) of a block of images."""

        def backward(weight: Tensor, rows: list[Rows]) -> tuple[Tensor, dict[str, Tensor]]:
            pairing.current, pairing.blame = rows, {}
            (multipliers,) = torch.autograd.grad(score, leaf, weight, retain_graph=True, allow_unused=True)
            if multipliers is None:
                raise not_differentiable()
            return multipliers, pairing.blame

        weights = leaf.new_ones(pairs.stop - pairs.start)
        multipliers, blame = torch.func.vmap(backward)(weights, pairing.slice(pairs))
        for name, amount in blame.items():
            total = self.blame.setdefault(name, amount.new_zeros(self.n))
            total[images] += amount.sum(0)
        return multipliers
