"""Change images where something was judged spurious, and see what the classifier says then."""

from lvlm_va.interventions.accuracy import transplant_accuracy
from lvlm_va.interventions.transplants import draw_partners, shifted_apart, transplanted
from lvlm_va.interventions.trial import Changes, TransplantTrial, transplant_trial

__all__ = [
    "Changes",
    "TransplantTrial",
    "draw_partners",
    "shifted_apart",
    "transplant_accuracy",
    "transplant_trial",
    "transplanted",
]
