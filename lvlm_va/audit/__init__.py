"""Find a classifier's shortcuts, and show by changed images that it follows them."""

from lvlm_va.audit.diffuse import DiffuseFinding, diffuse_tests, telling_statistics

__all__ = ["DiffuseFinding", "diffuse_tests", "telling_statistics"]
