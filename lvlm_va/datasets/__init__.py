"""Images to try the method on: decoys, drawn radiographs, lesions, leaves and castings, and folders of your own."""

from lvlm_va.datasets.castings import CASTING_CLASSES, CASTING_SPECIFICATIONS, stamped_castings
from lvlm_va.datasets.decoy import decoy_digits, decoy_mnist
from lvlm_va.datasets.fashion import FASHION_CLASSES, FASHION_SPECIFICATIONS, decoy_fashion_mnist
from lvlm_va.datasets.folder import FolderData, FolderDataset, load_image_folder, open_image_folder
from lvlm_va.datasets.leaves import LEAF_CLASSES, LEAF_SPECIFICATIONS, ruled_leaves
from lvlm_va.datasets.lesions import LESION_CLASSES, LESION_SPECIFICATIONS, bandaged_lesions
from lvlm_va.datasets.medical import isic_lesions, knee_radiographs
from lvlm_va.datasets.radiographs import RADIOGRAPH_CLASSES, RADIOGRAPH_SPECIFICATIONS, tagged_radiographs
from lvlm_va.datasets.types import DecoyData

__all__ = [
    "CASTING_CLASSES",
    "CASTING_SPECIFICATIONS",
    "FASHION_CLASSES",
    "FASHION_SPECIFICATIONS",
    "LEAF_CLASSES",
    "LEAF_SPECIFICATIONS",
    "LESION_CLASSES",
    "LESION_SPECIFICATIONS",
    "RADIOGRAPH_CLASSES",
    "RADIOGRAPH_SPECIFICATIONS",
    "DecoyData",
    "FolderData",
    "FolderDataset",
    "bandaged_lesions",
    "decoy_digits",
    "decoy_fashion_mnist",
    "decoy_mnist",
    "isic_lesions",
    "knee_radiographs",
    "load_image_folder",
    "open_image_folder",
    "ruled_leaves",
    "stamped_castings",
    "tagged_radiographs",
]
