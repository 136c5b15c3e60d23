"""Cut attribution maps into segments that a critic can judge."""

from lvlm_va.segmentation.cells import concatenate_segmentations
from lvlm_va.segmentation.effect import pixel_effect, positive_effect, shares_of_effect
from lvlm_va.segmentation.grid import Grid
from lvlm_va.segmentation.masks import spurious_masks
from lvlm_va.segmentation.ppeps_wgm import PPEPSWGM
from lvlm_va.segmentation.regions import Regions
from lvlm_va.segmentation.resolve import resolve_segmenter
from lvlm_va.segmentation.sam import SAM
from lvlm_va.segmentation.slic import SLIC
from lvlm_va.segmentation.types import Segmentation, Segmenter

__all__ = [
    "PPEPSWGM",
    "SAM",
    "SLIC",
    "Grid",
    "Regions",
    "Segmentation",
    "Segmenter",
    "concatenate_segmentations",
    "pixel_effect",
    "positive_effect",
    "resolve_segmenter",
    "shares_of_effect",
    "spurious_masks",
]
