"""Make the pictures of the pages in ``docs/images``: ``make screenshots``."""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.ui import WebDriverWait

from lvlm_va.critique.requests import to_rgb
from lvlm_va.datasets import tagged_radiographs
from lvlm_va.review.reviewed import ReviewedRun
from lvlm_va.review.server import ReviewServer
from tests.browser import open_browser, set_theme

IMAGES = Path(__file__).parent.parent / "docs" / "images"
CLASSES = ("healthy", "arthritic")
DESCRIPTION = "The bones count. The letter tag in the corner does not matter."
WAIT_SECONDS = 60


def make_run(root: Path) -> Path:
    """Align a net on drawn radiographs whose letter tag gives the class away; return the run's folder."""
    with (root / "labels.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["path", "label", "split", "group"])
        for split, n in (("train", 600), ("test", 400)):
            data = tagged_radiographs(split, n=n, size=96)
            for i in range(n):
                name = f"knee-{split}-{i:03}.png"
                Image.fromarray(to_rgb(data.images[i])).convert("L").save(root / name)
                table.writerow([name, CLASSES[data.labels[i]], split, data.groups[i]])
    command = [
        sys.executable, "-m", "lvlm_va", "align", str(root), "--module", "cnn", "--critic", "tiny", "--grey",
        "--image-size", "96", "96", "--n-align", "60", "--epochs", "10", "--align-epochs", "8", "--lr", "1e-3",
        "--out", str(root / "knees"),
    ]  # fmt: skip
    for name in CLASSES:
        command += ["--describe", f"{name}={DESCRIPTION}"]
    subprocess.run(command, check=True)
    return root / "knees"


@contextmanager
def reviewed(folder: Path) -> Iterator[str]:
    """Serve the review of a run; give its link."""
    run = ReviewedRun(folder, by="Dr Ada")
    server = ReviewServer.listen(run)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server.url
    finally:
        server.stop()
        thread.join()
        run.close()


def shoot_review(browser: Any, url: str) -> None:
    """Take pictures of the review, light and dark."""
    wait = WebDriverWait(browser, WAIT_SECONDS)
    find = browser.find_elements
    browser.get(url)
    wait.until(lambda _: find("css selector", "#segments li"))
    for key in "sjrju":
        ActionChains(browser).send_keys(key).pause(0.5).perform()
    for theme in ("light", "dark"):
        set_theme(browser, theme)
        shoot(browser, f"review-{theme}")
    set_theme(browser, "light")
    find("css selector", "nav [data-view=align]")[0].click()
    shoot(browser, "review-align")


def shoot(browser: Any, name: str) -> None:
    """Save what is seen, once all of it has come."""
    script = "return [...document.images].every((image) => image.complete || image.loading === 'lazy')"
    WebDriverWait(browser, WAIT_SECONDS).until(lambda _: browser.execute_script(script))
    browser.save_screenshot(str(IMAGES / f"{name}.png"))


def main() -> None:
    """Make a run and take all pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, open_browser() as browser:
        run = make_run(Path(folder))
        with reviewed(run) as url:
            shoot_review(browser, url)


if __name__ == "__main__":
    main()
