"""Try out backends and critics of your own."""

from lvlm_va.testing.answers import FAULTS, Answer, Asked
from lvlm_va.testing.backend_checks import check_backend
from lvlm_va.testing.batch_checks import check_batches
from lvlm_va.testing.critic_checks import check_critic
from lvlm_va.testing.fault_server import FaultServer

__all__ = ["FAULTS", "Answer", "Asked", "FaultServer", "check_backend", "check_batches", "check_critic"]
