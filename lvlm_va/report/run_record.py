"""All that a run directory tells a person, in one object."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvlm_va.alignment import AlignmentSet
from lvlm_va.attribution import Explanation, concatenate_explanations
from lvlm_va.common.effect import DIRECTIONS
from lvlm_va.common.files import reading, write_json
from lvlm_va.common.fingerprint import fingerprint
from lvlm_va.critique import Critique, CritiqueRequest, VerdictPolicy, VerdictTable, read_critiques
from lvlm_va.interventions import TransplantTrial
from lvlm_va.report.cost import ModelUse, read_costs
from lvlm_va.report.measures import Measures
from lvlm_va.rounds.outcome import Outcome
from lvlm_va.rounds.shown import ShownImages, requests_about
from lvlm_va.runs.directory import FORMAT, read_dataclass
from lvlm_va.segmentation import Segmentation, concatenate_segmentations, pixel_effect

_FACTS = {
    "files": dict,
    "seconds": dict,
    "image_ids": list,
    "parameters": dict,
    "versions": dict,
    "n_training_images": int,
}
_AGAIN = "Run fit again with this run directory."
_NO_ANSWER = "No answer came about this image. Run again to ask once more."


@dataclass(frozen=True)
class Command:
    """The command that made a run.

    Attributes
    ----------
    arguments : tuple of str
        The words of the command line, the program's name first.
    folder : str
        The folder in which it was given.
    """

    arguments: tuple[str, ...]
    folder: str


@dataclass(frozen=True, eq=False)
class RunRecord:
    """What a run found and did; row i of everything is the i-th critiqued image.

    Attributes
    ----------
    class_names : tuple of str
        All classes.
    image_ids : tuple of str
        Names of the critiqued images.
    indices : ndarray of shape (a,), int64
        Their rows in the training data.
    images : ndarray of shape (a, 3, H, W), uint8
        The critiqued images as the critic was shown them.
    labels : ndarray of shape (a,), int64
        Their class numbers.
    explanation : Explanation
        Attributions before alignment: what the critic saw.
    segmentation : Segmentation
        Their segments.
    critiques : tuple of Critique
        What the critic said.
    verdicts : VerdictTable
        The verdicts as they now stand, with the class descriptions and the judge's examples.
    masks : ndarray of shape (a, H, W), bool
        True where the classifier was taught not to look.
    outcome : Outcome
        What the classifier says of the images after alignment, and why.
    seconds : mapping of str to float
        Wall-clock seconds of each stage.
    costs : tuple of ModelUse
        What models were asked for.
    parameters : mapping of str to JSON values
        The estimator's.
    versions : mapping of str to str
        What the run was computed with.
    n_training_images : int
        Images that the classifier was trained on.
    policy : VerdictPolicy
        What followed from what a segment is about; the default where nobody went by that.
    propagated : mapping of str to float, or None
        Where verdicts were extended: ``n_images``, to how many training images, and ``agreement``, how many of the
        verdicts that would have foretold; see `lvlm_va.propagation.Propagated`.
    remarks : tuple of str
        What must be told of a result that mended less than it may seem to.
    n_drawn_masks : int
        Of how many training images somebody drew a mask.
    trial : TransplantTrial or None
        Whether predictions follow what was judged spurious, before and after alignment.
    measures : Measures or None
        What was measured before and after; None where nothing was measured since the last alignment.
    command : Command or None
        What made the run; None where it was not the command line.
    path : Path or None
        The run directory; None for a run that kept none.
    verdict_files : tuple of Path
        The files of the verdicts in it, one per round.
    """

    class_names: tuple[str, ...]
    image_ids: tuple[str, ...]
    indices: NDArray[np.int64]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    explanation: Explanation
    segmentation: Segmentation
    critiques: tuple[Critique, ...]
    verdicts: VerdictTable
    masks: NDArray[np.bool_]
    outcome: Outcome
    seconds: Mapping[str, float] = field(default_factory=dict)
    costs: tuple[ModelUse, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    n_training_images: int = 0
    policy: VerdictPolicy = field(default_factory=VerdictPolicy)
    propagated: Mapping[str, float] | None = None
    remarks: tuple[str, ...] = ()
    n_drawn_masks: int = 0
    trial: TransplantTrial | None = None
    measures: Measures | None = None
    command: Command | None = None
    path: Path | None = None
    verdict_files: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def n_critiqued_images(self) -> int:
        """How many images were critiqued; of several findings, one may have been about several of them."""
        return len(np.unique(self.indices))

    @property
    def direction(self) -> str:
        """Which way what is cut into segments speaks: ``"for"`` a class, or ``"for or against"`` it."""
        return DIRECTIONS[self.segmentation.effect]

    def effects(self, rows: slice = slice(None)) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the effect (n, H, W) that is cut into segments, before alignment and after."""
        maps = (self.explanation.attributions[rows], self.outcome.attributions[rows, None])
        before, after = (pixel_effect(part, self.segmentation.effect).cpu().numpy() for part in maps)
        return before, after

    def label(self, row: int) -> str:
        """Return the name of an image's class."""
        return self.class_names[int(self.labels[row])]

    def request(self, row: int, specifications: Mapping[str, str] | None = None) -> CritiqueRequest:
        """Return what a critic is shown of an image, with these words on the classes."""
        (request,) = requests_about(
            self.images[[row]],
            self.explanation,
            self.segmentation,
            [row],
            indices=[int(self.indices[row])],
            image_ids=[self.image_ids[row]],
            labels=[self.label(row)],
            specifications=specifications or {},
        )
        return request


def read_run(path: str | os.PathLike[str]) -> RunRecord:
    """Read the current results in a run directory.

    Parameters
    ----------
    path : path-like
        The ``run_dir`` of an estimator that was fitted with a critic.

    Returns
    -------
    RunRecord
        Its results. Stages of other parameters that the folder may also hold are left out.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or a file that it names is missing.
    ValueError
        If it holds no finished run with a critic, a run of another version, or damaged files; says what mends it.
    """
    folder = Path(path).expanduser()
    identity, latest, files = current_files(folder)
    if not files.get("verdicts"):
        raise ValueError(
            f"The 'path' argument must name a run with a critic. {folder} holds one that only trained."
        )

    if not files.get("shown"):
        raise ValueError(
            f"{folder} holds a run that kept no pictures, by keep_images=False or an earlier version. {_AGAIN}"
        )

    aligned = read_dataclass(_only(files, "alignment-set"), AlignmentSet)
    shown = [read_dataclass(file, ShownImages) for file in files["shown"]]
    said = {
        name: critique
        for file in (*files.get("critiques", ()), *files.get("judged", ()))
        for name, critique in read_critiques(file, strict=True).items()
    }
    image_ids = tuple(latest["image_ids"])
    record = RunRecord(
        class_names=tuple(identity["classes"]),
        image_ids=image_ids,
        indices=np.concatenate([part.indices.numpy() for part in shown]),
        images=np.concatenate([part.images.numpy() for part in shown]),
        labels=aligned.outcomes.numpy(),
        explanation=concatenate_explanations(
            [read_dataclass(file, Explanation) for file in files["explain"]]
        ),
        segmentation=concatenate_segmentations(
            [read_dataclass(file, Segmentation) for file in files["segment"]]
        ),
        critiques=tuple(said.get(name, Critique(name, _NO_ANSWER)) for name in image_ids),
        verdicts=join_tables([VerdictTable.load(file) for file in files["verdicts"]]),
        masks=aligned.masks.numpy() > 0,
        outcome=read_dataclass(_only(files, "outcome"), Outcome),
        seconds=latest["seconds"],
        costs=read_costs(folder / "exchanges.jsonl"),
        parameters=latest["parameters"],
        versions=latest["versions"],
        n_training_images=latest["n_training_images"],
        policy=_policy(latest, folder),
        propagated=latest.get("propagated"),
        remarks=tuple(map(str, latest.get("remarks", ()))),
        n_drawn_masks=int(latest.get("n_drawn_masks", 0)),
        trial=_trial(latest, folder),
        measures=_read_measures(folder, _only(files, "align").name),
        command=_read_command(folder),
        path=folder,
        verdict_files=tuple(files["verdicts"]),
    )
    n = len(image_ids)
    if {n} != {
        len(record.labels),
        len(record.images),
        len(record.segmentation.labels),
        len(record.outcome.attributions),
    } or record.explanation.target.tolist() != record.labels.tolist():
        raise ValueError(f"{folder / 'latest.json'} names files of different runs. {_AGAIN}")
    return record


def current_files(
    path: str | os.PathLike[str],
) -> tuple[dict[str, Any], dict[str, Any], dict[str, list[Path]]]:
    """Return a run's identity, what ``latest.json`` says, and the files of its current results by stage.

    Raises
    ------
    FileNotFoundError, ValueError
        As of `read_run`, which needs a critic.
    """
    folder = Path(path).expanduser()
    identity, latest = _read_heads(folder)
    files = {stage: [_inside(folder, name) for name in names] for stage, names in latest["files"].items()}
    return identity, latest, files


def keep_measures(run_dir: str | os.PathLike[str], measures: Measures) -> None:
    """Leave in a run directory what was measured before and after its latest alignment.

    Parameters
    ----------
    run_dir : path-like
        The run directory.
    measures : Measures
        What was measured; counts until the classifier is aligned anew.
    """
    folder = Path(run_dir).expanduser()
    _, latest = _read_heads(folder)
    content = {"of": latest["files"]["align"][0], **measures.to_json()}
    write_json(folder / "measures.json", {**content, "checksum": fingerprint(content)})


def keep_command(run_dir: str | os.PathLike[str], arguments: Sequence[str]) -> None:
    """Leave in a run directory the command line that made it, and the folder in which it was given.

    Parameters
    ----------
    run_dir, arguments : path-like, sequence of str
        The run directory; the command and its arguments.
    """
    given = {"arguments": list(arguments), "folder": str(Path.cwd())}
    write_json(Path(run_dir).expanduser() / "command.json", given)


def join_tables(tables: Sequence[VerdictTable]) -> VerdictTable:
    """Return the verdicts of all rounds in one table; the descriptions and examples are the last's."""
    places = {name: place for table in tables for name, place in table.places.items()}
    verdicts = tuple(verdict for table in tables for verdict in table.verdicts)
    return replace(tables[-1], verdicts=verdicts, places=places)


def _read_heads(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what ``run.json`` and ``latest.json`` say, checked as far as readers rely on it."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"The 'path' argument must name a run directory. There is no folder {folder}."
        )
    run = _read_object(
        folder / "run.json", f"The 'path' argument must name a run directory. {folder} has no run.json."
    )
    if run.get("format") != FORMAT:
        raise ValueError(
            f"{folder} holds a run of format {run.get('format')!r}; this version reads {FORMAT}."
        )
    latest = _read_object(
        folder / "latest.json",
        f"{folder} holds a run that has not finished. {_AGAIN}",
    )
    if not isinstance(identity := run.get("identity"), dict) or not isinstance(identity.get("classes"), list):
        raise ValueError(f"{folder / 'run.json'} is damaged: no 'identity' with 'classes'.")
    trained_only = set(latest.get("files", {})) <= {"train"}
    for name, kind in _FACTS.items():
        if not isinstance(latest.get(name), kind) and not (trained_only and name != "files"):
            raise ValueError(
                f"{folder / 'latest.json'} is damaged or of an earlier version: no {name!r}. {_AGAIN}"
            )
    for stage, names in latest["files"].items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{folder / 'latest.json'} is damaged: no names of files of {stage!r}. {_AGAIN}")
    return identity, latest


def _inside(folder: Path, name: str) -> Path:
    """Return the file of this name; a run that came from elsewhere must not have other files read."""
    file = folder / name
    if file.resolve().parent != folder.resolve():
        raise ValueError(f"{folder / 'latest.json'} must name files of its own folder. Got {name!r} instead.")
    return file


def _read_object(file: Path, missing: str) -> dict[str, Any]:
    if not file.exists():
        raise ValueError(missing)
    with reading(file, _AGAIN):
        found = json.loads(file.read_bytes())
        if not isinstance(found, dict):
            raise ValueError("no JSON object")
    return found


def _only(files: Mapping[str, Sequence[Path]], stage: str) -> Path:
    found = files.get(stage, ())
    if len(found) != 1:
        raise ValueError(f"The run names {len(found)} files of {stage!r}, not one. {_AGAIN}")
    return found[0]


def _policy(latest: Mapping[str, Any], folder: Path) -> VerdictPolicy:
    try:
        return VerdictPolicy(**latest.get("policy", {}))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'latest.json'} is damaged ({error!r}). {_AGAIN}") from error


def _trial(latest: Mapping[str, Any], folder: Path) -> TransplantTrial | None:
    if latest.get("trial") is None:
        return None
    try:
        return TransplantTrial.from_json(latest["trial"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'latest.json'} is damaged ({error!r}). {_AGAIN}") from error


def _read_measures(folder: Path, aligned: str) -> Measures | None:
    file = folder / "measures.json"
    if not file.exists():
        return None
    found = _read_object(file, "")
    if found.get("of") != aligned:
        return None
    with reading(file, "Remove it, and measure again."):
        checksum = found.pop("checksum")
        if checksum != fingerprint(found):
            raise ValueError("its figures do not have its checksum")
        return Measures.from_json(found)


def _read_command(folder: Path) -> Command | None:
    file = folder / "command.json"
    if not file.exists():
        return None
    found = _read_object(file, "")
    with reading(file, "Remove it."):
        return Command(tuple(map(str, found["arguments"])), str(found["folder"]))
