"""Try out backends and critics of your own."""

from lvlm_va.testing.backend_checks import check_backend
from lvlm_va.testing.batch_checks import check_batches
from lvlm_va.testing.critic_checks import check_critic

__all__ = ["check_backend", "check_batches", "check_critic"]
