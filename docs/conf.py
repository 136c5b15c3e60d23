"""How Sphinx makes the site: ``make docs``."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")  # bars would fill the tutorials' output

from docutils.nodes import SkipNode, math_block
from docutils.utils.math.latex2mathml import tex2mathml

import lvlm_va

project = "lvlm_va"
author = copyright = "The lvlm_va developers"
version = release = lvlm_va.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "tutorials", "gallery/*.py", "gallery/*.ipynb", "**/*.codeobj.json"]
templates_path = ["_templates"]
html_theme = "furo"
html_title = "lvlm_va"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_math_renderer = "mathml"

# Names in single backticks are links where there is such a page; full names must have one.
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!lvlm_va\.).*"),  # parameters, and other projects' names
]
# The deeper modules are the house's own: a docstring may name them, and readers find them in the source.
myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["config.cache"]

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_typehints = "none"  # the docstrings say them, with shapes
autodoc_class_signature = "mixed"
autodoc_default_options = {
    "inherited-members": "object,BaseEstimator,ClassifierMixin,Module,Dataset,Sampler,BaseException,str,dict,tuple",
    "exclude-members": "set_fit_request,set_score_request,set_predict_request,get_metadata_routing",
}
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
linkcheck_ignore = [r"http://127\.0\.0\.1.*"]


def _quiet(conf: dict[str, Any], folder: str) -> None:
    """Begin each tutorial in the same way: one thread, no warnings of short runs, an empty folder for its files."""
    import torch

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=UserWarning)


sphinx_gallery_conf = {
    "examples_dirs": "tutorials",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "abort_on_example_error": True,
    "reset_modules": ("matplotlib", _quiet),
    "default_thumb_file": str(Path(__file__).parent / "images" / "before_after.png"),
    "write_computation_times": False,  # that page would load scripts from elsewhere
}


def _escape(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep the star of shapes such as (n, C, *spatial) from beginning emphasis."""
    lines[:] = [re.sub(r"(?<=[(, ])\*(?=\w+[,)])", r"\\*", line) for line in lines]


def _write_command_line(app: Any) -> None:
    """Write the page of all commands, each as ``lvlm-va COMMAND --help`` prints it."""
    import typer
    from typer.testing import CliRunner

    from lvlm_va.cli.app import app as commands

    page = ["# Command line", ""]
    for name in ("", *typer.main.get_command(commands).commands):
        asked = CliRunner().invoke(
            commands, [*name.split(), "--help"], prog_name="lvlm-va", env={"COLUMNS": "100"}
        )
        page += [f"## {name or 'lvlm-va'}", "", "```text", asked.output.strip(), "```", ""]
    Path(app.srcdir, "reference", "command_line.md").write_text("\n".join(page))


def _write_math(writer: Any, node: Any) -> None:
    """Write an equation as browsers show it by themselves; MathJax would have to be loaded from elsewhere."""
    block = isinstance(node, math_block)
    equation = tex2mathml(node.astext(), as_block=block)
    writer.body.append(f'<div class="equation">{equation}</div>' if block else equation)
    raise SkipNode


def setup(app: Any) -> None:
    """Connect these; Sphinx calls it."""
    app.add_html_math_renderer("mathml", (_write_math, None), (_write_math, None))
    app.connect("builder-inited", _write_command_line)
    app.connect("autodoc-process-docstring", _escape, priority=400)  # before numpydoc reads it
