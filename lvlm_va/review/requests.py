"""What a critic is shown of a run's image."""

from __future__ import annotations

from collections.abc import Mapping

from lvlm_va.critique import CritiqueRequest
from lvlm_va.report.run_record import RunRecord
from lvlm_va.rounds.shown import requests_about


def request_of(record: RunRecord, row: int, specifications: Mapping[str, str]) -> CritiqueRequest:
    """Return what a critic is shown of the row-th critiqued image, with these words on the classes."""
    (request,) = requests_about(
        record.images[[row]],
        record.explanation,
        record.segmentation,
        [row],
        indices=[int(record.indices[row])],
        image_ids=[record.image_ids[row]],
        labels=[record.label(row)],
        specifications=specifications,
    )
    return request
