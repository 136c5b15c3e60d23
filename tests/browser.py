"""A headless Chromium for tests of pages."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_VIEWPORT = (1440, 900)


@contextmanager
def open_browser(viewport: tuple[int, int] = _VIEWPORT) -> Iterator[Any]:
    """Give a selenium driver of Debian's Chromium; skip the test where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        if os.environ.get("LVLM_VA_REQUIRE_BROWSER") == "1":
            pytest.fail(
                "chromium and chromedriver must be installed: apt-get install chromium chromium-driver"
            )
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    size = ",".join(map(str, viewport))
    # Without the sandbox, which needs more rights than a container has: the pages are our own.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--window-size={size}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


def set_theme(browser: Any, theme: str) -> None:
    """Have pages shown to someone who prefers ``"light"`` or ``"dark"``."""
    features = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def set_size(browser: Any, width: int, height: int) -> None:
    """Have pages shown in a window whose inside is of this size."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def accessibility_violations(browser: Any) -> list[str]:
    """Return what axe-core finds serious or critical on the page as it is now shown."""
    axe = pytest.importorskip("axe_core_python.base")
    # Through the driver, which no content security policy binds.
    browser.execute_script(axe.AXE_SCRIPT)
    found = browser.execute_async_script(
        "axe.run().then((found) => arguments[0](JSON.stringify(found.violations).toWellFormed()))"
    )
    return [
        f"{violation['id']}: {node['html'][:200]} {node['failureSummary']}"
        for violation in json.loads(found)
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
