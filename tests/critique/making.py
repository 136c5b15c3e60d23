"""Requests for the tests of this folder."""

import numpy as np

from lvlm_va.critique import CritiqueRequest


def make_request(segments, effect=None, index=0, image_id=None, label="3", description="") -> CritiqueRequest:
    segments = np.asarray(segments, np.int64)
    effect = (segments > 0).astype(float) if effect is None else np.asarray(effect, float)
    return CritiqueRequest(
        index=index,
        image_id=str(index) if image_id is None else image_id,
        image=np.zeros((*segments.shape, 3), np.uint8),
        segments=segments,
        effect=effect / max(effect.sum(), 1e-300),
        label=label,
        description=description,
    )


def corner_and_centre(**more) -> CritiqueRequest:
    """Segment 1 fills the top left corner of 28x28 pixels, segment 2 the centre."""
    segments = np.zeros((28, 28), int)
    segments[:4, :4] = 1
    segments[10:18, 10:18] = 2
    return make_request(segments, **more)


def verdicts_of(critiques) -> list[list[str]]:
    return [[verdict.verdict for verdict in critique.verdicts] for critique in critiques]
