"""A self-contained HTML page: the figures before and after, the picture, and how to reproduce them."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path

from lvlm_va._files import atomic_path
from lvlm_va.report._extra import needs_report_extra


def write_page(
    path: str | os.PathLike[str],
    *,
    title: str,
    summary: str,
    before: Mapping[str, float],
    after: Mapping[str, float],
    seconds: Mapping[str, float],
    picture: str | os.PathLike[str],
    command: str,
) -> None:
    """Write the page; it needs no other file and no network.

    Parameters
    ----------
    path : path-like
        The HTML file.
    title, summary : str
        What was done, in a line and in a paragraph.
    before, after : mapping of str to float
        Measures in [0, 1], with the same names.
    seconds : mapping of str to float
        Wall-clock seconds of each stage.
    picture : path-like
        A PNG file, put into the page.
    command : str
        The command that makes these figures.

    Raises
    ------
    ImportError
        If Jinja2 is missing (extra ``report``).
    """
    with needs_report_extra("Jinja2"):
        from jinja2 import Environment, PackageLoader, StrictUndefined
    environment = Environment(
        loader=PackageLoader("lvlm_va.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    text = environment.get_template("page.html").render(
        title=title,
        summary=summary,
        before=before,
        after=after,
        seconds=seconds,
        picture=base64.b64encode(Path(picture).read_bytes()).decode(),
        command=command,
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
