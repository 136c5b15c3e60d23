"""The documented Python face of the kernels.

Each op runs as compiled C++ or CUDA where that was built, and on its plain-torch reference elsewhere.
"""

from lvlm_va.ops import _schema  # noqa: F401  (defines the ops that the faces call)
from lvlm_va.ops._attribution import attribution_reduce, maxpool_rescale, rescale_multipliers
from lvlm_va.ops._masked_gradient_penalty import masked_gradient_penalty
from lvlm_va.ops._native import has_cuda, has_native
from lvlm_va.ops._ppeps_em import EMResult, ppeps_em
from lvlm_va.ops._segment_masks import segment_masks

__all__ = [
    "EMResult",
    "attribution_reduce",
    "has_cuda",
    "has_native",
    "masked_gradient_penalty",
    "maxpool_rescale",
    "ppeps_em",
    "rescale_multipliers",
    "segment_masks",
]
