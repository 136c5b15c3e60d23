"""Damage files of a run directory, fit again, and see that the result is the same or the file is named.

``python -m tools.mutate_runs --seed 0 --count 1000`` prints how often each ended how, and every case that ended badly.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lvlm_va import LVLMVAClassifier, RegionCritic
from lvlm_va.common.files import UnreadableFileError
from lvlm_va.critique import VerdictTable
from lvlm_va.report import read_run

_N = 12
# Fixed beforehand: a fit trains for a moment only.
_MODULE = torch.nn.Sequential(
    torch.nn.Flatten(), torch.nn.Linear(36, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)
)
# What a person may change into what.
_EDITS: Sequence[tuple[str, object]] = [
    ("verdict", " Spurious"), ("verdict", "relevant"), ("verdict", "bad"), ("verdict", None), ("p_spurious", 0.5),
    ("p_spurious", 2), ("p_spurious", 10**400), ("p_spurious", "NaN"), ("segment", 99), ("segment", -1),
    ("segment", 1.5), ("reason", ["text"]), ("content", "artefact"), ("new", 1), ("source", "human"),
]  # fmt: skip


def fit(run_dir: Path, seed: int = 0) -> LVLMVAClassifier:
    """Return a classifier fitted in this folder: one cheap run, another one for each seed."""
    rng = np.random.default_rng(seed)
    X, y = rng.uniform(0, 1, (_N, 1, 6, 6)), np.arange(_N) % 2
    return LVLMVAClassifier(
        _MODULE,
        critic=RegionCritic({"irrelevant": ["corners"]}),
        n_align=_N // 2,
        epochs=1,
        align_epochs=1,
        n_references=2,
        segmenter="grid",
        random_state=0,
        run_dir=run_dir,
    ).fit(X, y)


@dataclass(frozen=True)
class Result:
    """What a fit came to."""

    probabilities: bytes
    masks: bytes
    verdicts: VerdictTable

    @classmethod
    def of(cls, run_dir: Path) -> Result:
        """Fit in a folder."""
        clf = fit(run_dir)
        logits = clf.predict_proba(np.random.default_rng(9).uniform(0, 1, (4, 1, 6, 6)))
        return cls(logits.tobytes(), clf.masks_.tobytes(), clf.verdicts_)


class Mutator:
    """Damages files of one run, of which another one is at hand.

    Parameters
    ----------
    folder : Path
        Where the runs are made.
    seed : int
        Of everything random.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.run, self.other, self._copy = folder / "run", folder / "other", folder / "copy"
        self.untouched = Result.of(self.run)
        fit(self.other, seed=1)
        self.files = sorted(path.name for path in self.run.glob("[!.]*"))

    def flip(self, data: bytes) -> bytes:
        """Flip a few bits, mostly one."""
        damaged = bytearray(data)
        for _ in range(1 + self._rng.geometric(0.7)):
            if damaged:
                damaged[self._rng.integers(len(damaged))] ^= 1 << int(self._rng.integers(8))
        return bytes(damaged)

    def cut(self, data: bytes) -> bytes:
        """Leave out the end."""
        return data[: int(self._rng.integers(len(data) + 1))]

    def leave_out(self, data: bytes) -> bytes:
        """Leave out a piece."""
        start, end = sorted(self._rng.integers(len(data) + 1, size=2).tolist())
        return data[:start] + data[end:]

    def empty(self, data: bytes) -> bytes:
        """Leave nothing."""
        return b""

    def append(self, data: bytes) -> bytes:
        """Put something at the end."""
        return data + self._rng.bytes(int(self._rng.integers(1, 200)))

    def deepen(self, data: bytes) -> bytes:
        """Put brackets in brackets."""
        return b"[" * 100_000

    def edit(self, data: bytes) -> bytes:
        """Change a verdict table as a person might; other files are left as they are."""
        try:
            table = json.loads(data)
            segments = [segment for image in table["images"] for segment in image["segments"]]
        except (ValueError, KeyError, TypeError):
            return data
        name, value = _EDITS[int(self._rng.integers(len(_EDITS)))]
        segments[int(self._rng.integers(len(segments)))][name] = value
        return json.dumps(table).encode()

    def swap(self, name: str) -> bytes:
        """Return the other run's file of the same stage."""
        stage = name.rsplit("-", 1)[0] if "-" in name else name.partition(".")[0]
        return next(self.other.glob(f"{stage}*")).read_bytes()

    def exchange(self, name: str) -> bytes:
        """Return another file of this run."""
        return (self.run / str(self._rng.choice(self.files))).read_bytes()

    def once(self) -> tuple[str, str, str]:
        """Damage one file, fit again, and return the file, what was done to it and how it ended."""
        name = str(self._rng.choice(self.files))
        by_content = (
            self.flip,
            self.flip,
            self.cut,
            self.leave_out,
            self.empty,
            self.append,
            self.deepen,
            self.edit,
        )
        ways: list[Callable[[str], bytes]] = [self.swap, self.exchange]
        k = int(self._rng.integers(len(by_content) + len(ways)))
        if k < len(ways):
            return name, ways[k].__name__, self.put(name, ways[k])
        change = by_content[k - len(ways)]
        return name, change.__name__, self.put(name, lambda name: change((self.run / name).read_bytes()))

    def put(self, name: str, content: Callable[[str], bytes]) -> str:
        """Put something else in the place of a file, or of a stage's; fit again, and return how it ended."""
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self.run, self._copy)
        path = next(self._copy.glob(f"{name}*"))
        path.write_bytes(content(path.name))
        return self._end(path)

    def _end(self, path: Path) -> str:
        edited = path.name.startswith("verdicts") and _is_table(path)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                read_run(self._copy)
            except (ValueError, FileNotFoundError):
                pass
            except Exception as error:
                return f"BAD: the report ends with {error!r}"
            try:
                result = Result.of(self._copy)
            except UnreadableFileError as error:
                return "refused" if str(path) in str(error) else f"BAD: does not name the file: {error}"
            except ValueError as error:
                named = any(word in str(error) for word in (str(path), "run_dir"))
                return "refused" if named else f"BAD: does not name the file: {error}"
            except Exception as error:
                return f"BAD: {error!r}"
        if result == self.untouched:
            return "made again" if any(path.name in str(warning.message) for warning in told) else "the same"
        return "edited" if edited else "BAD: another result"


def _is_table(path: Path) -> bool:
    try:
        VerdictTable.load(path)
    except ValueError:
        return False
    return True


def mutate(folder: Path, seed: int, count: int) -> Counter[tuple[str, str, str]]:
    """Return how often each stage's file, damaged in each way, ended how."""
    mutator = Mutator(folder, seed)
    ends: Counter[tuple[str, str, str]] = Counter()
    for _ in range(count):
        name, done, end = mutator.once()
        ends[name.rsplit("-", 1)[0] if "-" in name else name, done, end] += 1
    return ends


def main() -> None:
    """Damage files as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ends = mutate(Path(folder), options.seed, options.count)
    for (stage, done, end), count in sorted(ends.items()):
        print(f"{count:6} {stage:16} {done:10} {end}")  # noqa: T201
    bad = sum(count for (_, _, end), count in ends.items() if end.startswith("BAD"))
    print(f"{bad} of {options.count} ended badly")  # noqa: T201
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
