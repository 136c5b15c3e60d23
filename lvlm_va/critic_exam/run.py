"""Ask a critic the questions of the exam."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lvlm_va.backends import Estimate, Prices, ScriptedBackend, estimate
from lvlm_va.common.errors import unknown_name
from lvlm_va.common.fingerprint import fingerprint
from lvlm_va.common.html import html_table
from lvlm_va.critic_exam.grading import Grade, grade
from lvlm_va.critic_exam.sets import RECORDED, SETS, Questions, load_questions
from lvlm_va.critique import (
    Critic,
    Critique,
    Judge,
    LVLMCritic,
    ModelStoppedError,
    ParserJudge,
    RecordedCritic,
    VerdictPolicy,
    collect_critiques,
    judge_critiques,
)
from lvlm_va.critique.checks import check_all_judged
from lvlm_va.critique.resolve import resolve_critic_and_judge


@dataclass(frozen=True, eq=False)
class SetResult:
    """What came of one set.

    Attributes
    ----------
    questions : Questions
        What was asked.
    critiques : tuple of Critique
        What the critic said, with the verdicts.
    grade : Grade
        How right it was.
    asked : Estimate
        About what all of the set's questions take: requests, pictures, tokens and money.
    seconds : float
        Wall-clock seconds of what was asked now; answers from an earlier run take none.
    """

    questions: Questions
    critiques: tuple[Critique, ...]
    grade: Grade
    asked: Estimate
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        asked = {"questions": self.asked.requests, "pictures": self.asked.images}
        tokens = {"input_tokens": self.asked.input_tokens, "output_tokens": self.asked.output_tokens}
        return self.grade.to_json() | asked | tokens | {"cost": self.asked.cost, "seconds": self.seconds}


@dataclass(frozen=True, eq=False)
class ExamResult:
    """What came of the exam.

    Attributes
    ----------
    critic : str
        Name of who was asked.
    sets : mapping of str to SetResult
        By the name of the set.
    """

    critic: str
    sets: Mapping[str, SetResult]

    def to_json(self) -> dict[str, Any]:
        """Return the figures of each set as JSON values."""
        return {name: result.to_json() for name, result in self.sets.items()}

    def _repr_html_(self) -> str:
        grades = {name: result.grade for name, result in self.sets.items()}
        rows = [
            (
                name,
                f"{found.verdict_accuracy:.3f} of {found.decided}",
                f"{found.recall:.3f}",
                f"{found.precision:.3f}",
            )
            for name, found in grades.items()
        ]
        return html_table(
            f"Exam of {self.critic}", ("set", "right", "artefacts found", "rightly called so"), rows
        )


def exam(
    critic: Critic | str,
    *,
    judge: Judge | str | None = None,
    policy: VerdictPolicy | None = None,
    sets: Iterable[str] | None = None,
    n_images: int | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    prices: Prices | None = None,
    echo: Callable[[str], object] = lambda line: None,
) -> ExamResult:
    """Find out how right a critic is, on drawn images whose shortcuts are known.

    Parameters
    ----------
    critic, judge : object, str or None
        Who is asked, as in `lvlm_va.LVLMVAClassifier`; ``"recorded"`` plays back a large vision-language model.
    policy : VerdictPolicy, default=None
        What follows from surroundings and mixed segments, where a `ParserJudge` reads; None: its default.
    sets : iterable of str, default=None
        Names of sets; None: all.
    n_images : int, default=None
        Images of each set, at least 1; None: all.
    run_dir : path-like, default=None
        Folder in which answers are kept as they come, and found again.
    prices : Prices, default=None
        What the model's provider charges.
    echo : callable, default
        Gets a line about each set as it is done.

    Returns
    -------
    ExamResult
        Verdict accuracy, recall and precision of artefacts with intervals, what was confused, and what it took.

    Raises
    ------
    ValueError
        If a set is unknown, or the critic cannot be asked.
    lvlm_va.critique.ModelStoppedError
        If the critic's model cannot go on; what it has answered is kept in `run_dir`.

    Examples
    --------
    >>> from lvlm_va.critic_exam import exam
    >>> result = exam("tiny", sets=["digits"], n_images=2)
    >>> result.sets["digits"].grade.images
    2
    """
    names = list(SETS) if sets is None else list(sets)
    for name in names:
        if name not in SETS:
            raise unknown_name("sets", name, SETS)
    if critic == "recorded":
        critic = RecordedCritic(RECORDED)
    asked, reader = resolve_critic_and_judge(critic, judge, run_dir)
    if asked is None:
        raise ValueError("The 'critic' argument must name who is asked. Got None instead.")
    if policy is not None:
        if not isinstance(reader, ParserJudge):
            raise ValueError("The 'policy' argument needs a critic whose answers a ParserJudge reads.")
        reader = replace(reader, policy=policy)
    folder = None if run_dir is None else Path(run_dir).expanduser()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    results, waiting = {}, None
    for name in names:
        try:
            results[name] = _ask(load_questions(name, n_images), asked, reader, folder, prices)
        except ModelStoppedError as stop:
            if stop.failure.kind != "pending":
                raise
            # The questions of the other sets are handed over as well before the exam ends.
            waiting = stop
        else:
            echo(_line(name, results[name].grade))
    if waiting is not None:
        raise waiting
    return ExamResult(asked.name, results)


def _ask(
    questions: Questions, critic: Critic, judge: Judge | None, folder: Path | None, prices: Prices | None
) -> SetResult:
    requests, start = questions.requests, time.perf_counter()
    key = fingerprint(critic)
    critiques = collect_critiques(
        critic,
        [request.image_id for request in requests],
        lambda positions: [requests[k] for k in positions],
        path=None if folder is None else folder / f"{questions.name}-{key}.jsonl",
        judged=judge is not None,
    )
    counts = [request.n_segments for request in requests]
    if judge is not None:
        path = (
            None if folder is None else folder / f"{questions.name}-{key}-{fingerprint(judge)}-judged.jsonl"
        )
        critiques = judge_critiques(judge, critiques, counts, path=path)
    check_all_judged(critiques, counts)
    seconds = time.perf_counter() - start
    # The recorded replies are answers to what is asked by default.
    asker = LVLMCritic(ScriptedBackend(())) if isinstance(critic, RecordedCritic) else critic
    # All of them: what was answered before counts, too.
    chats = asker.chat_requests(requests) if hasattr(asker, "chat_requests") else []
    asked = estimate(chats, prices)
    return SetResult(questions, tuple(critiques), grade(questions, critiques), asked, seconds)


def _line(name: str, found: Grade) -> str:
    return (
        f"{name:<12} {found.images:>3} images {found.segments:>4} segments   right {found.verdict_accuracy:.3f} "
        f"of {found.decided} decided   recall {found.recall:.3f} of {found.artefacts}   precision {found.precision:.3f}"
    )
