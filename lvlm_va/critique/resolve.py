"""From what a user writes to a critic."""

from __future__ import annotations

from lvlm_va._errors import unknown_name
from lvlm_va.critique.table_critic import TableCritic
from lvlm_va.critique.types import Critic

# Critics that no string can describe, and how to make one.
_NEEDS_ARGUMENTS = {
    "oracle": "OracleCritic(masks), with ground-truth masks of shape (n, H, W)",
    "region": "RegionCritic({'irrelevant': ['corners']})",
}


def resolve_critic(spec: Critic | str | None) -> Critic | None:
    """Return the critic that `spec` describes.

    Parameters
    ----------
    spec : None, str or critic
        None for no critic; ``"table:PATH"`` for the verdicts in a JSON file; or an object with a ``name`` and
        a ``critique`` method, returned as it is.

    Returns
    -------
    Critic or None
        The critic.

    Raises
    ------
    TypeError
        If `spec` is none of these.
    ValueError
        If the name is unknown, or names a critic that needs arguments.
    """
    if spec is None:
        return None
    if isinstance(spec, str):
        return _from_string(spec)
    if isinstance(spec, type):
        raise TypeError(
            f"The 'critic' argument must be an object. Got the class {spec.__name__}; call it to make one."
        )
    if not callable(getattr(spec, "critique", None)) or not isinstance(getattr(spec, "name", None), str):
        raise TypeError(
            "The 'critic' argument must be None, 'table:PATH' or an object with a 'name' and a "
            f"'critique(requests)' method. Got {type(spec).__name__} instead."
        )
    return spec


def _from_string(spec: str) -> Critic:
    kind, _, argument = spec.partition(":")
    if kind in _NEEDS_ARGUMENTS:
        raise ValueError(
            f"The 'critic' argument must be an object where the critic needs arguments. Got {spec!r} "
            f"instead. Pass lvlm_va.critique.{_NEEDS_ARGUMENTS[kind]}."
        )
    if kind != "table":
        raise unknown_name("critic", kind, ["table", *_NEEDS_ARGUMENTS])
    if not argument:
        raise ValueError(
            f"The 'critic' argument must name the table's file: 'table:PATH'. Got {spec!r} instead."
        )
    return TableCritic(argument)
