"""What the texts of options stand for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvlm_va.critique import Critic


def region_critic(irrelevant: list[str] | None, relevant: list[str] | None) -> Critic:
    """Return the critic that judges by what --irrelevant and --relevant declare."""
    from lvlm_va.critique import RegionCritic

    declared = {"irrelevant": irrelevant, "relevant": relevant}
    return RegionCritic({kind: regions for kind, regions in declared.items() if regions})


def normalisation(
    mean: str | None, std: str | None, saved: Path | None, echo: Callable[[str], Any]
) -> dict[str, list[float]] | None:
    """Return what --mean and --std say, or else the folder of a saved model that the net or its weights come from."""
    if mean is None and std is None:
        if saved is None or not saved.expanduser().is_dir():
            return None
        from lvlm_va.modules.preprocessing import preprocessing_from

        try:
            found = preprocessing_from(saved)
        except FileNotFoundError:  # weights alone
            return None
        echo(
            f"Images are normalised as {saved} says: mean {found['mean']}, std {found['std']} (--mean, --std)."
        )
        return found
    if mean is None or std is None:
        raise typer.BadParameter("give both, or neither.", param_hint="--mean / --std")
    try:
        return {
            "mean": [float(number) for number in mean.split(",")],
            "std": [float(number) for number in std.split(",")],
        }
    except ValueError as error:
        raise typer.BadParameter(
            f"expected numbers such as 0.485,0.456,0.406: {error}", param_hint="--mean / --std"
        ) from error


def pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """Return what stands before and after the first '=' of each text."""
    pairs = {}
    for text in texts or []:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise typer.BadParameter(f"expected NAME=TEXT, got {text!r}.", param_hint=option)
        pairs[name] = value
    return pairs


def finding_values(texts: list[str] | None) -> dict[str, int] | None:
    """Return what --finding-value says; 'blank' is an empty cell."""
    found = {}
    for cell, value in pairs(texts, "--finding-value").items():
        if value not in ("0", "1"):
            raise typer.BadParameter(
                f"expected CELL=0 or CELL=1, got {value!r}.", param_hint="--finding-value"
            )
        found["" if cell == "blank" else cell] = int(value)
    return found or None


def output_part(output: str | None) -> str | int | None:
    """Return what --output names: a key or attribute, or a number."""
    return int(output) if output is not None and output.isdecimal() else output
