"""The report: one HTML file that says what was found and what changed, for a reader who does not program."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lvlm_va.backends import Prices
from lvlm_va.common.files import atomic_path
from lvlm_va.critique import BehaviourSummary, summarize_behaviour
from lvlm_va.metrics import GroupAccuracies, wilson_interval
from lvlm_va.report.cards import attention_on_masks, make_cards
from lvlm_va.report.colours import VERDICT_MARKS, VERDICT_WORDS
from lvlm_va.report.figures import write_figures
from lvlm_va.report.measures import Measures
from lvlm_va.report.run_record import RunRecord
from lvlm_va.report.templating import digest, template_environment, text_of
from lvlm_va.rounds.verdicts import segment_findings

TITLE = "What the classifier looks at, and what changed"
# Rows of the table of the largest segments; the cards show all.
_MOST_ROWS = 200
_STAGES = {
    "train": "training the classifier",
    "sample": "choosing the images",
    "explain": "explaining its answers",
    "segment": "cutting the explanations into segments",
    "critique": "the critic's look at them",
    "judge": "reading the critic's words",
    "propagate": "extending the verdicts to other images",
    "align": "mending the classifier",
}


def write_report(
    record: RunRecord,
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    intro: str | None = None,
    prices: Prices | None = None,
) -> Path:
    """Write the report, and the figures of a run directory.

    Parameters
    ----------
    record : RunRecord
        The run; see `lvlm_va.report.read_run`.
    path : path-like
        The HTML file. It needs no other file and no network.
    title : str, default=None
        Heading of the page.
    intro : str, default=None
        A paragraph that says what this is about, above all else.
    prices : Prices or None, default=None
        What the models' provider charges; None leaves the cost in tokens.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ImportError
        If Jinja2 or matplotlib is missing (extra ``report``).
    """
    path = Path(path).expanduser()
    text = render_report(record, title=title, intro=intro, prices=prices)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    if record.path is not None:
        write_figures(record, record.path / "figures")
    return path


def render_report(
    record: RunRecord,
    *,
    title: str | None = None,
    intro: str | None = None,
    prices: Prices | None = None,
) -> str:
    """Return the page as text; the arguments are those of `write_report`.

    Parameters
    ----------
    record : RunRecord
        What is shown.
    title, intro, prices : optional
        As of `write_report`.

    Returns
    -------
    str
        The page, HTML.
    """
    environment = template_environment()
    environment.filters |= {"percent": percent, "seconds": in_words}
    style, script = text_of("report.css"), text_of("report.js")
    cards = list(make_cards(record))
    segments = sorted(
        ((card, segment) for card in cards for segment in card.segments), key=lambda pair: -pair[1].share
    )
    attention = attention_on_masks(record)
    descriptions = {record.verdicts.specifications.get(name, "") for name in record.class_names}
    page: str = environment.get_template("report.html").render(
        title=TITLE if title is None else title,
        intro=intro,
        record=record,
        cards=cards,
        segments=segments[:_MOST_ROWS],
        n_segments=len(segments),
        unanswered=sum(not critique.answered for critique in record.critiques),
        counts=record.verdicts.counts(),
        attention=None if np.isnan(attention).any() else attention,
        attention_masked=attention[2],
        trial_intervals=record.trial
        and [
            wilson_interval(found.spurious, record.trial.n_pairs)
            for found in (record.trial.before, record.trial.after)
        ],
        behaviour=behaviour_of(record),
        one_description=descriptions.pop() if len(descriptions) == 1 else "",
        measures=record.measures,
        headlines=headlines(record.measures) if record.measures else (),
        groups=group_rows(record.measures) if record.measures else (),
        stages=[(_STAGES.get(name, name), spent) for name, spent in record.seconds.items()],
        costs=[(use, use.cost(prices)) for use in record.costs],
        currency=prices.currency if prices else "",
        command=None if record.command is None else shlex.join(record.command.arguments),
        direction=record.direction,
        marks=VERDICT_MARKS,
        words=VERDICT_WORDS,
        style=style,
        script=script,
        style_hash=digest(style),
        script_hash=digest(script),
    )
    return page


@dataclass(frozen=True)
class Headline:
    """A figure before and after: its name, what it means, both values in [0, 1], and notes."""

    name: str
    meaning: str
    before: float
    after: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class GroupRow:
    """A group's accuracy before and after, with its 95 % intervals, and its number of images."""

    name: str
    size: int
    before: float
    before_interval: tuple[float, float]
    after: float
    after_interval: tuple[float, float]


def headlines(measures: Measures) -> tuple[Headline, ...]:
    """Return the figures that matter most, with their meaning in plain words."""
    before, after = measures.before, measures.after
    kind = "group" if measures.grouped else "class"
    found = [
        Headline(
            "Right answers",
            f"How many of the {int(after.groups.sizes.sum()):,} {measures.images} are classified correctly (accuracy).",
            before.groups.overall,
            after.groups.overall,
        ),
        Headline(
            f"Worst {kind}",
            f"The same for the {kind} of images that fares worst: what the classifier is worth where it is weakest.",
            before.groups.worst,
            after.groups.worst,
            _worst_notes(before.groups, after.groups),
        ),
        Headline(
            f"Average over {'groups' if measures.grouped else 'classes'}",
            f"The mean over all {len(after.groups.groups)} {'groups' if measures.grouped else 'classes'}, rare ones "
            "counting as much as common ones.",
            before.groups.average,
            after.groups.average,
        ),
    ]
    if measures.grouped:
        found.insert(
            2,
            Headline(
                "Worst class",
                "The same for the class that fares worst.",
                before.classes.worst,
                after.classes.worst,
                _worst_notes(before.classes, after.classes),
            ),
        )
    if before.alignment is not None and after.alignment is not None:
        found.append(
            Headline(
                "Attention where it belongs",
                "Share of the classifier's attention outside the pixels known not to matter (alignment μ).",
                before.alignment,
                after.alignment,
                (f"Explained: {measures.n_explained:,} of them, drawn at random.",)
                if measures.n_explained
                else (),
            )
        )
    return tuple(found)


def group_rows(measures: Measures) -> tuple[GroupRow, ...]:
    """Return the groups, those that fared worst before first."""
    before, after = measures.before.groups, measures.after.groups
    rows = [
        GroupRow(
            str(before.groups[i]),
            int(before.sizes[i]),
            float(before.accuracies[i]),
            (float(before.intervals[i, 0]), float(before.intervals[i, 1])),
            float(after.accuracies[i]),
            (float(after.intervals[i, 0]), float(after.intervals[i, 1])),
        )
        for i in range(len(before.groups))
    ]
    return tuple(sorted(rows, key=lambda row: row.before))


def behaviour_of(record: RunRecord) -> BehaviourSummary:
    """Return in words what the classifier looked at before alignment, classes in their own order."""
    found = summarize_behaviour(
        segment_findings(
            record.explanation, record.segmentation, record.critiques, record.verdicts, record.class_names
        )
    )
    order = {name: place for place, name in enumerate(record.class_names)}
    return BehaviourSummary(tuple(sorted(found.classes, key=lambda behaviour: order[behaviour.label])))


def percent(share: float, digits: int = 0) -> str:
    """Return a share in [0, 1] in words; what is not nothing is never shown as nothing."""
    if 0 < share < 0.5 * 10 ** -(digits + 2):
        return f"<\u00a0{10**-digits:g}\u00a0%"
    if 1 - 0.5 * 10 ** -(digits + 2) < share < 1:
        return f">\u00a0{100 - 10**-digits:g}\u00a0%"
    return f"{100 * share:.{digits}f}\u00a0%"


def in_words(seconds: float) -> str:
    """Return a time in words."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _worst_notes(before: GroupAccuracies, after: GroupAccuracies) -> tuple[str, ...]:
    """Return which group was worst and is worst, and what became of the former."""
    was, now = int(before.accuracies.argmin()), int(after.accuracies.argmin())
    notes = [f"Before: {_one_group(before, was)}.", f"After: {_one_group(after, now)}."]
    if was != now:
        notes.append(f"{before.groups[was]} is now at {percent(after.accuracies[was])}.")
    return tuple(notes)


def _one_group(groups: GroupAccuracies, i: int) -> str:
    low, high = groups.intervals[i]
    size = int(groups.sizes[i])
    return (
        f"{groups.groups[i]}, {size:,} image{'s' * (size != 1)}, {percent(groups.confidence)} interval "
        f"{percent(low)} to {percent(high)}"
    )
