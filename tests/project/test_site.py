"""The site without building it: its commands exist, its questions are answered, its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from lvlm_va.cli.app import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    page
    for page in (*DOCS.rglob("*.md"), *DOCS.glob("tutorials/*.py"), *ROOT.glob("*.md"))
    if not {"generated", "_build", "gallery", "command_line.md"} & {*page.parts}
)
# What must stand where each of the ten questions is answered.
ANSWERS = {
    "ImageNet": "0.485",
    "cost": "--dry-run",
    "sent anywhere": "nothing leaves the machine",
    "accuracy fall": "unaligned_module_",
    "good enough": "lvlm-va exam",
    "group labels": "no group labels and no masks",
    "stopped": "The same command goes on",
    "name?": "`corners`",
    "How many": "50 to 100",
    "trust": "do not prove",
}


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = page.read_text()
    return {slug(found) for found in re.findall(r"^#+ (.*)$", text, flags=re.M)} | set(
        re.findall(r"^\((.*)\)=$", text, flags=re.M)
    )


def links(page: Path) -> list[tuple[Path, str]]:
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", page.read_text(), flags=re.S))
    own = [link.partition("#")[::2] for link in found if "://" not in link]
    return [((page.parent / path).resolve() if path else page, anchor) for path, anchor in own]


@pytest.mark.parametrize("page", [page for page in PAGES if page.suffix == ".md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target, anchor in links(page):
        assert target.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(target), f"{page}: {target}#{anchor}"


def test_ten_questions_are_answered():
    rows = re.findall(r"^\| (.*\?.*?) \| (.*) \|$", (DOCS / "questions.md").read_text(), flags=re.M)
    assert len(rows) == len(ANSWERS) == 10
    for (question, answer), (word, said) in zip(rows, ANSWERS.items(), strict=True):
        assert word in question
        targets = re.findall(r"\]\(([^)#]+)", answer)
        assert targets
        assert any(said in (DOCS / target).read_text() for target in targets), question


def commands(page: Path) -> list[list[str]]:
    """Return the calls of the command line in a page's code, by words."""
    text = page.read_text().replace("\\\n", " ")
    blocks = re.findall(r"```(?:sh|text)?\n(.*?)```|`(lvlm-va [^`]*)`", text, flags=re.S)
    lines = [line for pair in blocks for line in "\n".join(pair).splitlines()]
    lines += re.findall(r"^#    (lvlm-va .*)$", text, flags=re.M)
    found = [re.search(r"(?:lvlm-va|-m lvlm_va) (.*)", line) for line in lines]
    return [match[1].partition(" #")[0].split() for match in found if match]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_exists(page):
    known = typer.main.get_command(app).commands
    for words in commands(page):
        name = words[0] if words else ""
        if not name.isalpha():  # "...", "--help"
            continue
        assert name in known, f"{page.name}: {words}"
        options = {option for parameter in known[name].params for option in parameter.opts} | {"--help"}
        unknown = {word for word in words if word.startswith("--") and word not in options}
        assert not unknown, f"{page.name}: {words}"
