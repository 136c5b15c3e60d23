"""Attribution: what each input value contributes to a logit."""

from lvlm_va.attribution.deeplift import DeepLiftShap
from lvlm_va.attribution.explainer import Explainer
from lvlm_va.attribution.gradients import GradientXInput, IntegratedGradients
from lvlm_va.attribution.references import ReferenceSet, blurred_references, make_references
from lvlm_va.attribution.resolve import resolve_attributor
from lvlm_va.attribution.types import Attributor, Explanation, concatenate_explanations

__all__ = [
    "Attributor",
    "DeepLiftShap",
    "Explainer",
    "Explanation",
    "GradientXInput",
    "IntegratedGradients",
    "ReferenceSet",
    "blurred_references",
    "concatenate_explanations",
    "make_references",
    "resolve_attributor",
]
