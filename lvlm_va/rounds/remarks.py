"""What a person must be told of a result that mended less than it may seem to."""

from __future__ import annotations

from lvlm_va.alignment import TrainingOptions
from lvlm_va.alignment.strength import TARGET
from lvlm_va.critique.checks import undecided
from lvlm_va.rounds.types import Aligned

# Lambda has risen when it is so near its end.
_RISEN = 0.99 * TARGET


def remarks_on(aligned: Aligned, aligning: TrainingOptions) -> tuple[str, ...]:
    """Return what must be told of critique and alignment, in sentences; nothing where all went as it should."""
    return (*remarks_on_verdicts(aligned), *remarks_on_strength(aligned, aligning))


def remarks_on_verdicts(aligned: Aligned) -> tuple[str, ...]:
    """Return what must be told before alignment: there is nothing to judge, or nothing was judged spurious."""
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


def remarks_on_strength(aligned: Aligned, aligning: TrainingOptions) -> tuple[str, ...]:
    """Return what must be told after alignment: it was too short for the penalty's weight to rise."""
    if aligned.latest is aligned.start or aligning.rrr_strength != "auto" or not aligning.epochs:
        return ()
    reached = aligned.latest.histories[-1].rrr_strength[-1]
    if not 0 < reached < _RISEN:
        return ()
    return (
        f"The weight lambda of the penalty rose to {reached:.2g}, not to {TARGET:g}: alignment has too few batches "
        f"(align_epochs={aligning.epochs}, batch_size={aligning.batch_size}), and the classifier may still rely on "
        "what was judged spurious. Raise align_epochs, lower batch_size, or set rrr_strength.",
    )
