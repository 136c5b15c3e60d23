"""Images to try the method on: decoys made from idx files or scikit-learn's digits, and image folders."""

from lvlm_va.datasets.decoy import DecoyData, decoy_digits, decoy_mnist
from lvlm_va.datasets.folder import FolderData, load_image_folder

__all__ = ["DecoyData", "FolderData", "decoy_digits", "decoy_mnist", "load_image_folder"]
