"""The review of 1,000 images while an alignment runs: how soon it is seen, how soon the server answers."""

from __future__ import annotations

import csv
import http.client
import itertools
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from benchmarks.compare import Compare

IMAGES, SIZE, ANSWERS, PAINTS = 1000, 32, 400, 5
MOST_SECONDS, MOST_PAINT_SECONDS = 0.1, 2.0


class Link:
    """One connection of the browser that opened the link of a review."""

    def __init__(self, url: str) -> None:
        self.url, parts = url, urlsplit(url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._connection = http.client.HTTPConnection(parts.netloc)
        self._headers: dict[str, str] = {}
        self._root = parts.path.rstrip("/")
        answer = self._send("GET", f"/?{parts.query}", None)
        self._headers["Cookie"] = answer.headers["Set-Cookie"].partition(";")[0]

    def close(self) -> None:
        self._connection.close()

    def get(self, path: str) -> bytes:
        return self._send("GET", path, None).content  # type: ignore[attr-defined]

    def post(self, path: str, **sent: Any) -> Any:
        self._headers |= {"Origin": self._origin, "Content-Type": "application/json"}
        return json.loads(self._send("POST", path, json.dumps(sent)).content)  # type: ignore[attr-defined]

    def _send(self, method: str, path: str, body: str | None) -> http.client.HTTPResponse:
        self._connection.request(method, self._root + path, body, self._headers)
        answer = self._connection.getresponse()
        answer.content = answer.read()  # type: ignore[attr-defined]
        assert answer.status == 200, answer.content  # type: ignore[attr-defined]
        return answer


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    """A review of 1,000 images, during an alignment that does not end by itself."""
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    from lvlm_va.review.reviewed import ReviewedRun
    from lvlm_va.review.server import ReviewServer

    folder = make_run(tmp_path_factory.mktemp("review"))
    run = ReviewedRun(folder, by="ada")
    server = ReviewServer.listen(run)
    thread = threading.Thread(target=server.run)
    thread.start()
    link = Link(server.url)
    try:
        link.post("/api/realign")
        while (job := json.loads(link.get("/api/progress"))["job"])["done"] < 1:
            assert job["status"] == "running", job["lines"]
            time.sleep(0.2)
        yield link
        link.close()
        link = Link(server.url)  # the server keeps no idle connection
        assert json.loads(link.get("/api/progress"))["job"]["status"] == "running"  # all the while
    finally:
        link.close()
        server.stop()
        thread.join()
        run.close()


def make_run(root: Path) -> Path:
    """Align on 1,000 images of noise, all critiqued; make its command one that aligns for ever."""
    rng = np.random.default_rng(0)
    with (root / "labels.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["path", "label"])
        for i in range(IMAGES):
            Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)).save(root / f"{i}.png")
            table.writerow([f"{i}.png", i % 4])
    command = [
        sys.executable,
        "-m",
        "lvlm_va",
        "align",
        str(root),
        "--module",
        "cnn",
        "--irrelevant",
        "corners",
    ]
    command += ["--image-size", str(SIZE), str(SIZE), "--n-align", str(IMAGES), "--epochs", "1"]
    command += ["--align-epochs", "0", "--out", str(root / "run")]
    subprocess.run(command, check=True, capture_output=True)
    file = root / "run" / "command.json"
    kept = json.loads(file.read_text())
    kept["arguments"] += ["--align-epochs", "100000"]
    file.write_text(json.dumps(kept))
    return root / "run"


def test_review_answer(compare: Compare, benchmark: Any, link: Link) -> None:
    """The requests of an expert who goes from segment to segment: a verdict, the next image, its pictures."""
    images = json.loads(link.get("/api/state"))["images"]
    revision = itertools.count()
    seconds: list[float] = []

    def timed(act: Any) -> None:
        start = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - start)

    def session() -> None:
        for row in range(ANSWERS // 4):
            name = images[row]["id"]
            timed(lambda row=row: link.get(f"/api/images/{row}"))
            timed(lambda row=row: link.get(f"/pictures/{row}/segment-1.png"))
            timed(lambda row=row: link.get(f"/pictures/{row}/thumb.png"))
            edit = {"image": name, "segment": 1, "verdict": "unsure", "revision": next(revision)}
            timed(lambda edit=edit: link.post("/api/verdict", **edit))

    benchmark.pedantic(session, rounds=1)
    start = time.perf_counter()
    link.get("/api/state")
    state_seconds = time.perf_counter() - start
    quantiles = statistics.quantiles(seconds, n=20)
    compare.record(
        statistics.median(seconds),
        MOST_SECONDS,
        "s",
        spread=(quantiles[0] / MOST_SECONDS, quantiles[-1] / MOST_SECONDS),
        note=f"{IMAGES} images, an alignment running; the other side is the most it may take; "
        f"95 % within {quantiles[-1]:.3f} s, the whole state in {state_seconds:.3f} s",
        seconds=seconds,
    )


def test_review_first_paint(compare: Compare, benchmark: Any, link: Link) -> None:
    pytest.importorskip("selenium")
    from tests.browser import open_browser

    paints: list[float] = []
    with open_browser() as browser:

        def open_page() -> None:
            browser.get("about:blank")
            browser.get(link.url)
            rows = 0
            while rows < IMAGES:
                rows = browser.execute_script("return document.querySelectorAll('#images li').length")
            script = "return performance.getEntriesByName('first-contentful-paint')[0].startTime"
            paints.append(browser.execute_script(script) / 1000)

        benchmark.pedantic(open_page, rounds=PAINTS, warmup_rounds=1)
        loaded = browser.execute_script(
            "return [...document.images].filter((image) => image.complete && image.naturalWidth).length"
        )
        heap = browser.execute_script("return performance.memory.usedJSHeapSize")
    complete = statistics.median(benchmark.stats.stats.data)
    compare.record(
        statistics.median(paints[1:]),
        MOST_PAINT_SECONDS,
        "s",
        spread=(min(paints[1:]) / MOST_PAINT_SECONDS, max(paints[1:]) / MOST_PAINT_SECONDS),
        note=f"{IMAGES} images, an alignment running; the other side is the most it may take; all rows after "
        f"{complete:.2f} s, {loaded} pictures loaded, {heap / 2**20:.0f} MiB of script memory",
        seconds=paints[1:],
    )
