"""The experiments: the main table, and what each choice in the method does to it."""

from __future__ import annotations

from pathlib import Path

from lvlm_va.alignment import Augmentation
from lvlm_va.comparison import RIVALS
from lvlm_va.experiments.methods import augmented, erm, lvlm_va, rival
from lvlm_va.experiments.table import FIGURES, Comparison, Results
from lvlm_va.report.charts import curves, grouped_bars
from lvlm_va.segmentation import PPEPSWGM

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def draw_worst_groups(results: Results, path: Path) -> None:
    """Draw the worst group's accuracy: a panel per data set, in it a bar per method."""
    measure = "worst_group_accuracy"
    heights = {
        task: {
            name.replace("_", " "): [row[measure] for row in rows if measure in row]
            for name, rows in methods.items()
        }
        for task, methods in results.items()
    }
    grouped_bars(heights, path, label="worst-group accuracy")


def draw_strengths(results: Results, path: Path) -> None:
    """Draw accuracy, worst-group accuracy and alignment against lambda: a panel per data set (the paper's figure).

    Without a fixed lambda there is no axis to draw against, and bars are drawn.
    """
    if all(methods.keys() <= {"erm", "auto"} for methods in results.values()):
        draw_worst_groups(results, path)
        return
    measures = {"accuracy": "accuracy", "worst_group_accuracy": "worst group", "alignment": "alignment μ"}
    panels, levels = {}, {}
    for task, methods in results.items():
        fixed = {float(name): rows for name, rows in methods.items() if name not in ("erm", "auto")}
        panels[task] = {
            title: {strength: [row[name] for row in rows] for strength, rows in fixed.items()}
            for name, title in measures.items()
        }
        levels[task] = {
            title: [row[name] for row in methods.get("auto", ())] for name, title in measures.items()
        }
    curves(panels, path, levels=levels, label="penalty weight λ (dotted: auto)")


_FOUND = ("spurious_images", "spurious_effect", *FIGURES)
_CUT = ("purity", "masked", *FIGURES)

COMPARISONS: dict[str, Comparison] = {
    "main": Comparison(
        {
            "erm": erm,
            "lvlm_va": lvlm_va(),
            "lvlm_va_propagated": lvlm_va(propagate=True),
            "lvlm_va_propagated_70": lvlm_va(propagate=True, verdict_accuracy=0.7),
            **{name: rival(name) for name in RIVALS if name != "erm"},
        },
        draw_worst_groups,
    ),
    "lambda": Comparison(
        {
            "erm": erm,
            **{f"{strength:g}": lvlm_va(propagate=True, rrr_strength=strength) for strength in STRENGTHS},
            "auto": lvlm_va(propagate=True),
        },
        draw_strengths,
    ),
    "sampling": Comparison(
        {
            "erm": erm,
            **{
                name: lvlm_va(sampler=name)
                for name in ("low_entropy", "high_entropy", "random", "class_balanced", "adaptive")
            },
        },
        draw_worst_groups,
        _FOUND,
    ),
    "segmenters": Comparison(
        {
            "erm": erm,
            "ppeps_wgm": lvlm_va(),
            "ppeps_wgm_absolute": lvlm_va(segmenter=PPEPSWGM(effect="absolute")),
            "regions": lvlm_va(segmenter="regions"),
            "grid": lvlm_va(segmenter="grid"),
            "slic": lvlm_va(segmenter="slic"),
        },
        draw_worst_groups,
        _CUT,
    ),
    "verdicts": Comparison(
        {
            "erm": erm,
            **{
                f"{accuracy:.0%}{', propagated' * propagate}": lvlm_va(
                    verdict_accuracy=accuracy, propagate=propagate
                )
                for propagate in (False, True)
                for accuracy in (0.42, 0.7, 0.87, 1.0)
            },
            **{
                f"surroundings masked{', propagated' * propagate}": lvlm_va(
                    critic="confused", propagate=propagate
                )
                for propagate in (False, True)
            },
        },
        draw_worst_groups,
    ),
    "critiques": Comparison(
        {
            "erm": erm,
            **{
                f"{n}{', propagated' * propagate}": lvlm_va(n_align=n, propagate=propagate)
                for propagate in (False, True)
                for n in (30, 100, 300, 1000)
            },
        },
        draw_worst_groups,
    ),
    "components": Comparison(
        {"erm": erm, **{f"J={n}": lvlm_va(segmenter=PPEPSWGM(n_segments=n)) for n in (1, 2, 3, 5, 8, "bic")}},
        draw_worst_groups,
        _CUT,
    ),
    "augmentation": Comparison(
        {"erm": erm, "lvlm_va": lvlm_va(), "lvlm_va_augmented": augmented(Augmentation())},
        draw_worst_groups,
    ),
    "rounds": Comparison(
        {"erm": erm, **{f"n_rounds={n}": lvlm_va(n_rounds=n, n_align=100) for n in (1, 2, 3)}},
        draw_worst_groups,
    ),
}
