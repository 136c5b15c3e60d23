"""What escapes the rules: calls that no `TorchFunctionMode` meets, and values that carry no gradient."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from lvlm_va.attribution.linear_ops import BILINEAR, LINEAR
from lvlm_va.attribution.pairwise import Tap
from lvlm_va.attribution.tape import Tape

# A relative completeness error above this is no rounding: something in the module escaped the rules.
INCOMPLETE = 1e-3

_OURS = __name__.rpartition(".")[0]

# How autograd calls what the mode leaves as it is.
_PRODUCTS = frozenset(name.replace("_", "") for name in BILINEAR)
_LINEAR = frozenset(name.replace("_", "") for name in LINEAR) | _PRODUCTS
# What a call of another name leaves behind.
_INNER = frozenset(
    {
        "accumulategrad",
        "asstrided",
        "convolution",
        "copybackwards",
        "copyslices",
        "div",
        "gridsampler2d",
        "gridsampler3d",
        "index",
        "indexput",
        "mkldnnadaptiveavgpool2d",
        "nativedropout",
        "reshapealias",
        "slice",
        "tocopy",
        "unsafeview",
    }
)


def causes(tape: Tape, unmet: set[str]) -> list[str]:
    """Return sentences that name what escaped the rules in a pass.

    Parameters
    ----------
    tape : Tape
        Of the pass.
    unmet : set of str
        Of the same, as `unmet_calls` found them.
    """
    sentences = []
    if unmet:
        sentences.append(
            f"These calls could not be met, so they kept their gradient: {', '.join(sorted(unmet))}."
        )
    if tape.cuts:
        sentences.append(f"These calls gave values that carry no gradient: {', '.join(sorted(tape.cuts))}.")
    return sentences


def unmet_calls(logits: Tensor) -> set[str]:
    """Return the calls that a mode had no part in: those of an autograd.Function, and nonlinear ones of TorchScript.

    Parameters
    ----------
    logits : Tensor
        What a module gave under `DeepLiftMode`, with its graph.

    Returns
    -------
    set of str
        Their names. What lies between two taps is known already, and left out.
    """
    found: set[str] = set()
    waiting: list[tuple[Any, bool]] = [(logits.grad_fn, False)]
    seen: set[tuple[Any, bool]] = set()
    while waiting:
        node, tapped = waiting.pop()
        if node is None or (node, tapped) in seen:
            continue
        seen.add((node, tapped))
        forward = getattr(node, "_forward_cls", None)
        if forward is Tap:
            tapped = node.sign > 0
        elif forward is not None and not tapped and not forward.__module__.startswith(_OURS):
            found.add(f"{forward.__name__} (a torch.autograd.Function)")
        elif forward is None and not tapped:
            name = re.sub(r"Backward\d*$", "", node.name().rpartition("::")[2])
            n_inputs = sum(parent is not None for parent, _ in node.next_functions)
            bare = name.lower()
            if bare not in _LINEAR | _INNER or (n_inputs > 1 and bare in _PRODUCTS):
                found.add(name)
        waiting.extend((parent, tapped) for parent, _ in node.next_functions)
    return found
