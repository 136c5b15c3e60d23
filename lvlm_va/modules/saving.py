"""A net into files: weights, a transformers folder, or a graph that needs no Python class."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lvlm_va.common.errors import unknown_name
from lvlm_va.common.files import atomic_path, write_json
from lvlm_va.modules.logits import copy_module, module_device_and_dtype
from lvlm_va.modules.preprocessed import Normalisation, describe_preprocess, with_preprocess
from lvlm_va.modules.preprocessing import preprocessing_from
from lvlm_va.modules.tasks import Task

MODEL_FORMATS = ("state-dict", "safetensors", "transformers", "torch-export", "onnx")
WEIGHTS_ALONE = ("state-dict", "safetensors")
# Of the user's own net; the others are graphs from images to logits.
OF_THE_NET = (*WEIGHTS_ALONE, "transformers")
_SAYS = "The 'format' argument"


@dataclass(frozen=True)
class InAndOut:
    """What a net takes and returns.

    Attributes
    ----------
    image_shape : sequence of int
        (C, H, W) of one image.
    class_names : sequence of str
        Names of the classes, or findings, in the order of the logits.
    task : {"multiclass", "binary", "multilabel"}
        What the logits say: a softmax over the classes; the sigmoid of the second of two classes; or a sigmoid for each
        finding.
    """

    image_shape: Sequence[int]
    class_names: Sequence[str]
    task: Task


def save_module(
    module: nn.Module,
    preprocess: nn.Module | None,
    folder: str | os.PathLike[str],
    form: str,
    about: InAndOut,
) -> Path:
    """Write a net, and beside it ``model.json``, which says what it takes and returns.

    Parameters
    ----------
    module : torch.nn.Module
        The classifier; left as it is.
    preprocess : torch.nn.Module or None
        What images in [0, 1] go through before it. Graphs hold it, weights do not.
    folder : path-like
        Made where it is missing.
    form : {"state-dict", "safetensors", "transformers", "torch-export", "onnx"}
        ``model.pt``, ``model.safetensors``, the folder ``model`` with ``config.json``, ``model.safetensors`` and
        ``preprocessor_config.json``, ``model.pt2`` or ``model.onnx``. The last two take images (n, C, H, W) in [0, 1]
        and return logits (n, K), for any n.
    about : InAndOut
        What it takes and returns.

    Returns
    -------
    Path
        The file, or for ``"transformers"`` the folder.

    Raises
    ------
    ImportError
        If ONNX's packages are missing.
    ValueError
        If the format is unknown, the net cannot be written in it, or its graph does not compute what the net does.
    """
    home = Path(folder).expanduser()
    if form not in MODEL_FORMATS:
        raise unknown_name("format", form, MODEL_FORMATS)
    if form == "onnx":
        _require_onnx()
    constants = describe_preprocess(preprocess)
    if form in WEIGHTS_ALONE:
        return write_weights(state_of(module), constants, home, form, about)
    module = copy_module(getattr(module, "_orig_mod", module)).cpu().eval()
    preprocess = None if preprocess is None else copy_module(preprocess).cpu().eval()
    if form == "transformers":
        written = _write_transformers(module, preprocess, home / "model", about)
    else:
        program = _graph(module, preprocess, about.image_shape)
        write, suffix = (torch.export.save, "pt2") if form == "torch-export" else (_write_onnx, "onnx")
        written = home / f"model.{suffix}"
        with atomic_path(written) as temporary:
            write(program, temporary)
    dtype = module_device_and_dtype(module)[1]
    _describe(written, form, constants, dtype, about, graph=form != "transformers")
    return written


def write_weights(
    state: Mapping[str, Tensor],
    constants: Mapping[str, Any] | None,
    folder: Path,
    form: str,
    about: InAndOut,
) -> Path:
    """Write weights as `save_module` does; `constants` as `describe_preprocess` returns them."""
    written = folder / ("model.pt" if form == "state-dict" else "model.safetensors")
    with atomic_path(written) as temporary:
        if form == "state-dict":
            torch.save(dict(state), temporary)
        else:
            save_file(dict(state), temporary)
    dtype = next((value.dtype for value in state.values() if value.is_floating_point()), torch.float32)
    _describe(written, form, constants, dtype, about, graph=False)
    return written


def _describe(
    written: Path,
    form: str,
    constants: Mapping[str, Any] | None,
    dtype: torch.dtype,
    about: InAndOut,
    *,
    graph: bool,
) -> None:
    normalised = "which it normalises itself" if graph else "to be normalised by 'preprocess'"
    facts = {
        "format": form,
        "file": written.name,
        "task": about.task,
        "classes": list(about.class_names),
        "image_shape": list(about.image_shape),
        "dtype": str(dtype).removeprefix("torch."),
        "images": "in [0, 1]" if constants is None else f"in [0, 1], {normalised}",
        "preprocess": constants,
    }
    write_json(written.parent / "model.json", facts)


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's weights on the CPU, each in memory of its own, without what torch.compile puts into names."""
    return {
        name.replace("_orig_mod.", ""): tensor.detach().cpu().contiguous().clone()
        for name, tensor in module.state_dict().items()
    }


class _Logits(nn.Module):
    """The net as a function of images to logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        output = self.net(images)
        logits: Tensor = output if isinstance(output, Tensor) else output.logits
        return logits


def _graph(module: nn.Module, preprocess: nn.Module | None, image_shape: Sequence[int]) -> Any:
    net = _Logits(with_preprocess(module, preprocess)).eval()
    dtype = module_device_and_dtype(module)[1]
    generator = torch.Generator().manual_seed(0)
    two, three = (torch.rand(n, *image_shape, generator=generator, dtype=dtype) for n in (2, 3))
    try:
        with torch.compiler.set_stance("force_eager"), torch.no_grad():
            expected = net(three)
            program = torch.export.export(net, (two,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},))
            found = program.module()(three)
    except Exception as error:  # whatever torch.export cannot trace
        raise ValueError(
            f"{_SAYS} needs a net that torch.export can trace for any number of images. It raised: {error}"
        ) from error
    if not torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())):
        raise ValueError(
            f"{_SAYS} needs a net that torch.export traces rightly. Its graph's logits differ from the net's: does its "
            "forward draw random numbers, or depend on the values of its images?"
        )
    return program


def _require_onnx() -> None:
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"{_SAYS} 'onnx' needs {' and '.join(missing)}: pip install 'lvlm-va[onnx]'.")


def _write_onnx(program: Any, path: Path) -> None:
    names: dict[str, Any] = {"input_names": ["images"], "output_names": ["logits"]}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own exporter, about itself
            torch.onnx.export(program, (), path, **names, dynamo=True, external_data=False, verbose=False)
    except Exception as error:  # whatever has no counterpart there
        raise ValueError(
            f"{_SAYS} 'onnx' needs a net that torch.onnx can convert; 'torch-export' needs less. It raised: {error}"
        ) from error


def _write_transformers(module: Any, preprocess: nn.Module | None, folder: Path, about: InAndOut) -> Path:
    if not hasattr(module, "save_pretrained") or not hasattr(module, "config"):
        raise ValueError(
            f"{_SAYS} 'transformers' needs a net of transformers'. Got {type(module).__name__}: take 'safetensors'."
        )
    constants = describe_preprocess(preprocess)
    if preprocess is not None and not isinstance(preprocess, Normalisation):
        raise ValueError(
            f"{_SAYS} 'transformers' can say of a normalisation by mean and std alone. Got a 'preprocess' that does "
            "something else: take 'torch-export', whose graph holds it."
        )
    # The folder that the net came from, where it did.
    origin = Path(str(getattr(module.config, "_name_or_path", "") or "")) / "preprocessor_config.json"
    own = origin.read_text() if origin.is_file() and _agrees(origin.parent, constants) else None
    module.config = copy.deepcopy(module.config)
    # One logit is the second class's own.
    names = about.class_names[1:] if about.task == "binary" else about.class_names
    module.config.id2label = dict(enumerate(names))
    module.config.label2id = {name: i for i, name in enumerate(names)}
    if about.task == "multilabel":
        module.config.problem_type = "multi_label_classification"
    module.save_pretrained(folder)
    if own is None:
        own = json.dumps(_processor(constants, about.image_shape), indent=2) + "\n"
    with atomic_path(folder / "preprocessor_config.json") as temporary:
        temporary.write_text(own)
    return folder


def _agrees(folder: Path, constants: dict[str, Any] | None) -> bool:
    """Whether a folder says of normalisation what is done."""
    try:
        said = preprocessing_from(folder)
    except ValueError:
        return False
    done = constants or {"mean": [0.0], "std": [1.0]}
    tensors = [(torch.tensor(said[name]), torch.tensor(done[name])) for name in ("mean", "std")]
    return all(torch.allclose(*torch.broadcast_tensors(one, other)) for one, other in tensors)


def _processor(constants: dict[str, Any] | None, image_shape: Sequence[int]) -> dict[str, Any]:
    normalised = {} if constants is None else {"image_mean": constants["mean"], "image_std": constants["std"]}
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": image_shape[1], "width": image_shape[2]},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": constants is not None,
        **normalised,
    }
