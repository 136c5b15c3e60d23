"""A small run whose names, critiques and descriptions are attacks, and a server that reviews it."""

from __future__ import annotations

import json
import shutil
import threading
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from lvlm_va import LVLMVAClassifier
from lvlm_va.critique import Critique, SegmentVerdict
from lvlm_va.review.reviewed import ReviewedRun
from lvlm_va.review.server import ReviewServer

SCRIPT = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Attacker:
    """A critic that finds the first segment relevant and the others spurious, and says what it should not."""

    name = f"critic{SCRIPT}"

    def critique(self, requests):
        return [
            Critique(
                request.image_id,
                f"About {request.image_id}: {SCRIPT} \ud83d",
                tuple(
                    SegmentVerdict(
                        request.image_id, k, "relevant" if k == 1 else "spurious", None, SCRIPT, self.name
                    )
                    for k in range(1, request.n_segments + 1)
                ),
            )
            for request in requests
        ]


@pytest.fixture(scope="session")
def fitted(tmp_path_factory):
    """The run directory of a fit to 16 tiny images, all critiqued."""
    folder = tmp_path_factory.mktemp("reviewed") / "run"
    rng = np.random.default_rng(0)
    labels = np.array(["well", f"ill{SCRIPT}"])[np.arange(16) % 2]
    classifier = LVLMVAClassifier(
        "mlp",
        critic=Attacker(),
        specifications={"well": f"The bone counts. {SCRIPT}"},
        n_align=16,
        epochs=1,
        align_epochs=1,
        n_references=2,
        segmenter="grid",
        random_state=0,
        run_dir=folder,
    )
    classifier.fit(
        rng.uniform(0, 1, (16, 1, 8, 8)), labels, image_ids=[f"scans/{i}{SCRIPT}.png" for i in range(16)]
    )
    return folder


@pytest.fixture
def run_folder(fitted, tmp_path):
    return shutil.copytree(fitted, tmp_path / "run")


class Client:
    """A browser's way to the server: sends the cookie, and as Origin the page's own."""

    def __init__(self, url):
        self.url, self.base = url, url.partition("/?")[0]
        self.origin = self.base.rpartition("/")[0]
        self.cookie = (
            self.send("GET", url.removeprefix(self.base), cookie=None).headers["set-cookie"].partition(";")[0]
        )

    def send(self, method, path, body=None, *, cookie="own", **headers):
        """Send a request; return status, headers and body. A header of None is left out."""
        own = {"Cookie": self.cookie if cookie == "own" else cookie}
        if method == "POST":
            own |= {"Origin": self.origin, "Content-Type": "application/json"}
        own |= {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            self.base + path,
            body,
            {name: value for name, value in own.items() if value is not None},
            method=method,
        )
        try:
            with DIRECT.open(request, timeout=30) as response:
                return SimpleNamespace(status=response.status, headers=response.headers, body=response.read())
        except urllib.error.HTTPError as error:
            with error:
                return SimpleNamespace(status=error.code, headers=error.headers, body=error.read())

    def get(self, path):
        return json.loads(self.send("GET", path).body)

    def post(self, path, **content):
        """Post to the API; return the status and what was answered."""
        answer = self.send("POST", f"/api/{path}", json.dumps(content).encode())
        return answer.status, json.loads(answer.body)


@contextmanager
def serving(folder, **options):
    """Serve a review; give the client that has opened its link."""
    run = ReviewedRun(folder, by="ada", **options)
    server = ReviewServer.listen(run)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield Client(server.url)
    finally:
        server.stop()
        thread.join()
        run.close()


@pytest.fixture
def serve():
    """Start servers that are stopped in the end."""
    with ExitStack() as stack:
        yield lambda folder, **options: stack.enter_context(serving(folder, **options))


@pytest.fixture
def client(serve, run_folder):
    return serve(run_folder)
