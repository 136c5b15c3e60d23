"""A run under review: what it found, what the expert makes of it, and the work that goes on."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lvlm_va.common.errors import unknown_name
from lvlm_va.critique import CONTENTS, Content, SegmentVerdict, Verdict, VerdictTable
from lvlm_va.critique.model_options import ModelOptions
from lvlm_va.critique.verdict_json import table_from_json
from lvlm_va.report.run_record import RunRecord, read_run
from lvlm_va.review.ask import Askers, estimate, kept_by_person, make_askers, question, read_answer
from lvlm_va.review.changes import EXAMPLES, Address, Values, merged, verdict_value
from lvlm_va.review.job import Job, Status
from lvlm_va.review.journal import Journal, StaleRevisionError, refuse_links
from lvlm_va.review.pictures import Pictures
from lvlm_va.review.realign import Progress, arguments_for, why_not
from lvlm_va.runs.lock import RunLock

# A copy, so that edits made meanwhile wait for the next alignment.
_SNAPSHOT = "verdicts.aligned.json"

NO_CRITIC = "Start lvlm-va review with --critic to ask again."


class BusyError(ValueError):
    """Some work goes on already."""


class ReviewedRun:
    """A run under review.

    Parameters
    ----------
    folder : path-like
        The run directory.
    by : str
        Who reviews.
    models : ModelOptions or None, default=None
        Whom to ask again; None for nobody.

    Attributes
    ----------
    record : RunRecord
        What the run found, read again after each alignment.
    journal : Journal
        The expert's changes.
    pictures : Pictures
        Pictures of the images.
    job : Job or None
        The work that goes on, or that was last done.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, by: str, models: ModelOptions | None = None
    ) -> None:
        self.folder, self.models = Path(folder).expanduser(), models
        refuse_links(self.folder)
        self._read()
        # What cannot be asked is refused before the page is up.
        self._askers = None if models is None else make_askers(models)
        key = " ".join(path.name for path in self.record.verdict_files)
        self.journal = Journal(self.folder, self.record.verdicts, run=key, by=by, facts=self._measured())
        self.job: Job | None = None
        self._starting = threading.Lock()
        self._answers: Values = {}
        self._asked: list[str] = []
        self._progress = Progress(self.folder)

    def close(self) -> None:
        """End what goes on, and let others review the run."""
        if self.job is not None and self.job.status == "running":
            self.job.cancel()
            self.job.wait()
        self.journal.close()

    def row(self, image_id: str) -> int:
        """Return the number of an image; ValueError where there is none of this name."""
        try:
            return self._rows[image_id]
        except KeyError:
            raise ValueError(f"The run has no image {image_id!r}.") from None

    def said(self, row: int) -> str:
        """Return what the critic said last about an image."""
        name = self.record.image_ids[row]
        text: str = self.journal.values.get(Address("critique", name), self.record.critiques[row].text)
        return text

    def judge(self, image: str, segment: int, verdict: Verdict, reason: str | None, *, revision: int) -> None:
        """Enter a person's verdict; without a reason the critic's stays where the verdict does.

        What the segment shows is forgotten where another verdict follows from that.
        """
        old = self.journal.values.get(self._segment(image, segment), {})
        shows = old.get("content", "")
        stays = shows and verdict in (old["verdict"], self.record.policy.verdict(shows))
        self._enter(SegmentVerdict(image, segment, verdict, content=shows if stays else ""), reason, revision)

    def tell(self, image: str, segment: int, content: Content, reason: str | None, *, revision: int) -> None:
        """Enter what a person says that a segment shows; the verdict follows by the run's policy."""
        self._segment(image, segment)
        if content not in CONTENTS:
            raise unknown_name("content", content, CONTENTS)
        verdict = self.record.policy.verdict(content)
        self._enter(SegmentVerdict(image, segment, verdict, content=content), reason, revision)

    def describe(self, label: str, text: str, *, revision: int) -> None:
        """Enter what should count for a class."""
        if label not in self.record.class_names:
            raise ValueError(f"The run has no class {label!r}.")
        self.journal.edit({Address("description", label): text.strip() or None}, revision=revision)

    def promote(self, image: str, segment: int, *, revision: int) -> None:
        """Make an example for the judge of what the critic said of a segment and the verdict of a person."""
        value = self.journal.values.get(self._segment(image, segment), {})
        if value.get("source") != "human":
            raise ValueError(
                "Only a verdict that a person gave can be an example. Confirm or correct it first."
            )
        critique = self._said_of(self.row(image), segment)
        example = {"critique": critique, "verdict": value["verdict"], "note": value["reason"]}
        examples = self.journal.values.get(EXAMPLES, [])
        if example not in examples:
            examples = [*examples, example]
        self.journal.edit({EXAMPLES: examples}, revision=revision)

    def set_example(self, number: int, example: Any, *, revision: int) -> None:
        """Put another example in the place of one, or, with None, remove it."""
        examples = list(self.journal.values.get(EXAMPLES, []))
        if not 0 <= number < len(examples):
            raise ValueError(f"There is no example number {number + 1}.")
        examples[number : number + 1] = [] if example is None else [example]
        self.journal.edit({EXAMPLES: examples or None}, revision=revision)

    def take_over(self, table: str, *, revision: int) -> None:
        """Enter the verdicts, descriptions and examples of a table's JSON text."""
        found = VerdictTable(*table_from_json(table.encode("utf-8", "surrogatepass"), "the file"))
        self.journal.require_same_segments(found)
        for label in found.specifications:
            if label not in self.record.class_names:
                raise unknown_name("specifications", label, self.record.class_names)
        old = self.journal.values
        new = {**dict.fromkeys(old), **merged(old, found)}  # None removes
        self.journal.edit(new, revision=revision, action="import")

    def cost(self, image_ids: Sequence[str]) -> str:
        """Return in words about what asking again about these images would take."""
        models, askers = self._check_critic()
        names, table = self._known(image_ids), self.journal.table()
        found = estimate(self.record, names, table, askers, models.make_prices())
        if not found.requests:
            return "This critic asks no paid model: it costs nothing but time."
        return f"At most {found}."

    def ask(self, image_ids: Sequence[str]) -> None:
        """Begin to ask the critic again about these images."""
        models, _ = self._check_critic()
        names = self._known(image_ids)
        with self._starting:
            self._check_ready()
            self._answers, self._asked = {}, names
            self.job = Job(
                "ask",
                ["ask"],
                Path.cwd(),
                on_line=lambda text: self._answers.update(read_answer(text)),
                on_end=lambda status: self._enter_answers(models.critic or ""),
                question=question(self.folder, names, self.journal.table(), models),
            )

    def why_not_realign(self) -> str | None:
        """Return why the run cannot be aligned again from here; None where it can."""
        return why_not(self.record.command)

    def realign(self) -> None:
        """Begin to align again with the present verdicts."""
        command, reason = self.record.command, self.why_not_realign()
        if command is None or reason is not None:
            raise ValueError(reason)
        with self._starting:
            self._check_ready()
            if (holder := RunLock(self.folder).holder()) is not None:
                raise BusyError(f"In this run {holder} works already. Wait for its end.")
            snapshot, revision = self.folder / _SNAPSHOT, self.journal.revision
            self.journal.table().save(snapshot)
            self._progress = Progress(self.folder)
            self.job = Job(
                "realign",
                arguments_for(command, self.folder, snapshot),
                command.folder,
                on_end=lambda status: self._enter_alignment(status, revision),
            )

    def cancel(self) -> None:
        """Stop what goes on, if anything; what is done of it stays."""
        if self.job is not None:
            self.job.cancel()

    def progress(self) -> tuple[int, int, str]:
        """Return how much of the work is done, of how much (0 where that is unknown), and in words."""
        if self.job is not None and self.job.kind == "ask":
            done = sum(address.kind == "critique" for address in self._answers)
            return done, len(self._asked), f"{done} of {len(self._asked)} images"
        return self._progress.read()

    def _read(self) -> None:
        self.record: RunRecord = read_run(self.folder)
        self._rows = {name: row for row, name in enumerate(self.record.image_ids)}
        self.pictures = Pictures(self.record)

    def _measured(self) -> dict[str, Any]:
        """Return the figures before and after alignment, for the journal; nothing where nothing was measured."""
        measures = self.record.measures
        if measures is None:
            return {}
        return {"figures": {"before": measures.before.figures(), "after": measures.after.figures()}}

    def _segment(self, image: str, segment: int) -> Address:
        if not 1 <= segment <= int(self.record.segmentation.n_segments[self.row(image)]):
            raise ValueError(f"Image {image!r} has no segment {segment}.")
        return Address("verdict", image, segment)

    def _enter(self, said: SegmentVerdict, reason: str | None, revision: int) -> None:
        address = Address("verdict", said.image_id, said.segment)
        old = self.journal.values.get(address, {})
        if reason is None:
            same = old.get("verdict") == said.verdict and old.get("content", "") in ("", said.content)
            reason = old.get("reason", "") if same else ""
        value = verdict_value(replace(said, reason=reason, source="human"))
        self.journal.edit({address: value}, revision=revision)

    def _said_of(self, row: int, segment: int) -> str:
        """Return what the critic said of a segment, or of the image where it did not tell its segments apart."""
        name = self.record.image_ids[row]
        if Address("critique", name) in self.journal.values:
            return self.said(row)
        critique = self.record.critiques[row]
        statements = [said.text for said in critique.statements if segment in said.segments]
        reasons = [v.reason for v in critique.verdicts if v.segment == segment and v.reason]
        return "\n".join(statements or reasons) or critique.text

    def _known(self, image_ids: Sequence[str]) -> list[str]:
        if not image_ids:
            raise ValueError("No image is chosen.")
        for name in image_ids:
            self.row(name)
        return list(dict.fromkeys(image_ids))

    def _check_ready(self) -> None:
        self.journal.require_in_place()
        if self.job is not None and self.job.status == "running":
            raise BusyError("Some work goes on already. Wait for its end, or cancel it.")

    def _check_critic(self) -> tuple[ModelOptions, Askers]:
        if self.models is None or self._askers is None:
            raise ValueError(NO_CRITIC)
        return self.models, self._askers

    def _enter_answers(self, by: str) -> None:
        # What was answered before the end is kept, also of what failed or was cancelled: it was paid for.
        while True:
            revision = self.journal.revision
            new = kept_by_person(self._answers, self.journal.values)
            for address in [a for a in new if a.kind == "critique" and new[a] == self.said(self.row(a.name))]:
                del new[address]
            try:
                self.journal.edit(new, revision=revision, action="ask", by=by)
                return
            except StaleRevisionError:  # the expert went on meanwhile
                continue

    def _enter_alignment(self, status: Status, revision: int) -> None:
        if status != "done":
            return
        self._read()
        self.journal.record("realign", {"of": revision, **self._measured()})
