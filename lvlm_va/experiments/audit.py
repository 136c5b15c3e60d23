"""Audits of nets with and without a shortcut: is it found, is it gone after alignment, and what do questions cost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray

from lvlm_va.auditing import Audit, Count, Family
from lvlm_va.common.files import write_json
from lvlm_va.common.fingerprint import fingerprint
from lvlm_va.common.threads import one_thread
from lvlm_va.critic_exam.sets import SETS
from lvlm_va.critique import OracleCritic, resolve_critic
from lvlm_va.datasets import DecoyData
from lvlm_va.estimator import LVLMVAClassifier
from lvlm_va.experiments.audit_sets import AuditSet, make_audit_sets
from lvlm_va.experiments.methods import estimator_parameters, plain_training
from lvlm_va.metrics import group_accuracies
from lvlm_va.model_audit import audit

Row = dict[str, Any]

# Evaluation seeds: the score and its threshold were chosen on seeds 10 to 12.
FIRST_SEED = 20
# Audited images are others than those trained on.
_OTHER_IMAGES = 500
_N_QUESTIONS, _N_CRITIQUED, _N_AUDITED = 20, 300, 600


def run_audits(
    *,
    quick: bool,
    seeds: int,
    out: Path,
    echo: Callable[[str], Any],
    mnist: Path | None = None,
    jobs: int = -1,
    critic: str | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Audit nets of every set with its shortcut, before and after alignment, and nets without it.

    What is done is kept in `out`, and not done again.

    Parameters
    ----------
    quick : bool
        One net without a shortcut for each set, rather than 20 nets over all sets.
    seeds : int
        Nets with the shortcut for each set.
    out : Path
        Folder for ``metrics.json`` and a file for each net.
    echo : callable
        Gets each line of text.
    mnist : Path or None, default=None
        Folder with MNIST's files, for Decoy-MNIST.
    jobs : int, default=-1
        Nets at once, each on one core; -1: as many as cores.
    critic : str or None, default=None
        Who is asked the questions besides the true masks, as the estimator takes it. What it answers is kept in `out`.
    command : str, default=""
        What made the figures, for the file.

    Returns
    -------
    dict
        What ``metrics.json`` holds: for each set the median ``rank`` of the first family that is spurious,
        ``transplant_ratio`` of its turned predictions over its control's, ``questions`` asked, and ``share_of_gain``
        of worst-group accuracy that these gave of what 300 critiques give, ``share_of_gain_critic`` if there is a
        `critic`; ``false_alarm_rate`` of nets without a shortcut, and all rows.

    Raises
    ------
    ValueError
        If `critic` is no name of a critic, or of one that needs arguments.
    """
    resolve_critic(critic)  # before nets are trained
    sets = make_audit_sets(mnist)
    work = [(name, FIRST_SEED + k, True) for k in range(seeds) for name in sets]
    names = list(sets)
    n_clean = len(names) if quick else 20
    work += [(names[k % len(names)], FIRST_SEED + k, False) for k in range(n_clean)]
    folder = out / "nets"
    folder.mkdir(parents=True, exist_ok=True)
    asked = "" if critic is None else f"-{fingerprint(critic)[:8]}"
    rows = Parallel(n_jobs=jobs)(
        delayed(_kept)(
            folder / f"{name}-{seed}-{'with' if shortcut else 'without'}{asked if shortcut else ''}.json",
            mnist,
            name,
            seed,
            shortcut,
            critic,
        )
        for name, seed, shortcut in work
    )
    with_shortcut = [row for row in rows if row["shortcut"]]
    without = [row for row in rows if not row["shortcut"]]
    found: dict[str, Any] = {
        "command": command,
        "sets": {name: _summary([row for row in with_shortcut if row["set"] == name]) for name in names},
        "false_alarm_rate": float(np.mean([row["n_alarms"] > 0 for row in without])),
        "rows": rows,
    }
    write_json(out / "metrics.json", found)
    for name, summary in found["sets"].items():
        echo(
            f"{name}: rank {summary['rank']:g}, turned {summary['transplant_ratio']:.1f} times as many predictions as "
            f"the control, after alignment {summary['turned_after']:.2f} (control {summary['control_after']:.2f}); "
            f"{summary['questions']:g} questions gave {summary['share_of_gain']:.0%} of the gain of "
            f"{_N_CRITIQUED} critiques"
            + (f", {summary['share_of_gain_critic']:.0%} where {critic} judged" if critic else "")
        )
    echo(
        f"False alarms: {sum(row['n_alarms'] > 0 for row in without)} of {len(without)} nets without a shortcut."
    )
    return found


def _summary(rows: list[Row]) -> dict[str, float]:
    """Return medians over nets; of the gain the share of means, 0 where none was to be had."""
    names = [name for name, value in rows[0].items() if isinstance(value, int | float)]
    medians = {
        name: float(np.median([row[name] for row in rows]))
        for name in names
        if name not in ("seed", "shortcut")
    }

    def gain(of: str) -> float:
        return float(np.mean([row[f"worst_group_{of}"] - row["worst_group_before"] for row in rows]))

    shares = {"share_of_gain": "families", "share_of_gain_critic": "critic"}
    return medians | {
        name: gain(of) / gain("300") if gain("300") > 0 else 0.0
        for name, of in shares.items()
        if f"worst_group_{of}" in rows[0]
    }


def _kept(path: Path, mnist: Path | None, name: str, seed: int, shortcut: bool, critic: str | None) -> Row:
    """Return the row of one net: as the file has it, or made now."""
    if path.exists():
        row: Row = json.loads(path.read_text(encoding="utf-8"))
        return row
    start, chosen = time.perf_counter(), make_audit_sets(mnist)[name]
    with one_thread():
        row = (
            _with_shortcut(chosen, seed, critic, path.with_suffix("")) if shortcut else _without(chosen, seed)
        )
    row = {"set": name, "seed": seed, "shortcut": shortcut, **row, "seconds": time.perf_counter() - start}
    write_json(path, row)
    return row


def _without(chosen: AuditSet, seed: int) -> Row:
    data = chosen.load("train", seed, False)
    net = plain_training(chosen.task, data, seed).module
    other = chosen.load("train", seed + _OTHER_IMAGES, False)
    found = audit(net, other.images, other.labels, n_images=_N_AUDITED, random_state=seed)
    return {"n_alarms": len(found.alarms), "suspicion": found.families[0].suspicion}


def _with_shortcut(chosen: AuditSet, seed: int, model: str | None, run_dir: Path) -> Row:
    data, test = chosen.load("train", seed, True), chosen.load("test", seed, True)
    plain = plain_training(chosen.task, data, seed)
    parameters = estimator_parameters(chosen.task) | {
        "module": plain.module,
        "epochs": 0,
        "segmenter": "regions",
    }
    truth = OracleCritic(data.masks)

    def aligned(labels: NDArray[Any] = data.labels, critic: Any = truth, **how: Any) -> LVLMVAClassifier:
        return LVLMVAClassifier(**parameters | how, critic=critic, random_state=seed).fit(data.images, labels)

    n_align = min(_N_CRITIQUED, len(data.labels) // 2)
    many = aligned(n_align=n_align, propagate=chosen.task.propagate)
    by_families: dict[str, Any] = {
        "ask": "families",
        "n_questions": _N_QUESTIONS,
        "propagate": chosen.task.propagate,
    }
    few = aligned(**by_families)
    worst = [_worst_group(clf, test) for clf in (many, few)]
    many.module_ = many.unaligned_module_
    start = _worst_group(many, test)
    other = chosen.load("train", seed + _OTHER_IMAGES, True)
    found = audit(few, other.images, other.labels, n_images=_N_AUDITED, random_state=seed)
    rows = np.random.default_rng(seed).permutation(len(other.images))[:_N_AUDITED]
    family = _first_spurious(found, other.masks[np.sort(rows)])
    row = {
        "n_alarms": len(found.alarms),
        "worst_group_before": start,
        "worst_group_300": worst[0],
        "worst_group_families": worst[1],
        "questions": few.families_.n_questions,
    }
    if model is not None:
        words = SETS[chosen.words]
        names = np.array(words.classes)
        told = {words.classes[label]: text for label, text in words.specifications.items()}
        described = {"classes": names, "specifications": told}
        clf = aligned(names[data.labels], model, run_dir=run_dir, **described, **by_families)
        accuracies = group_accuracies(names[test.labels], clf.predict(test.images), groups=test.groups)
        row |= {"worst_group_critic": accuracies.worst, "requests": clf.families_.n_requests}
    return row | _of_family(family, len(found.families))


def _of_family(family: Family | None, n_families: int) -> Row:
    if family is None:
        nothing = Count(0, 0)
        turned = control = after = after_control = nothing
        rank = n_families + 1
    else:
        assert family.after is not None
        turned, control = family.swaps.transplants, family.swaps.controls
        after, after_control, rank = family.after.transplants, family.after.controls, family.number
    return {
        "rank": rank,
        "suspicion": 0.0 if family is None else family.suspicion,
        "transplant_ratio": turned.changed / max(control.changed, 1),
        "turned": turned.rate,
        "control": control.rate,
        "turned_after": after.rate,
        "control_after": after_control.rate,
        "gone": family is None or family.after is None or family.after.p_value >= 0.05,
    }


def _first_spurious(found: Audit, masks: Any) -> Family | None:
    """Return the most suspicious family of which more than half of the effect lies in true masks (n, H, W)."""
    true = torch.from_numpy(masks)
    for family in found.families:
        inside = found.table.masks(family.members)
        rows = torch.from_numpy(found.table.rows[family.members])
        effect = found.table.effect[rows].double() * inside
        if float((effect * true[rows]).sum() / effect.sum()) > 0.5:
            return family
    return None


def _worst_group(clf: LVLMVAClassifier, test: DecoyData) -> float:
    return group_accuracies(test.labels, clf.predict(test.images), groups=test.groups).worst
