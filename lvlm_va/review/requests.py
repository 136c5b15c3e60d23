"""What a critic is shown of a run's image."""

from __future__ import annotations

from lvlm_va.critique import CritiqueRequest, build_requests
from lvlm_va.report.run_record import RunRecord
from lvlm_va.segmentation import positive_effect


def request_of(record: RunRecord, row: int, description: str = "") -> CritiqueRequest:
    """Return what a critic is shown of the row-th critiqued image, with these words on its class."""
    part = slice(row, row + 1)
    (request,) = build_requests(
        record.images[part],
        record.segmentation.labels[part].numpy(),
        positive_effect(record.explanation.attributions[part]).numpy(),
        indices=[row],
        image_ids=[record.image_ids[row]],
        labels=[record.label(row)],
        descriptions=[description],
    )
    return request
