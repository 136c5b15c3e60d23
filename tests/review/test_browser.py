"""An expert's session in a real browser, against a real process that is killed in between."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

from lvlm_va import VerdictTable
from lvlm_va.critique import JudgeExample, SegmentVerdict
from lvlm_va.experiments.demo import run_demo
from lvlm_va.report import read_run
from lvlm_va.review.journal import TABLE_FILE
from tests.browser import accessibility_violations, open_browser, set_size, set_theme
from tests.review.conftest import SCRIPT, serving

WAIT_SECONDS = 180


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo's run."""
    run = tmp_path_factory.mktemp("demo") / "run"
    run_demo(run, seed=0, echo=lambda text: None)
    return run


@contextmanager
def process(folder):
    """Run ``lvlm-va review``; give the process and its link."""
    with subprocess.Popen(
        [sys.executable, "-m", "lvlm_va", "review", str(folder), "--reviewer", "ada"],
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            server.stdout.readline()
            yield server, server.stdout.readline().strip()
        finally:
            server.kill()


class Page:
    """What an expert does on the page."""

    def __init__(self, browser, url):
        from selenium.webdriver.support.ui import WebDriverWait

        self.browser, self.wait = browser, WebDriverWait(browser, WAIT_SECONDS, poll_frequency=0.05)
        browser.get(url)
        self.until(lambda: self.find("#segments li"))

    def until(self, met):
        return self.wait.until(lambda _: met())

    def find(self, selector):
        return self.browser.find_elements("css selector", selector)

    def text(self, selector):
        return self.find(selector)[0].text

    def holds(self, selector, text):
        """Whether an element holds the text; asked in the page, as half a surrogate pair comes through no driver."""
        script = "return [...document.querySelectorAll(arguments[0])].some((e) => e.textContent.includes(arguments[1]))"
        return self.browser.execute_script(script, selector, text)

    def show(self, view):
        self.find(f"nav [data-view={view}]")[0].click()
        self.until(lambda: self.find(f"#{view}:not([hidden])"))

    def press(self, keys):
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.browser).send_keys(keys).perform()

    def saved(self, revision):
        """Wait until the page says that this revision is saved."""
        self.until(lambda: self.text("#saved").endswith(f"revision {revision}"))


def flipped(verdict):
    return "relevant" if verdict == "spurious" else "spurious"


def test_an_expert_mends_a_run(browser, demo):
    found = read_run(demo)
    table = found.verdicts
    name = found.image_ids[0]
    critiques = {path: path.read_bytes() for path in demo.glob("critiques-*")}
    edits = [
        SegmentVerdict(name, k, flipped(table[name, k].verdict), reason="", source="human") for k in (1, 2, 3)
    ]
    with process(demo) as (server, url):
        page = Page(browser, url)
        assert "token" not in browser.current_url
        for k, edit in enumerate(edits, start=1):
            page.press(edit.verdict[0])
            page.saved(k)
            page.press("j")
        server.kill()  # nothing is lost
        server.wait()
        page.press("s")
        page.until(lambda: "does not answer" in page.text("#notice"))
    expected = table.replace(edits)
    assert VerdictTable.load(demo / TABLE_FILE) == expected

    with process(demo) as (_, url):
        page = Page(browser, url)
        page.saved(3)
        assert len(page.find("#segments .by.human")) == 3

        page.press("e")  # the first segment's verdict becomes an example
        page.saved(4)
        page.press("jjju")  # of the fourth segment, taken back at once
        page.saved(5)
        page.press("z")
        page.saved(6)

        page.show("descriptions")
        label = found.label(0)
        card = page.find(f"#classes [data-label='{label}']")[0]
        (text,) = card.find_elements("css selector", "textarea")
        text.clear()
        text.send_keys("Only the strokes count.")
        rows = [row for row in range(len(found)) if found.label(row) == label]
        touched = sum(int(found.segmentation.n_segments[row]) for row in rows) - 3
        note = card.find_element("css selector", ".quiet").text
        assert note.startswith(f"This change would touch {touched} verdicts on {len(rows)} image")
        assert "3 that a person gave stay" in note
        card.find_element("css selector", ".primary").click()
        page.saved(7)

        example = JudgeExample(table[name, 1].reason, edits[0].verdict)
        descriptions = {**table.specifications, label: "Only the strokes count."}
        expected = VerdictTable(expected.verdicts, descriptions, (example,))
        assert VerdictTable.load(demo / TABLE_FILE) == expected

        page.show("align")
        assert len(page.find("#figures thead th")) == 3
        page.find("#align-start")[0].click()
        seen = set()

        def is_done():
            seen.add(page.text("#job-text"))
            return page.text("#job-text") in ("done", "failed")

        page.until(is_done)
        assert page.text("#job-text") == "done", page.text("#job-lines")
        assert any(text.startswith("epoch") for text in seen), seen
        page.until(lambda: len(page.find("#figures thead th")) == 4)
        assert "aligned again" in page.text("#figures thead")
        assert VerdictTable.load(demo / TABLE_FILE) == expected
        assert {path: path.read_bytes() for path in demo.glob("critiques-*")} == critiques
        aligned = read_run(demo)
        assert aligned.verdicts == expected
        assert not np.array_equal(aligned.masks, found.masks)

        browser.refresh()
        page.saved(7)
        page.until(lambda: len(page.find("#figures thead th")) == 4)
        page.show("verdicts")
        assert len(page.find("#segments .by.human")) == 3
        assert not [
            entry for entry in browser.get_log("browser") if "Content Security Policy" in entry["message"]
        ]


@pytest.fixture(scope="module")
def attacked(fitted, tmp_path_factory):
    with serving(shutil.copytree(fitted, tmp_path_factory.mktemp("attacked") / "run")) as client:
        yield client


def test_what_models_and_files_say_stays_text(browser, attacked):
    page = Page(browser, attacked.url)
    page.until(lambda: page.holds("#critique-text", SCRIPT))
    for part in (
        "#image-title",
        "#images .name",
        "#image-label, #image-description",
        "#segments .said",
        "#segments .by",
    ):
        assert page.holds(part, SCRIPT)
    page.press("sje")
    page.show("history")
    page.until(lambda: page.holds("#entries", SCRIPT))
    for view in ("descriptions", "examples", "align"):
        page.show(view)
    assert browser.title.startswith("Review of")
    assert not page.find("main script, main img[src='x']")
    assert not [
        entry for entry in browser.get_log("browser") if "Content Security Policy" in entry["message"]
    ]


def test_two_tabs(browser, attacked):
    page = Page(browser, attacked.url)
    first = browser.current_window_handle
    revision = attacked.get("/api/state")["revision"]
    browser.switch_to.new_window("tab")
    other = Page(browser, f"{attacked.base}/")
    # As fast as no polling is: the other tab edits before this one has asked how things stand.
    attacked.post("description", label="well", text="The bone.", revision=revision)
    other.press("u")
    other.until(lambda: "changed elsewhere" in other.text("#notice"))
    other.saved(revision + 1)
    assert attacked.get("/api/state")["revision"] == revision + 1
    browser.close()
    browser.switch_to.window(first)
    page.saved(revision + 1)  # by itself


def pressed(page, part, number=1):
    return page.find(f"[data-segment='{number}'] [data-part='{part}'][aria-pressed='true']")


def test_four_answers_by_key(browser, attacked):
    page = Page(browser, attacked.url)
    revision = attacked.get("/api/state")["revision"]
    for key, content, verdict in (
        ("1", "artefact", "spurious"),
        ("o", "object", "relevant"),
        ("3", "surroundings", "relevant"),
        ("m", "mixed", "unsure"),
        ("a", "artefact", "spurious"),
        ("2", "object", "relevant"),
        ("b", "surroundings", "relevant"),
        ("4", "mixed", "unsure"),
    ):
        page.press(key)
        revision += 1
        page.saved(revision)
        assert pressed(page, content)
        assert pressed(page, verdict)
        assert content in page.find("#live")[0].get_attribute("textContent")
        segment = attacked.get("/api/state")["images"][0]["segments"][0]
        assert (segment["content"], segment["verdict"]) == (content, verdict)
    page.press("s")
    page.saved(revision + 1)
    assert pressed(page, "spurious")
    assert not pressed(page, "mixed")
    page.press("z")
    page.saved(revision + 2)
    assert pressed(page, "mixed")
    page.find("[data-segment='2'] [data-part='object']")[0].click()
    page.saved(revision + 3)
    assert pressed(page, "object", 2)
    page.show("history")
    page.until(lambda: page.holds("#entries", "object, relevant"))
    for keys in ("1", "2", "3", "4", "s", "r", "u"):
        assert page.holds("#verdicts .segments > p kbd, #segments .answers kbd", keys)


def test_a_segment_is_seen_as_the_critic_saw_it(browser, attacked):
    page = Page(browser, attacked.url)
    loaded = "return [...document.querySelectorAll(arguments[0])].every((i) => i.complete && i.naturalWidth === 512)"
    for pictures in ("#picture-view", "#segments .look img"):
        assert page.find(pictures)
        page.until(lambda pictures=pictures: browser.execute_script(loaded, pictures))
    assert page.find("#figure-enlarged[hidden]")  # of images of a few pixels nothing is enlarged


@pytest.mark.parametrize(("theme", "width"), [("light", 1440), ("dark", 400)])
def test_no_serious_accessibility_violation(browser, attacked, theme, width):
    set_theme(browser, theme)
    set_size(browser, width, 900)
    page = Page(browser, attacked.url)
    page.press("sj4")
    for view in ("verdicts", "descriptions", "examples", "align", "history"):
        page.show(view)
        assert accessibility_violations(browser) == []
        assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
