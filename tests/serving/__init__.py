"""A model server on this machine that misbehaves on demand."""

from tests.serving.answers import FAULTS, Answer, Asked
from tests.serving.fault_server import FaultServer

__all__ = ["FAULTS", "Answer", "Asked", "FaultServer"]
