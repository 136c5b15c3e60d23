"""Templates of pages that are one file each: text, style and script in one."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any

from lvlm_va.report._extra import needs_report_extra


def template_environment() -> Any:
    """Return what renders the templates of this package; what is missing in them is an error.

    Raises
    ------
    ImportError
        If Jinja2 is missing (extra ``report``).
    """
    with needs_report_extra("Jinja2"):
        from jinja2 import Environment, PackageLoader, StrictUndefined
    return Environment(
        loader=PackageLoader("lvlm_va.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def text_of(name: str) -> Any:
    """Return a file among the templates, to stand in a page as it is."""
    with needs_report_extra("Jinja2"):
        from markupsafe import Markup
    return Markup(resources.files("lvlm_va.report").joinpath("templates", name).read_text(encoding="utf-8"))


def digest(text: str) -> str:
    """Return how a page's security policy names a style or script of its own."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
