"""From a name or an object to a segmenter."""

from __future__ import annotations

from collections.abc import Callable

from lvlm_va.common.errors import unknown_name
from lvlm_va.segmentation.grid import Grid
from lvlm_va.segmentation.ppeps_wgm import PPEPSWGM
from lvlm_va.segmentation.regions import Regions
from lvlm_va.segmentation.sam import SAM
from lvlm_va.segmentation.slic import SLIC
from lvlm_va.segmentation.types import Segmenter

_SEGMENTERS: dict[str, Callable[[], Segmenter]] = {
    kind.name: kind for kind in (PPEPSWGM, Regions, Grid, SLIC)
}


def resolve_segmenter(spec: str | Segmenter) -> Segmenter:
    """Return the segmenter that a name or an object stands for.

    Parameters
    ----------
    spec : {"ppeps_wgm", "regions", "grid", "slic"}, "sam:FOLDER" or Segmenter
        A name (with default parameters), `SAM` with the checkpoint in a folder, or an object with a ``segment``
        method.

    Returns
    -------
    Segmenter
        The segmenter; an object is returned as it is.

    Raises
    ------
    TypeError
        If `spec` is neither a name nor an object with a ``segment`` method.
    ValueError
        If the name is unknown, or the folder holds no SAM checkpoint.
    FileNotFoundError
        If there is no such folder.

    Examples
    --------
    >>> resolve_segmenter("grid")
    Grid(n_rows=4, n_columns=4, min_share=0.02, effect='positive')
    """
    if isinstance(spec, str):
        kind, _, folder = spec.partition(":")
        if kind == SAM.name and folder:
            return SAM(folder)
        if spec not in _SEGMENTERS:
            raise unknown_name("segmenter", spec, [*_SEGMENTERS, f"{SAM.name}:FOLDER"])
        return _SEGMENTERS[spec]()
    if isinstance(spec, type):
        raise TypeError(
            f"The 'segmenter' argument must be an object. Got the class {spec.__name__} instead. "
            f"Use {spec.__name__}()."
        )
    if not callable(getattr(spec, "segment", None)):
        raise TypeError(
            "The 'segmenter' argument must be a name or an object with a 'segment' method. "
            f"Got {type(spec).__name__} instead."
        )
    return spec
