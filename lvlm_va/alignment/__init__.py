"""Fine-tune a classifier towards the right reasons: the loss of Ross et al. (2017), and the training loop."""

from lvlm_va.alignment.augmentation import Augmentation
from lvlm_va.alignment.marked_images import MarkedImages
from lvlm_va.alignment.options import TrainingOptions
from lvlm_va.alignment.penalty import right_reasons_penalty
from lvlm_va.alignment.right_reasons_loss import RightReasonsLoss
from lvlm_va.alignment.sampler import MarkedBatchSampler
from lvlm_va.alignment.strength import RisingStrength
from lvlm_va.alignment.training import train
from lvlm_va.alignment.types import AlignmentSet, Epoch, History, TrainingResult
from lvlm_va.alignment.weighting import Weighting, WorstGroupWeighting

__all__ = [
    "AlignmentSet",
    "Augmentation",
    "Epoch",
    "History",
    "MarkedBatchSampler",
    "MarkedImages",
    "RightReasonsLoss",
    "RisingStrength",
    "TrainingOptions",
    "TrainingResult",
    "Weighting",
    "WorstGroupWeighting",
    "right_reasons_penalty",
    "train",
]
