"""The types and ranges of the estimator's parameters, as scikit-learn checks them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from lvlm_va.alignment.options import PRECISIONS
from lvlm_va.propagation import Propagation

_COUNT = Interval(Integral, 1, None, closed="left")
_EPOCHS = Interval(Integral, 0, None, closed="left")

CONSTRAINTS: dict[str, list[Any]] = {
    "module": [HasMethods("forward"), callable, str, None],
    "critic": [HasMethods("critique"), str, None],
    "judge": [HasMethods("judge"), str, None],
    "specifications": [Mapping, None],
    "image_shape": [tuple, list, None],
    "sampler": [str, callable],
    "n_align": [_COUNT],
    "attribution": [str, HasMethods("attribute")],
    "references": ["array-like", str, HasMethods("detach")],
    "n_references": [_COUNT],
    "segmenter": [str, HasMethods("segment")],
    "propagate": ["boolean", _COUNT, Propagation],
    "rrr_strength": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
    "l2": [Interval(Real, 0, None, closed="left")],
    "align_fraction": [Interval(Real, 0, 1, closed="right")],
    "epochs": [_EPOCHS],
    "align_epochs": [_EPOCHS],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "n_rounds": [_COUNT],
    "round_tolerance": [Interval(Real, 0, 1, closed="both")],
    "batch_size": [_COUNT],
    "lr": [Interval(Real, 0, None, closed="neither")],
    "optimizer": [str, callable],
    "schedule": [str, callable, None],
    "align_schedule": [str, callable, None],
    "precision": [StrOptions(set(PRECISIONS))],
    "accumulation_steps": [_COUNT],
    "num_workers": [Interval(Integral, 0, None, closed="left")],
    "device": [str],
    "run_dir": [str, os.PathLike, None],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}
