"""Keep the state of a run in one safetensors file: tensors as tensors, all else as JSON, nothing pickled."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lvlm_va.common.files import atomic_path, reading
from lvlm_va.common.fingerprint import fingerprint

FORMAT = "lvlm_va training 3"
_EXPECTED = "The 'checkpoint_path' argument must name a checkpoint or a new file."
_MEND = "Remove it or name another."


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write nested mappings, lists and tuples of tensors and JSON scalars, whole or not at all.

    Raises
    ------
    TypeError
        If the state holds anything else.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_encode(state, "state", tensors))
    with atomic_path(path) as temporary:
        # The file's format has no checksum of its own.
        checksum = fingerprint(text, tensors)
        save_file(tensors, temporary, metadata={"format": FORMAT, "checksum": checksum, "state": text})


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return what `write_checkpoint` was given, tensors on the CPU.

    Raises
    ------
    DamagedFileError
        If the file is damaged, or no checkpoint of this format.
    UnreadableFileError
        If it cannot be opened.
    """
    with reading(path, _MEND, _EXPECTED):
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        if metadata.get("format") != FORMAT:
            raise ValueError(f"of format {metadata.get('format')!r}, not {FORMAT!r}")
        if metadata["checksum"] != fingerprint(metadata["state"], tensors):
            raise ValueError("its values do not have its checksum")
        state: dict[str, Any] = _decode(json.loads(metadata["state"]), tensors)
    return state


def read_progress(path: Path) -> tuple[int, int]:
    """Return how many epochs are done, and of how many, by the checkpoint of a run of training.

    Raises
    ------
    UnreadableFileError
        If the file is no checkpoint of this format.
    """
    with reading(path, _MEND, _EXPECTED):
        with safe_open(path, framework="numpy") as file:
            state = _decode(json.loads(file.metadata()["state"]), defaultdict(lambda: None))
        return len(state["history"]["loss"]), state["epochs"]


def _encode(value: object, name: str, tensors: dict[str, Tensor]) -> Any:
    # Containers become one-entry objects that say what they were; pairs keep keys that are numbers.
    if isinstance(value, Tensor):
        # A copy each: safetensors refuses tensors that share memory, as tied weights do.
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"dict": [[key, _encode(item, f"{name}.{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        items = [_encode(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"The 'checkpoint_path' argument needs a state of tensors and plain numbers. Got {type(value).__name__} in "
        f"{name!r} instead, from the module, optimizer or schedule. Train without checkpoint_path."
    )


def _decode(value: Any, tensors: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "tuple":
        return tuple(_decode(item, tensors) for item in content)
    return {key: _decode(item, tensors) for key, item in content}
