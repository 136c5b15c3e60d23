"""The page of trouble names every warning, remark and exception that the code has, and none that it has not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = ROOT / "lvlm_va"
PAGE = ROOT / "docs" / "trouble.md"
# Where the sentences of a warning stand that is not written where it is called.
SAID_IN = {
    "why": ("critique/checks.py", "undecided"),
    "remark": ("rounds/remarks.py", None),
    "causes": ("attribution/gaps.py", "causes"),
}
LONG_ENOUGH = 20
ANYTHING = "…"


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def template(node: ast.AST) -> str:
    """Return a text as written, with a mark where something is put in; nothing if it is none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else ANYTHING for part in node.values)
    return ""


def texts(node: ast.AST) -> Iterator[str]:
    """Yield each text in the code below, docstrings left out."""
    inside = {id(part) for text in ast.walk(node) if isinstance(text, ast.JoinedStr) for part in text.values}
    alone = {id(line.value) for line in ast.walk(node) if isinstance(line, ast.Expr)}
    for text in ast.walk(node):
        if id(text) not in inside | alone and (found := template(text)):
            yield " ".join(found.split())


def sentences(node: ast.AST) -> Iterator[str]:
    """Yield those that begin as a sentence does."""
    for text in texts(node):
        if len(text) >= LONG_ENOUGH and " " in text and (text[0].isupper() or text[0] == ANYTHING):
            yield text


def warned() -> Iterator[tuple[str, str]]:
    """Yield the place of each call of ``warn``, and the sentences that it may say."""
    for path in sorted(CODE.rglob("*.py")):
        module = parsed(path)
        for function in (node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)):
            for call in ast.walk(function):
                if not (
                    isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "warn"
                ):
                    continue
                where = f"{path.relative_to(CODE)}:{call.lineno}"
                told = call.args[0]
                if written := template(told):
                    yield where, " ".join(written.split())
                    continue
                names = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
                homes = [SAID_IN[name] for name in names & set(SAID_IN)]
                found = list(sentences(function)) * (not {"why", "remark"} & names)
                for file, name in homes:
                    body: ast.AST = parsed(CODE / file)
                    if name is not None:
                        body = next(
                            n for n in ast.walk(body) if isinstance(n, ast.FunctionDef) and n.name == name
                        )
                    found += sentences(body)
                assert found, f"{where} warns of what is written elsewhere; name the place in SAID_IN"
                yield from ((where, sentence) for sentence in found)


def quotes() -> list[str]:
    """Return what the page quotes: its indented blocks."""
    blocks = re.findall(r"(?:^> .*\n)+", PAGE.read_text(), flags=re.M)
    return [" ".join(re.sub(r"^> ", "", block, flags=re.M).split()) for block in blocks]


def quoted_in(quote: str, text: str) -> bool:
    return re.search(".*".join(map(re.escape, re.split(f" ?{ANYTHING} ?", quote))), text) is not None


def test_every_warning_and_remark_is_explained():
    shown = quotes()
    missing = {
        f"{where}: {said}" for where, said in warned() if not any(quoted_in(quote, said) for quote in shown)
    }
    assert not missing


def test_every_message_that_is_explained_exists():
    written = [text for path in CODE.rglob("*.py") for text in texts(parsed(path))]
    assert [quote for quote in quotes() if not any(quoted_in(quote, text) for text in written)] == []


def test_every_exception_is_explained():
    page = PAGE.read_text()
    for path in CODE.rglob("*.py"):
        for found in ast.walk(parsed(path)):
            if isinstance(found, ast.ClassDef) and any("Error" in ast.unparse(base) for base in found.bases):
                assert f"`{found.name}`" in page, found.name
