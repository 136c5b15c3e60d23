"""Trained weights from a file or folder into a module, whatever they were saved by, and nothing unpickled."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

# Where trainers put the state_dict in what they save.
_KEYS = ("state_dict", "model_state_dict", "model")
# What wraps a module when it is saved: for several GPUs, by torch.compile, in a Lightning module.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")
_POINTER = b"version https://git-lfs"
_MOST_NAMES = 3


def load_weights(module: nn.Module, path: Path) -> None:
    """Give a module the weights in a file, or in the folder of a transformers model.

    Parameters
    ----------
    module : torch.nn.Module
        Gets them.
    path : Path
        A ``.safetensors`` file, a state_dict that torch saved, a checkpoint that holds one under ``"state_dict"``
        (PyTorch Lightning), ``"model_state_dict"`` or ``"model"``, or a folder with a ``model.safetensors``. Prefixes
        of names, such as ``module.``, are taken off where the rest then fits.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it holds no weights that fit the module.
    """
    path = path.expanduser()
    if path.is_dir():
        path = _file_in(path)
    state = _state_in(path)
    own = module.state_dict()
    for prefix in ("", *_PREFIXES, *_common_prefix(state)):
        bare = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        if bare.keys() == own.keys() and len(bare) == len(state):
            state = bare
            break
    missing, unknown = ([n for n in one if n not in other] for one, other in ((own, state), (state, own)))
    if missing or unknown:
        raise ValueError(
            f"{path} holds other weights than the module's. Got {len(state)} for its {len(own)}: "
            f"{_some('missing', missing)}{' and ' * bool(missing and unknown)}{_some('unknown', unknown)}."
        )
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise ValueError(
                f"{path} holds {name!r} of shape {tuple(value.shape)}. The module has {tuple(own[name].shape)}: is it "
                "one of as many classes, and of images of that size?"
            )
    module.load_state_dict(state)


def _file_in(folder: Path) -> Path:
    file = folder / "model.safetensors"
    if not file.is_file():
        raise ValueError(
            f"{folder} is a folder without a model.safetensors. Name the file of the weights in it; a transformers "
            "model is saved as one file by save_pretrained(folder, max_shard_size='100GB')."
        )
    return file


def _state_in(path: Path) -> dict[str, Tensor]:
    import torch
    from safetensors.torch import load_file

    with path.open("rb") as file:  # says why, where it cannot be read
        head = file.read(len(_POINTER))
    if head == _POINTER:
        raise ValueError(f"{path} is a Git LFS pointer, not the weights. Fetch them with: git lfs pull")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is damaged, or holds Python objects, such as a whole module or a trainer's settings, which could "
            "run anything when they are read. Save the state_dict alone, where it was made: "
            "torch.save(module.state_dict(), ...)."
        ) from error
    except OSError:
        raise
    except Exception as error:  # damaged bytes raise whatever they happen to mean
        raise ValueError(f"{path} is damaged, or no state_dict: {error}") from error
    for key in _KEYS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"{path} must hold the module's state_dict: names and tensors. Got another object.")
    return dict(found)


def _common_prefix(state: Mapping[str, Tensor]) -> list[str]:
    firsts = {name.partition(".")[0] for name in state}
    return [f"{firsts.pop()}."] if len(firsts) == 1 else []


def _some(kind: str, names: list[str]) -> str:
    if not names:
        return ""
    more = ", ..." if len(names) > _MOST_NAMES else ""
    return f"{len(names)} {kind} ({', '.join(names[:_MOST_NAMES])}{more})"
