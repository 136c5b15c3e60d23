"""The report as a page: what it says, that text stays text, that it needs nothing else, that everybody can read it."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

from lvlm_va.backends import Prices, Usage
from lvlm_va.critique import Critique, JudgeExample, SegmentVerdict, VerdictTable
from lvlm_va.report import Command, ModelUse, render_report, write_report
from tests.report.records import make_measures, make_record

ATTACK = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'><b>"


class Page(HTMLParser):
    """Collect the tags with their attributes, and the text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.raw: dict[str, str] = {}
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside in {"script", "style"}:
            self.raw[self._inside] = data
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def named(self, *names: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.tags if tag in names]


@pytest.fixture(scope="module")
def page() -> Page:
    record = make_record(
        measures=make_measures(),
        costs=(ModelUse("gpt-x", 10, 2, 1, 30, Usage(1_000_000, 50_000)),),
        command=Command(("lvlm-va", "align", "my scans"), "/somewhere"),
    )
    return Page(render_report(record, title="Knees", intro="Knees of 2019.", prices=Prices(2, 10)))


def test_says_what_changed(page):
    for words in (
        "Knees of 2019.",
        "60.0 % → after 90.0 %",  # accuracy
        "▲ 30.0 points up",
        "Before: well, no tag, 10 images, 95 % interval 6 % to 51 %.",
        "alignment μ",
        "40.0 % → after 95.0 %",
        "worst group accuracy 0.200 0.800",
    ):
        assert words in page.text, words


def test_says_what_was_found_and_by_whom(page):
    for words in (
        "trained on 1,000 images. In 6 of them",
        "6 segments should not count, 6 should, and 6 are unsure",
        "3 images were critiqued.",
        "17 % of the effect: the tag of scan-0.png , mostly top left",
        "Segment 1 covers the tag of scan-5.png.",
        "says model-x, 93 % sure",
        "says a person",
        "All that was said of scan-3.png.",
        "“ill” ✓ right 80 %",
        "“well” ✗ wrong 90 %",
    ):
        assert words in page.text, words


def test_says_what_it_took_and_how_to_do_it_again(page):
    for words in (
        "gpt-x 10 2 1 30 1,000,000 50,000 2.50 USD",
        "the critic's look at them 1 min",
        "lvlm-va align 'my scans'",
        "epochs 3",
        "The joint counts, never the tag.",
    ):
        assert words in page.text, words


def test_what_is_not_known_is_said(page):
    bare = Page(render_report(make_record(masks=np.zeros((6, 12, 12), dtype=bool))))
    assert "Nothing was measured" in bare.text
    assert "No question to a chat model is on record" in bare.text
    assert "nothing was taught to the classifier, and nothing mended" in bare.text


@pytest.mark.parametrize("broken", [ATTACK, "\ud83d half a pair", "{{ 7 * 7 }} {% raw %}", "&lt;b&gt;\x00"])
def test_all_text_is_text(tmp_path, broken):
    record = make_record()
    ids = (broken, *record.image_ids[1:])
    verdicts = (SegmentVerdict(broken, 1, "spurious", 0.9, broken, broken), *record.verdicts.verdicts[3:])
    hostile = replace(
        record,
        class_names=(broken, "well"),
        image_ids=ids,
        critiques=(Critique(broken, broken), *record.critiques[1:]),
        verdicts=VerdictTable(verdicts, {broken: broken}, (JudgeExample(broken, "unsure", broken),)),
        parameters={"critic": broken, broken: broken},
        versions={broken: broken},
        command=Command((broken,), broken),
        seconds={broken: 1.0},
        costs=(ModelUse(broken),),
    )
    path = write_report(hostile, tmp_path / "report.html", title=broken, intro=broken)
    found = Page(path.read_text(encoding="utf-8"))
    assert len(found.named("script")) == len(found.named("style")) == 1
    assert not found.named("b", "img") or all(not attributes for attributes in found.named("b", "img"))
    assert not found.named("img")
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    expected = broken.encode("utf-8", "backslashreplace").decode()
    assert " ".join(expected.split()) in found.text.replace("�", "\x00")


def test_needs_nothing_else_and_runs_only_its_own_script(page):
    links = [
        value for _, attributes in page.tags for name, value in attributes.items() if name in {"href", "src"}
    ]
    assert links
    data = tuple(f"data:image/{kind};base64," for kind in ("png", "jpeg", "webp"))
    assert all(link.startswith((*data, "#")) for link in links)
    assert "@import" not in page.raw["style"]
    assert "url(" not in page.raw["style"]
    assert not re.search(r"fetch|XMLHttp|http|import|innerHTML|eval", page.raw["script"])
    (policy,) = [tag["content"] for tag in page.named("meta") if "http-equiv" in tag]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.raw[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not [attributes for _, attributes in page.tags if "style" in attributes]


def test_can_be_read_aloud_and_used_by_keyboard(page):
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.named("html")[0]["lang"] == "en"
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for svg in page.named("svg"):
        assert svg.get("aria-hidden") == "true" or (svg["role"] == "img" and svg["aria-label"])
    named = [tag["aria-labelledby"] for tag in page.named("section", "article") if "id" in tag]
    assert named
    assert set(named) <= set(ids)
    targets = {
        attributes["href"][1:] for _, attributes in page.tags if attributes.get("href", "").startswith("#")
    }
    assert targets <= set(ids)
    assert len(page.named("main")) == len(page.named("header")) == len(page.named("nav")) == 1
    labels = len(page.named("label"))
    assert labels == len(page.named("select", "input"))  # each stands in its label
    assert all("scope" in attributes for attributes in page.named("th"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("artefact", "a foreign thing"),
        ("object", "the object itself"),
        ("surroundings", "plain surroundings"),
        ("mixed", "a foreign thing and the object"),
    ],
)
def test_says_what_a_segment_shows(content, words):
    record = make_record(1)
    first, *others = record.verdicts.verdicts
    told = replace(record.verdicts, verdicts=(replace(first, content=content), *others))
    found = Page(render_report(replace(record, verdicts=told)))
    assert (
        f"50 % ✗ should not count {words}: the tag of scan-0.png, top left says model-x, 93 % sure"
        in found.text
    )
    assert f"✗ should not count {words} top left" in found.text  # in the table
    assert f"{words}:" not in Page(render_report(record)).text


def test_300_images_stay_small():
    text = render_report(make_record(300, 64, channels=3))
    assert text.count('<article class="card"') == 300
    assert len(text.encode()) < 15e6


def test_photographs_are_made_smaller():
    tiny, large = (render_report(make_record(2, side, channels=3)) for side in (64, 256))
    assert "data:image/jpeg" not in tiny
    assert "data:image/jpeg" in large
    assert "data:image/webp" in large
    assert len(large) < 3 * len(tiny)


def test_absolute_effect_speaks_against_too():
    record = make_record()
    segmentation = replace(record.segmentation, effect="absolute")
    found = Page(render_report(replace(record, segmentation=segmentation)))
    assert "speak for or against its class" in found.text
    assert "Of what speaks for or against the class in them, 50 %" in found.text
    before, after = replace(record, segmentation=segmentation).effects()
    np.testing.assert_allclose(before, after, rtol=1e-5)  # the outcome is the explanation's negative
    assert (before > 0).all()
