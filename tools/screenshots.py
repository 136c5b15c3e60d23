"""Make the pictures of the pages in ``docs/images``: ``make screenshots``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.ui import Select, WebDriverWait

from lvlm_va.critique.model_options import ModelOptions
from lvlm_va.review.reviewed import ReviewedRun
from lvlm_va.review.server import ReviewServer
from tests.browser import open_browser, set_size, set_theme

IMAGES = Path(__file__).parent.parent / "docs" / "images"
WIDE, NARROW = (1440, 900), (420, 900)
WAIT_SECONDS, SETTLE_SECONDS = 60, 0.5


@contextmanager
def reviewed(folder: Path) -> Iterator[str]:
    """Serve the review of a run; give its link."""
    run = ReviewedRun(folder, by="Dr Ada", models=ModelOptions("tiny"))
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
    """Take pictures of the review: verdicts, light and dark, and an alignment under way."""
    wait = WebDriverWait(browser, WAIT_SECONDS)
    browser.get(url)
    wait.until(lambda _: browser.find_elements("css selector", "#segments li"))
    choose(browser, "filter-show", "unsure")
    press(browser, "sjs")  # what the critic was unsure of is settled
    choose(browser, "filter-show", "all")
    press(browser, "jjjjjs")  # to the second image, whose patch is confirmed to be spurious
    shoot(browser, "review")
    browser.execute_script("location.hash = 'align'")
    browser.execute_script("document.getElementById('align-start').click()")
    wait.until(lambda _: browser.find_element("id", "job-text").text.startswith("epoch"))
    shoot(browser, "review-align", themes=("light",))
    browser.execute_script("document.getElementById('job-cancel').click()")


def press(browser: Any, keys: str) -> None:
    """Press keys, one after the other."""
    for key in keys:
        ActionChains(browser).send_keys(key).pause(SETTLE_SECONDS).perform()


def choose(browser: Any, name: str, value: str) -> None:
    """Choose an option, and leave the keys to the page."""
    Select(browser.find_element("id", name)).select_by_value(value)
    browser.execute_script("document.activeElement.blur()")


def shoot_report(browser: Any, file: Path) -> None:
    """Take pictures of the report: wide and narrow, light and dark."""
    browser.get(file.as_uri())
    shoot(browser, "report")
    shoot(browser, "report-narrow", size=NARROW, themes=("light",))


def shoot(
    browser: Any, name: str, *, size: tuple[int, int] = WIDE, themes: tuple[str, ...] = ("light", "dark")
) -> None:
    """Save what is seen, once all of it has come."""
    set_size(browser, *size)
    script = "return [...document.images].every((image) => image.complete || image.loading === 'lazy')"
    for theme in themes:
        set_theme(browser, theme)
        WebDriverWait(browser, WAIT_SECONDS).until(lambda _: browser.execute_script(script))
        time.sleep(SETTLE_SECONDS)
        suffix = f"-{theme}" if len(themes) > 1 else ""
        browser.save_screenshot(str(IMAGES / f"{name}{suffix}.png"))


def main() -> None:
    """Run the demo and take all pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, open_browser() as browser:
        browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        run = Path(folder) / "demo"
        subprocess.run([sys.executable, "-m", "lvlm_va", "demo", "--out", str(run)], check=True)
        shoot_report(browser, run / "report.html")
        with reviewed(run) as url:
            shoot_review(browser, url)


if __name__ == "__main__":
    main()
