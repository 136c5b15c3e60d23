"""Try out backends and critics of your own."""

from lvlm_va.testing.backend_checks import check_backend

__all__ = ["check_backend"]
