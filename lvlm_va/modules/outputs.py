"""A net whose logits are a part of what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class OutputPart(nn.Module):
    """A module that returns one part of what another one does.

    Parameters
    ----------
    module : torch.nn.Module
        The classifier.
    part : str or int
        Key of a dict or attribute of an object, or place in a tuple or list.
    """

    def __init__(self, module: nn.Module, part: str | int) -> None:
        super().__init__()
        self.module, self.part = module, part

    def forward(self, images: Tensor) -> Any:
        """Return that part; ValueError where there is none of the name."""
        output = self.module(images)
        if isinstance(self.part, str) and not isinstance(output, Mapping):
            if hasattr(output, self.part):
                return getattr(output, self.part)
        else:
            try:
                return output[self.part]
            except (KeyError, IndexError, TypeError):
                pass
        has = f", which has {list(output)}" if isinstance(output, Mapping) else ""
        if isinstance(output, tuple | list):
            has = f", which has {len(output)} parts"
        raise ValueError(
            "The 'output' argument must name a part of what the module returns. "
            f"Got {self.part!r} for a {type(output).__name__}{has}."
        )


def with_output(module: nn.Module, part: str | int | None) -> nn.Module:
    """Return a module that returns this part of its output; the module itself for None."""
    return module if part is None else OutputPart(module, part)
