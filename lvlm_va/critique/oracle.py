"""The critic that knows the ground truth, for experiments."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lvlm_va.common.errors import unknown_name
from lvlm_va.common.validation import check_integer, check_real
from lvlm_va.critique.effect import effect_shares_inside
from lvlm_va.critique.types import Content, Critique, CritiqueRequest, SegmentVerdict, Verdict

# A segment is about the object when as much of its effect lies there, as in what a model is asked.
_OBJECT_SHARE = 0.25
_CONFUSED = ("surroundings",)


@dataclass(frozen=True, eq=False)
class OracleCritic:
    """Judge segments by ground-truth masks, with as many wrong verdicts as an experiment asks for.

    A segment is spurious when at least `threshold` of its effect lies inside the mask of its image, else
    relevant. Each verdict is then turned into its opposite with probability ``1 - verdict_accuracy``. With masks of the
    object, too, a relevant segment is about the object when at least a quarter of its effect lies there, else
    about plain surroundings; its ``content`` says so.

    Parameters
    ----------
    masks : array-like of shape (n, H, W), or (n, K, H, W) for K findings
        Ground-truth masks, true (or not 0) where a pixel is spurious; row i belongs to row i of the data
        given to ``fit``. A torch tensor on the CPU will do. Of several findings per image, a mask for each finding, or
        one that holds for all.
    verdict_accuracy : float, default=1.0
        Share of right verdicts to expect, in [0, 1].
    random_state : int or None, default=None
        Seed of the wrong verdicts. Whether a verdict is wrong depends on it, on the image id and on the
        segment alone, never on the order or the batches in which images are judged. None draws anew on each
        call.
    threshold : float, default=0.5
        Share of a segment's effect, in (0, 1].
    object_masks : array-like of the shape of `masks`, default=None
        True where a pixel belongs to what should count; `lvlm_va.datasets.DecoyData` has them as ``objects``. Masks of
        the shortcut alone do not tell the object from plain surroundings: without these a relevant segment has no
        ``content``.
    confuses : {"surroundings"} or None, default=None
        Err as models do: take plain surroundings for an artefact, hence for spurious, wherever they come. Such errors
        do not average out as those of `verdict_accuracy` do, which come on top. Needs `object_masks`.

    Raises
    ------
    TypeError, ValueError
        If a parameter has the wrong type, shape or range.

    Notes
    -----
    The masks belong to rows, so the estimator must be fitted on the very images that they were made for.
    Cross-validation hands it parts of the data: there, each part needs an oracle with its own masks.

    Examples
    --------
    >>> import numpy as np
    >>> masks = np.zeros((100, 28, 28), bool)
    >>> masks[:, :4, :4] = True
    >>> OracleCritic(masks, verdict_accuracy=0.8, random_state=0).name
    'oracle'
    """

    masks: ArrayLike = field(repr=False)
    verdict_accuracy: float = 1.0
    random_state: int | None = None
    threshold: float = 0.5
    object_masks: ArrayLike | None = field(default=None, repr=False)
    confuses: Literal["surroundings"] | None = None

    name = "oracle"

    def __post_init__(self) -> None:
        masks = _as_masks("masks", self.masks)
        object.__setattr__(self, "masks", masks)
        if self.object_masks is not None:
            objects = _as_masks("object_masks", self.object_masks)
            if objects.shape != masks.shape:
                raise ValueError(
                    f"The 'object_masks' argument must be of the shape of 'masks', {masks.shape}. Got {objects.shape} "
                    "instead."
                )
            object.__setattr__(self, "object_masks", objects)
        if self.confuses is not None and self.confuses not in _CONFUSED:
            raise unknown_name("confuses", self.confuses, _CONFUSED)
        if self.confuses is not None and self.object_masks is None:
            raise ValueError(
                "The 'object_masks' argument must be given with confuses='surroundings': masks of the shortcut alone "
                "do not tell the object from plain surroundings. Got None instead."
            )
        check_real("verdict_accuracy", self.verdict_accuracy, "[0, 1]", expected="a number in [0, 1]")
        check_real("threshold", self.threshold, "(0, 1]", expected="a number in (0, 1]")
        if self.random_state is not None:
            check_integer("random_state", self.random_state, expected="an integer or None")

    def check_data(self, n_images: int, image_size: tuple[int, int], classes: Sequence[str]) -> None:
        """Raise ValueError unless there is a mask of the images' size for each image given to ``fit``."""
        expected, shape = (n_images, *image_size), np.asarray(self.masks).shape
        told = classes[1::2]  # of findings; see `lvlm_va.data.findings.outcome_names`
        several = list(classes[::2]) == [f"no {finding}" for finding in told]
        if shape != expected and not (several and shape == (n_images, len(told), *image_size)):
            raise ValueError(
                f"The 'masks' argument must be of shape {expected}, one mask per image given to fit, or, of several "
                f"findings, with one for each of them after the images. Got {shape} instead."
            )

    def critique(self, requests: Sequence[CritiqueRequest]) -> list[Critique]:
        """Judge each segment of each request.

        Parameters
        ----------
        requests : sequence of CritiqueRequest
            Images and their segments.

        Returns
        -------
        list of Critique
            One per request, with a verdict on each segment.

        Raises
        ------
        ValueError
            If a request has no mask, or one of another size than its image.
        """
        seed = secrets.randbits(64) if self.random_state is None else int(self.random_state)
        return [self._judge(request, seed) for request in requests]

    def _judge(self, request: CritiqueRequest, seed: int) -> Critique:
        masks = np.asarray(self.masks)
        place: tuple[int, ...] = (request.index,)
        if masks.ndim == 4:
            if request.target is None or not 0 <= request.target // 2 < masks.shape[1]:
                raise ValueError(
                    f"The 'masks' argument must hold one mask per image, or be asked about one of {masks.shape[1]} "
                    f"findings. Got {request.image_id!r}, whose target is {request.target!r}, instead."
                )
            place = (request.index, request.target // 2)
        if not 0 <= request.index < len(masks):
            raise ValueError(
                f"The 'masks' argument must hold a mask for each image given to fit. Got {len(masks)} masks, "
                f"but image {request.image_id!r} is row {request.index}, instead."
            )
        mask = masks[place]
        if mask.shape != request.image.shape[:2]:
            raise ValueError(
                f"The 'masks' argument must have the images' height and width {request.image.shape[:2]}. Got "
                f"masks of {mask.shape} instead."
            )
        in_object: Any = repeat(None)
        if self.object_masks is not None:
            in_object = effect_shares_inside(request, np.asarray(self.object_masks)[place])
        verdicts = []
        for segment, (share, object_share) in enumerate(
            zip(effect_shares_inside(request, mask), in_object, strict=False), start=1
        ):
            content = self._content(share, object_share)
            reason = f"{100 * share:.0f} % of its effect lies in the ground-truth mask"
            if content == self.confuses:
                content, reason = "artefact", f"{reason} (surroundings, taken for an artefact on purpose)"
            if _uniform(seed, request.image_id, segment) >= self.verdict_accuracy:
                content = "object" if content == "artefact" else "artefact"
                reason = f"{reason} (this verdict was made wrong on purpose)"
            verdict: Verdict = "spurious" if content == "artefact" else "relevant"
            verdicts.append(
                SegmentVerdict(
                    request.image_id, segment, verdict, reason=reason, source=self.name, content=content
                )
            )
        return Critique.from_verdicts(request.image_id, verdicts)

    def _content(self, share: float, object_share: float | None) -> Content | Literal[""]:
        """Return what a segment is about, by the shares of its effect in both masks; empty where that is not known."""
        if share >= self.threshold:
            return "artefact"
        if object_share is None:
            return ""
        return "object" if object_share >= _OBJECT_SHARE else "surroundings"


def _as_masks(argument: str, given: ArrayLike) -> NDArray[np.bool_]:
    masks: NDArray[Any] = np.asarray(given)
    if masks.dtype.kind not in "buif":
        raise TypeError(f"The {argument!r} argument must be boolean. Got an array of {masks.dtype} instead.")
    if masks.ndim not in (3, 4):
        raise ValueError(
            f"The {argument!r} argument must be of shape (n, H, W), one mask per image, or (n, n_findings, H, W). Got "
            f"{masks.shape} instead."
        )
    return masks.astype(bool, copy=False)


def _uniform(seed: int, image_id: str, segment: int) -> float:
    """Return a number in [0, 1) that is fixed by its arguments, on every machine."""
    key = f"{seed}|{segment}|{image_id}".encode("utf-8", "surrogatepass")
    return (int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()) >> 11) * 2.0**-53
