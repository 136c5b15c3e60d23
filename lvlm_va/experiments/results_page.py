"""The page of results: tables copied from the files that experiments wrote, never typed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import typer

from lvlm_va._files import atomic_path

PAGE = """# Results

Written by `make results` from the files of the experiments; do not edit. Means and standard deviations over seeds; test
images, whose shortcut tells nothing. {environment}

`lvlm-va experiment main --quick --seeds {seeds}`: small nets and few images, so that everybody can run it. WGA is the
accuracy of the worst group, AGA the plain mean over groups, Δ the change from plain training (`erm`), μ the share
of absolute attribution outside the shortcut. `lvlm va` is the paper's method with a critic that is always right;
`propagated` extends its verdicts to the other images; `70` has three in ten verdicts wrong. `ground truth rrr` and
`counterexamples` are given masks of all images, `dfr`, `subg` and `group dro` the group of every image. A dash: not
applicable, because a group is empty, every class is one group, or no error is made.

{table}
![Worst-group accuracy](worst_group.png)
"""


def write_results_page(run: str | os.PathLike[str], page: str | os.PathLike[str]) -> None:
    """Write the page, and the picture beside it, from the folder of the main experiment.

    Parameters
    ----------
    run : path-like
        Folder that ``lvlm-va experiment main`` wrote.
    page : path-like
        The Markdown file.
    """
    from lvlm_va._show_versions import environment

    run, page = Path(run), Path(page)
    results = json.loads((run / "metrics.json").read_text())
    seeds = max(len(rows) for methods in results.values() for rows in methods.values())
    facts = environment()
    machine = f"torch {facts['torch']}, GPU: {facts['gpu']}."
    text = PAGE.format(environment=machine, seeds=seeds, table=(run / "table.md").read_text())
    with atomic_path(page) as temporary:
        temporary.write_text(text)
    with atomic_path(page.with_name("worst_group.png")) as temporary:
        temporary.write_bytes((run / "worst_group.png").read_bytes())


if __name__ == "__main__":
    typer.run(write_results_page)
