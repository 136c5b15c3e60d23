"""Put questions on families and on single images to a critic and a judge, and keep what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lvlm_va.auditing.grouping import Group, typical_members
from lvlm_va.auditing.regions import RegionTable
from lvlm_va.common.fingerprint import fingerprint
from lvlm_va.critique import Critique, CritiqueRequest, collect_critiques, judge_critiques, read_critiques
from lvlm_va.critique.checks import check_all_judged
from lvlm_va.critique.families import pooled
from lvlm_va.critique.optional_methods import judges_families
from lvlm_va.critique.types import FamilyRequest
from lvlm_va.data.training_data import TrainingData
from lvlm_va.rounds.options import AlignmentOptions
from lvlm_va.rounds.shown import critique_requests
from lvlm_va.rounds.types import Explained
from lvlm_va.runs.directory import RunDirectory

N_EXEMPLARS = 6


@dataclass(frozen=True, eq=False)
class Question:
    """A family to ask about.

    Attributes
    ----------
    name : str
        See `lvlm_va.rounds.families.AskedFamily`.
    group : Group
        Its regions.
    exemplars : ndarray of shape (e,), int64
        Those that are shown: rows of the table.
    """

    name: str
    group: Group
    exemplars: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FamilyAsker:
    """Asks a critic, and a judge if any; what the run directory holds is not asked again.

    Attributes
    ----------
    explained : Explained
        The surveyed images.
    table : RegionTable
        Their segments, one in each row.
    families : str
        Fingerprint of the families.
    data, options, run, seed
        As in `lvlm_va.rounds.alignment_job.AlignmentJob`.
    key : str
        Stands for everything that the answers depend on.
    """

    explained: Explained
    table: RegionTable
    families: str
    data: TrainingData
    options: AlignmentOptions
    run: RunDirectory
    seed: int
    key: str
    _done: dict[str, Critique] = field(default_factory=dict, init=False)

    @property
    def n_requests(self) -> int:
        """Requests that the critic was given so far, or in an earlier run."""
        return len(self._done)

    def question(self, name: str, group: Group) -> Question:
        """Return what is asked about a group."""
        return Question(name, group, typical_members(self.table, group, N_EXEMPLARS, seed=self.seed))

    def places(self, regions: NDArray[np.int64]) -> list[tuple[str, int]]:
        """Return the image and the number in it of each of these regions."""
        cases = self.explained.indices[torch.from_numpy(self.table.rows[regions])].tolist()
        return list(zip(map(self.data.case_id, cases), self.table.segments[regions].tolist(), strict=True))

    def request(self, question: Question) -> FamilyRequest:
        """Return a question as critics are given it."""
        rows = self.table.rows[question.exemplars].tolist()
        numbers = self.table.segments[question.exemplars].tolist()
        members = tuple(
            replace(request, segments=(request.segments == number).astype(np.int64))
            for request, number in zip(self.requests(rows), numbers, strict=True)
        )
        return FamilyRequest(
            **vars(replace(members[0], image_id=self._name(question))),
            members=members,
            name=question.name,
            families=self.families,
        )

    def ask(self, questions: Sequence[Question]) -> list[Critique]:
        """Return what is said of each family: a critique with one verdict."""
        said = {critique.image_id: critique for critique in self._collect(self.requests_of(questions))}
        critiques = []
        for question in questions:
            name = self._name(question)
            if name not in said:
                places = self.places(question.exemplars)
                votes = [v for place in places for v in said[place[0]].verdicts if v.segment == place[1]]
                said[name] = pooled(name, votes)
            critiques.append(said[name])
        return critiques

    def requests_of(self, questions: Sequence[Question]) -> list[CritiqueRequest]:
        """Return what the critic is given: families, or, if it knows none, the images of their exemplars."""
        critic = self.options.critic
        assert critic is not None
        if judges_families(critic):
            return [self.request(question) for question in questions]
        # Critics may go by an image's name and a segment's number: these they get as they are.
        rows = [row for question in questions for row in self.table.rows[question.exemplars].tolist()]
        return self.requests(sorted(set(rows)))

    def kept(self) -> tuple[dict[str, Critique], dict[str, Critique]]:
        """Return what the run directory holds of the critic's words, and of the judge's verdicts."""
        return read_critiques(self._said), read_critiques(self._judged)

    def _name(self, question: Question) -> str:
        """Return the name of a family that no other family has, be it in another survey."""
        return f"family {question.name} {fingerprint(question.group.members, self.families)}"

    @property
    def _said(self) -> Path | None:
        return self.run.file("questions", self.key, ".jsonl")

    @property
    def _judged(self) -> Path | None:
        return None if self.options.judge is None else self.run.file("answers", self.key, ".jsonl")

    def ask_images(self, rows: NDArray[np.int64]) -> list[Critique]:
        """Return what is said of the segments of these images."""
        return self._collect(self.requests(rows.tolist()))

    def requests(self, rows: Sequence[int]) -> list[CritiqueRequest]:
        """Return what critics are given of these images."""
        return critique_requests(self.data, self.options, self.explained, rows)

    def _collect(self, requests: Sequence[CritiqueRequest]) -> list[Critique]:
        critic, judge = self.options.critic, self.options.judge
        assert critic is not None
        names = [request.image_id for request in requests]
        requests = [request for request in requests if request.image_id not in self._done]
        n_segments = [request.n_segments for request in requests]
        critiques = collect_critiques(
            critic,
            [request.image_id for request in requests],
            lambda positions: [requests[position] for position in positions],
            path=self._said,
            judged=judge is not None,
        )
        if judge is not None:
            critiques = judge_critiques(judge, critiques, n_segments, path=self._judged)
        check_all_judged(critiques, n_segments)
        self._done.update((critique.image_id, critique) for critique in critiques)
        return [self._done[name] for name in names]
