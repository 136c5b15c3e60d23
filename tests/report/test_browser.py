"""The report in a real browser: accessible, on wide and narrow screens, and quiet."""

from __future__ import annotations

import pytest

from lvlm_va.report import write_report
from tests.browser import accessibility_violations, open_browser, set_size, set_theme
from tests.report.records import make_measures, make_record


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    file = write_report(
        make_record(measures=make_measures()), tmp_path_factory.mktemp("report") / "report.html"
    )
    with open_browser() as browser:
        browser.get(file.absolute().as_uri())
        yield browser


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 400])
def test_no_serious_accessibility_violation(browser, theme, width):
    set_theme(browser, theme)
    set_size(browser, width, 900)
    assert accessibility_violations(browser) == []
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def test_it_asks_for_nothing_and_breaks_no_rule_of_its_own(browser):
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert browser.get_log("browser") == []
