"""A vision-language model of transformers, in this process."""

from lvlm_va.backends.hf.backend import HFBackend

__all__ = ["HFBackend"]
