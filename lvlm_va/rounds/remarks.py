"""What a person must be told of a result that mended less than it may seem to."""

from __future__ import annotations

from lvlm_va.alignment import TrainingOptions
from lvlm_va.alignment.strength import TARGET
from lvlm_va.critique.checks import undecided
from lvlm_va.interventions import TransplantTrial
from lvlm_va.metrics import PairedAccuracy, wilson_interval
from lvlm_va.rounds.comparison import Comparison
from lvlm_va.rounds.options import AlignmentOptions
from lvlm_va.rounds.types import Aligned

# Lambda has risen when it is so near its end.
_RISEN = 0.99 * TARGET
# Masks beyond these shares of image and effect leave a classifier little to go by.
_MOST_AREA, _MOST_EFFECT = 0.5, 0.9
# Of the segments of single images so many are judged as their families; of the effect no more is left open.
_AGREEING, _UNDECIDED = 0.8, 0.2


def remarks_on(aligned: Aligned, how: AlignmentOptions) -> tuple[str, ...]:
    """Return what must be told of training, critique and alignment; nothing where all went as it should."""
    return (*aligned.start.remarks, *remarks_on_verdicts(aligned), *remarks_on_alignment(aligned, how))


def remarks_on_alignment(aligned: Aligned, how: AlignmentOptions) -> tuple[str, ...]:
    """Return what must be told after alignment: it did harm, masked too much, was too short, or did not help."""
    if aligned.comparison is None:
        return ()
    return (
        *_on_harm(aligned.comparison, how.if_worse),
        *(_on_masks(aligned.comparison) if aligned.rounds else ()),  # a person who draws knows how much
        *_on_strength(aligned, how.aligning),
        *_on_trial(aligned.comparison.trial),
    )


def remarks_on_verdicts(aligned: Aligned) -> tuple[str, ...]:
    """Return what must be told before alignment: nothing was judged (spurious), or verdicts are in doubt."""
    return (*_on_nothing_spurious(aligned), *_on_families(aligned))


def _on_families(aligned: Aligned) -> tuple[str, ...]:
    families = aligned.rounds[-1].families if aligned.rounds else None
    if families is None:
        return ()
    remarks = []
    n, agreeing = families.n_checked, families.n_agreeing
    if n and agreeing < _AGREEING * n:
        remarks.append(
            f"Families of segments hold more than one thing: of single images, {agreeing} of {n} segments were judged "
            "as their families were. Allow more questions (n_questions), or ask about images (ask='images')."
        )
    if families.undecided_share > _UNDECIDED:
        remarks.append(
            f"No verdict was reached on families with {families.undecided_share:.0%} of what speaks for the classes: "
            "nothing of it is masked. Allow more questions (n_questions)."
        )
    return tuple(remarks)


def _on_nothing_spurious(aligned: Aligned) -> tuple[str, ...]:
    if aligned.drawn is not None:
        if not aligned.rounds or any(bool(part.codes.spurious.any()) for part in aligned.rounds):
            return ()
        counts = aligned.verdicts.counts()
        return (
            f"No segment was judged spurious ({counts['relevant']} relevant, {counts['unsure']} unsure): the "
            f"classifier was aligned with the drawn masks of {len(aligned.drawn.indices)} images alone. See in the "
            "report whether the verdicts are right.",
        )
    n_segments = aligned.segmentation.n_segments
    if not bool(n_segments.any()):
        return (
            f"None of the {len(n_segments)} critiqued images has a segment, so nothing was asked, masked or mended: no "
            "pixel of them speaks for their class. Likely causes: a module whose logits do not depend on the image or "
            "are saturated, images of one colour, references that equal the images.",
        )
    if any(bool(part.codes.spurious.any()) for part in aligned.rounds):
        return ()
    counts = aligned.verdicts.counts()
    return (
        undecided(aligned.verdicts.verdicts)
        or f"No segment was judged spurious ({counts['relevant']} relevant, {counts['unsure']} unsure), so nothing is "
        "masked, and nothing mended: the classifier was only trained further. That does not show that it has no "
        "shortcut: see in the report whether the verdicts are right, and critique other images (sampler, n_align), or "
        "say more of what should not count.",
    )


def _on_harm(comparison: Comparison, if_worse: str) -> tuple[str, ...]:
    if not comparison.is_worse:
        return ()
    trial = comparison.trial
    put = (
        "" if trial is None else f"; with the spurious pixels of other classes put in, {_change(trial.right)}"
    )
    done = (
        "The unaligned classifier was restored."
        if if_worse == "restore"
        else "The unaligned classifier is unaligned_module_, and if_worse='restore' returns it."
    )
    return (
        f"Alignment made the classifier worse: on images as they came it is right on {_change(comparison.accuracy)}"
        f"{put}. {done} Likely causes: verdicts that take what should count for spurious; too long or too strong an "
        "alignment (align_epochs, rrr_strength); a shortcut that has no place, such as brightness, colour or blur: "
        "masks cannot mend it, augmentation can.",
    )


def _change(right: PairedAccuracy) -> str:
    return f"{right.after} of {right.n}, before on {right.before}"


def _on_masks(comparison: Comparison) -> tuple[str, ...]:
    area, effect = comparison.masked_area, comparison.masked_effect
    if area <= _MOST_AREA and effect <= _MOST_EFFECT:
        return ()
    return (
        f"Where something was judged spurious, the masks cover {area:.0%} of the image and {effect:.0%} of what speaks "
        "for the class: little is left to go by. See in the report whether the verdicts are right. If they are, the "
        "shortcut may have no place, such as a background level, which masks cannot mend.",
    )


def _on_strength(aligned: Aligned, aligning: TrainingOptions) -> tuple[str, ...]:
    if aligning.rrr_strength != "auto" or not aligning.epochs:
        return ()
    reached = aligned.latest.histories[-1].rrr_strength[-1]
    if not 0 < reached < _RISEN:
        return ()
    return (
        f"The weight lambda of the penalty rose to {reached:.2g}, not to {TARGET:g}: alignment has too few batches "
        f"(align_epochs={aligning.epochs}, batch_size={aligning.batch_size}), and the classifier may still rely on "
        "what was judged spurious. Raise align_epochs, lower batch_size, or set rrr_strength.",
    )


def _on_trial(trial: TransplantTrial | None) -> tuple[str, ...]:
    if trial is None:
        return ()
    followed, by_itself = (
        wilson_interval(count, trial.n_pairs) for count in (trial.after.spurious, trial.after.elsewhere)
    )
    if followed[0] <= by_itself[1]:
        return ()
    return (
        f"{trial} The classifier still follows it: critique more images (n_align), extend the verdicts "
        "(propagate=True), or raise align_epochs or rrr_strength.",
    )
