"""What a round of critique would take from models, before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lvlm_va.backends import ChatRequest, Estimate, Prices
from lvlm_va.critique import (
    Critic,
    Critique,
    CritiqueRequest,
    Judge,
    LLMJudge,
    LVLMCritic,
    Statement,
    read_critiques,
)
from lvlm_va.data.training_data import TrainingData
from lvlm_va.rounds.critique_round import critique_key, verdict_key
from lvlm_va.rounds.options import RoundOptions
from lvlm_va.rounds.shown import critique_requests
from lvlm_va.rounds.types import Explained
from lvlm_va.runs.directory import RunDirectory

_CHUNK = 16
# Tokens of a critique whose critic sets no limit of its own, and letters of a token.
_MOST_TOKENS, _LETTERS = 1024, 4


def estimate_round(
    explained: Explained,
    data: TrainingData,
    options: RoundOptions,
    run: RunDirectory,
    prices: Prices | None = None,
) -> Estimate:
    """Return about what a round would ask of the critic's and the judge's models.

    Parameters
    ----------
    explained : Explained
        The images chosen, and their segments.
    data : TrainingData
        What they were chosen from.
    options : RoundOptions
        How the round is done.
    run : RunDirectory
        What it holds already is not asked again.
    prices : Prices or None, default=None
        What the models' provider charges, the same for both; None leaves the cost unknown.

    Returns
    -------
    Estimate
        Zero for critics and judges that ask no model, or that are not from this package. The judge is taken to
        read critiques as long as the critic may make them, so that output, cost and the judge's input are upper
        bounds; retries, and second questions where an answer holds no verdict, come on top.
    """
    total = Estimate()
    critic, judge = options.critic, options.judge
    key = critique_key(explained, options, run)
    said = read_critiques(run.file("critiques", key, ".jsonl"))
    judged = (
        read_critiques(run.file("judged", verdict_key(explained, options, run), ".jsonl")) if judge else {}
    )
    for start in range(0, len(explained.indices), _CHUNK):
        positions = range(start, min(start + _CHUNK, len(explained.indices)))
        requests = critique_requests(data, options, explained, positions)
        total += estimate_critiques(critic, judge, requests, prices, said=said, judged=judged)
    return total


def estimate_critiques(
    critic: Critic,
    judge: Judge | None,
    requests: Sequence[CritiqueRequest],
    prices: Prices | None = None,
    *,
    said: Mapping[str, Critique] | None = None,
    judged: Mapping[str, Critique] | None = None,
) -> Estimate:
    """Return about what critiques of some images would ask of the critic's and the judge's models.

    Parameters
    ----------
    critic, judge : Critic, Judge or None
        Who is asked.
    requests : sequence of CritiqueRequest
        The images and their segments.
    prices : Prices or None, default=None
        As in `estimate_round`.
    said, judged : mapping of str to Critique, default=None
        What was answered before, by image, and is not asked again.

    Returns
    -------
    Estimate
        As in `estimate_round`.
    """
    total, said, judged = Estimate(), said or {}, judged or {}
    requests = [request for request in requests if request.n_segments]
    if isinstance(critic, LVLMCritic):
        pending = [request for request in requests if request.image_id not in said]
        total += _sum(critic, critic.chat_requests(pending), prices)
    if isinstance(judge, LLMJudge):
        unread = [request for request in requests if request.image_id not in judged]
        critiques = [said.get(r.image_id) or _longest_critique(critic, r) for r in unread]
        chats = judge.chat_requests(
            [critique for critique in critiques if not critique.verdicts],
            [r.n_segments for r, c in zip(unread, critiques, strict=True) if not c.verdicts],
        )
        total += _sum(judge, chats, prices)
    return total


def _sum(asker: LVLMCritic | LLMJudge, chats: Sequence[ChatRequest], prices: Prices | None) -> Estimate:
    return asker.estimate(chats, prices) if chats else Estimate()


def _longest_critique(critic: object, request: CritiqueRequest) -> Critique:
    if not isinstance(critic, LVLMCritic):
        return Critique(request.image_id, "x" * (_LETTERS * _MOST_TOKENS))
    text = "x" * (_LETTERS * critic.max_tokens)
    statements = [Statement(segments, text) for segments in critic.questions(request)]
    return Critique(request.image_id, "", statements=tuple(statements))
