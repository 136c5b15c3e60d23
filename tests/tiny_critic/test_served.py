"""The shipped model behind `transformers serve`: the same verdicts over HTTP as in this process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from lvlm_va.backends import Capabilities, OpenAIBackend
from lvlm_va.critique import TinyCritic, tiny_critic_folder
from tools.tiny_critic.evaluation import describe_digits
from tools.tiny_critic.real_segments import describe_all, ideal_segments
from tools.tiny_critic.templates import HELD_OUT

_PATIENCE = 300  # seconds; on an idle machine it takes six
_SERVE = "import sys; from transformers.cli.transformers import main; sys.argv[0] = 'transformers'; main()"


@pytest.fixture(scope="module")
def served():
    """The address of a server of the shipped folder, and the folder."""
    with socket.socket() as free, tiny_critic_folder() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--log-level", "error"]
        server = subprocess.Popen(
            [sys.executable, "-c", _SERVE, "serve", str(folder), *options],
            env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            _wait_until_ready(server, f"http://127.0.0.1:{port}/health")
            yield f"http://127.0.0.1:{port}/v1", str(folder)
        finally:
            server.terminate()
            server.communicate(timeout=_PATIENCE)


def _wait_until_ready(server, address):
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        assert server.poll() is None, server.stderr.read()
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.2)
    pytest.fail("The server was not ready in time.")


def test_verdicts_over_http_are_those_in_process(served):
    address, model = served
    backend = OpenAIBackend(
        model, base_url=address, concurrency=2, timeout=_PATIENCE, capabilities=Capabilities(temperature=True)
    )
    rng = np.random.default_rng(2)
    known = ideal_segments(8, seed=2)
    requests = [
        request
        for reverse in (False, True)
        for request in describe_all(known, describe_digits(rng, known, HELD_OUT, reverse))
    ]
    over_http, in_process = TinyCritic(backend).critique(requests), TinyCritic().critique(requests)
    assert over_http == in_process
    assert {verdict.verdict for critique in over_http for verdict in critique.verdicts} == {
        "spurious",
        "relevant",
    }
