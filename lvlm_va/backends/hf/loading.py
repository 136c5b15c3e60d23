"""Read a vision-language checkpoint from this machine, and say clearly what is wrong with it."""

from __future__ import annotations

import copy
import importlib.util
import os
from pathlib import Path
from typing import Any

import torch

from lvlm_va.common.device import resolve_device
from lvlm_va.common.errors import unknown_name

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# What transformers says when a processor wants torchvision, in some way or another.
_TORCHVISION_SIGNS = ("torchvision", "video processor", "video_processor")


def load_checkpoint(
    path: str | os.PathLike[str],
    processor: Any = None,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    local_files_only: bool = True,
    revision: str | None = None,
) -> tuple[Any, Any]:
    """Return the model and the processor of a checkpoint.

    Parameters
    ----------
    path : str or path-like
        A folder, or the name of a model in the local cache of the Hugging Face hub.
    processor : transformers.ProcessorMixin or None, default=None
        Taken instead of the checkpoint's own.
    device, dtype, local_files_only, revision
        As for :class:`~lvlm_va.backends.HFBackend`.

    Returns
    -------
    (transformers.PreTrainedModel, transformers.ProcessorMixin)
        The model in evaluation mode on its device.

    Raises
    ------
    FileNotFoundError, ImportError, TypeError, ValueError
        As :class:`~lvlm_va.backends.HFBackend` says.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor

    source = os.fspath(path)
    folder = Path(source).expanduser()
    if folder.is_dir():
        source = str(folder)
    elif local_files_only:
        # By its name some parts of transformers would look the model up, whatever they are told.
        source = _cached_folder(source, revision)
    # Where the checkpoint brings code of its own, nobody is asked whether to run it.
    options = {"local_files_only": local_files_only, "revision": revision, "trust_remote_code": False}
    torch_dtype, torch_device = as_dtype(dtype), resolve_device(device, float64=False)
    if processor is None:
        try:
            processor = AutoProcessor.from_pretrained(source, **options)
        except (OSError, AttributeError, ImportError, ValueError) as error:
            raise _explain(error, source, folder, local_files_only) from error
    check_processor(processor)
    try:
        # Weights in safetensors only: the older format runs code when it is read.
        model: Any = AutoModelForImageTextToText.from_pretrained(
            source, dtype=torch_dtype, use_safetensors=True, **options
        )
    except (OSError, ValueError) as error:
        raise _explain(error, source, folder, local_files_only) from error
    return model.to(torch_device), processor


def _cached_folder(name: str, revision: str | None) -> str:
    """Return where the local cache of the Hugging Face hub holds a model of this name."""
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(name, revision=revision, local_files_only=True, allow_patterns="config.json")
    except (OSError, ValueError) as error:  # a name that is none, too
        raise _explain(OSError(str(error)), name, Path(name), local_files_only=True) from error


def check_model(model: Any) -> Any:
    """Return a model that was handed over ready-made, if it can be used."""
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel) or not model.can_generate():
        raise TypeError(
            "The 'model' argument must be a folder, a name, or a model of transformers that generates text. Got "
            f"{type(model).__name__} instead."
        )
    if model.training:
        raise ValueError(
            "The 'model' argument must be in evaluation mode. Got one in training mode instead. Call model.eval()."
        )
    return model


def check_processor(processor: Any) -> None:
    """Raise unless a processor takes images and holds a chat template."""
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        raise TypeError(
            "The 'processor' argument must be a processor for text and images. Got "
            f"{type(processor).__name__} instead. A checkpoint whose processor_config.json names a class that is "
            "unknown here loads as a bare tokenizer, which would drop the images: update transformers."
        )
    if not getattr(processor, "chat_template", None):
        raise ValueError(
            "The 'processor' argument must have a chat template. Got one without instead. Choose a checkpoint "
            "that was tuned for conversations, or set processor.chat_template."
        )


def own_processor(processor: Any) -> Any:
    """Return a copy of a processor that pads on the left, so that the caller's stays as it is."""
    processor = copy.deepcopy(processor)
    processor.tokenizer.padding_side = "left"
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return processor


def as_dtype(dtype: str | torch.dtype) -> str | torch.dtype:
    """Return the torch dtype of this name; ``"auto"`` stays as it is."""
    if isinstance(dtype, torch.dtype) or dtype == "auto":
        return dtype
    if dtype not in _DTYPES:
        raise unknown_name("dtype", dtype, ("auto", *_DTYPES))
    return _DTYPES[dtype]


def _explain(error: Exception, source: str, folder: Path, local_files_only: bool) -> Exception:
    text = str(error)
    missing = importlib.util.find_spec("torchvision") is None
    if missing and any(sign in text.lower() for sign in _TORCHVISION_SIGNS):
        return ImportError(
            f"The processor of {source!r} needs torchvision. Install the build that matches your torch "
            "(pip install torchvision), or choose a checkpoint such as LLaVA, Idefics3 or Gemma 3, which do "
            "without."
        )
    if isinstance(error, ImportError):
        return ImportError(f"The processor of {source!r} needs a package that is not installed: {text}")
    if not folder.is_dir() and isinstance(error, OSError):
        way = (
            "Nothing is downloaded unless you pass local_files_only=False."
            if local_files_only
            else "Check the name and the connection."
        )
        return FileNotFoundError(
            "The 'model' argument must be a folder with a checkpoint, or a model in the local cache. Got "
            f"{source!r} instead. {way}"
        )
    return ValueError(
        "The 'model' argument must be a checkpoint of a vision-language model, with its processor and its "
        f"weights as safetensors. Got {source!r} instead, which does not load: {text}"
    )
