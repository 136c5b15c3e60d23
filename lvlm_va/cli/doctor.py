"""``lvlm-va doctor``: whether what a long run needs is there."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lvlm_va.cli.exit_codes import exit_code
from lvlm_va.cli.models import AllowRemote
from lvlm_va.cli.terminal import complain, tell
from lvlm_va.cli.values import pairs

if TYPE_CHECKING:
    from lvlm_va.backends import ChatBackend

# Extra -> the packages that it brings, as they are imported.
EXTRAS = {
    "report": ("jinja2", "matplotlib", "starlette", "uvicorn"),
    "openai": ("openai",),
    "anthropic": ("anthropic",),
    "distributed": ("accelerate",),
    "dicom": ("pydicom",),
    "slic": ("skimage",),
    "timm": ("timm",),
    "onnx": ("onnx", "onnxscript"),
}
# Of a folder so many images are read.
_MOST_READ = 100
# Of free space, a run of 300 critiques at 224 x 224 needs about this.
_ROOM = 2 * 2**30
_SIDE = 64


def doctor(
    data: Annotated[
        Path | None, typer.Argument(help="Folder with the images, as for 'align'.", metavar="[DATA]")
    ] = None,
    table: Annotated[str, typer.Option(help="CSV table of the images, as for 'align'.")] = "labels.csv",
    column: Annotated[
        list[str] | None,
        typer.Option(help="'label=grade': the table's own names, as for 'align'; repeatable."),
    ] = None,
    extension: Annotated[str, typer.Option(help="Added to the table's paths, such as '.jpg'.")] = "",
    critic: Annotated[
        str | None,
        typer.Option(
            help="A model, as for 'align': it is loaded, or its server reached, and asked one question."
        ),
    ] = None,
    allow_remote: AllowRemote = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run: whether it can be written, and holds enough.")
    ] = None,
) -> None:
    """Look at installation, images, model and run folder before a long run.

    What is missing but was not asked for is only told. The exit code is that of the first thing that will not work.

    For example: lvlm-va doctor scans --critic http://127.0.0.1:8000/v1#MODEL --out run
    """
    checks: list[tuple[str, Callable[[], Iterator[str]]]] = [
        ("installation", _installation),
        ("extras", _extras),
    ]
    if data is not None:
        columns = pairs(column, "--column")
        named = None if table == "folders" else table
        checks.append((str(data), lambda: _images(data, named, columns, extension)))
    if critic is not None:
        checks.append((critic, lambda: _model(critic, allow_remote)))
    if out is not None:
        checks.append((str(out), lambda: _room(out)))
    codes = [_check(what, look) for what, look in checks]
    if any(codes):
        raise SystemExit(next(code for code in codes if code))
    tell("All is well.")


def _check(what: str, look: Callable[[], Iterator[str]]) -> int:
    """Tell what a check finds; return 0, or the exit code of why it failed."""
    try:
        for line in look():
            tell(f"{what}: {line}")
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise
        complain(f"{what}: {error}")
        return code
    return 0


def _installation() -> Iterator[str]:
    from lvlm_va.ops import _native
    from lvlm_va.runs.environment import environment

    facts = environment()
    yield f"Python {facts['python']}, torch {facts['torch']}, GPU: {facts['gpu']}, kernels: {facts['kernels']}"
    if not _native.has_native():
        yield "without its kernels it computes the same, but slower"


def _extras() -> Iterator[str]:
    for extra, packages in EXTRAS.items():
        missing = [package for package in packages if find_spec(package) is None]
        yield f"{extra}: " + (
            f"pip install 'lvlm-va[{extra}]' ({', '.join(missing)})" if missing else "there"
        )


def _images(data: Path, table: str | None, columns: dict[str, str], extension: str) -> Iterator[str]:
    from lvlm_va.datasets import open_image_folder

    folder = open_image_folder(
        data, table, image_size=(_SIDE, _SIDE), columns=columns or None, extension=extension
    )
    for name, values in (("classes", folder.labels), ("splits", folder.splits), ("groups", folder.groups)):
        if values is not None:
            counts = ", ".join(f"{value} {n}" for value, n in sorted(Counter(values.tolist()).items()))
            yield f"{name}: {counts}"
    step = -(-len(folder) // _MOST_READ)
    read = [folder[row][0] for row in range(0, len(folder), step)]
    yield f"{len(folder)} images, of which {len(read)} were read"
    if len(set(folder.labels.tolist())) < 2:
        raise ValueError("There must be images of two classes at least.")


def _model(critic: str, allow_remote: bool) -> Iterator[str]:
    from lvlm_va.critique.model_user import ModelUser
    from lvlm_va.critique.resolve import resolve_critic

    asked: object = resolve_critic(critic, allow_remote=allow_remote)
    if not isinstance(asked, ModelUser):
        yield "there"
    elif critic.startswith("folder:"):
        asked.model  # noqa: B018 (made, and with it the folder)
        yield "can be written; whoever answers there is not asked"
    else:
        yield f"answered {_answer(asked.model)!r}"


def _answer(model: ChatBackend) -> str:
    """Return what a model says of a grey picture, the beginning of it."""
    import numpy as np

    from lvlm_va.backends import ChatFailure, ChatRequest, ImagePart, Turn
    from lvlm_va.critique import ModelStoppedError

    picture = ImagePart(np.full((_SIDE, _SIDE, 3), 128, np.uint8))
    turn = Turn("user", (picture, "What colour is this picture? Answer in one word."))
    (outcome,) = model.complete([ChatRequest((turn,), max_tokens=16)])
    if isinstance(outcome, ChatFailure):
        raise ModelStoppedError(model.name, outcome)
    return outcome.text.strip()[:_SIDE]


def _room(out: Path) -> Iterator[str]:
    from lvlm_va.common.files import atomic_path

    out.mkdir(parents=True, exist_ok=True)
    probe = out / "doctor.txt"
    with atomic_path(probe) as temporary:
        temporary.write_text("written")
    probe.unlink()
    free = shutil.disk_usage(out).free
    yield f"can be written, {free / 2**30:.0f} GiB are free" + " (a run may need 2)" * (free < _ROOM)
