"""The check of a GPU's machine: what it finds stands in one file, whatever happens to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tools.gpu_check import ROOT, Step, run, steps


def python(name: str, code: str, seconds: float = 30, leaves: Path | None = None) -> Step:
    return Step(name, (sys.executable, "-c", code), seconds, leaves)


def test_what_fails_or_takes_long_keeps_nothing_else_from_running(tmp_path: Path) -> None:
    left, out = tmp_path / "left.json", tmp_path / "out.json"
    leaving = f"open({str(left)!r}, 'w').write('[1]'); print('written', flush=True)"
    todo = [
        python("fails", "raise SystemExit('in vain')"),
        Step("is missing", ("no-such-program",), 9),
        python("takes long", f"{leaving}; import time; time.sleep(99)", 0.5, left),
        python("passes", leaving, leaves=left),
    ]
    assert not run(todo, out)
    found = json.loads(out.read_text())
    assert [one["status"] for one in found.values()] == [
        "failed",
        "no no-such-program on this machine",
        "not done in 0 s",
        "passed",
    ]
    assert found["fails"]["output"] == "in vain\n"
    assert found["passes"]["found"] == [1]
    assert run(todo[3:], out)
    assert not run(todo[3:], out, seconds=0)
    assert json.loads(out.read_text())["passes"]["status"] == "no time was left"


def test_a_kill_costs_the_step_under_way(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, tests.project.test_gpu_check as t; from tools.gpu_check import run;"
        "run([t.python('one', '1'), t.python('two', 'import time; time.sleep(5)'), t.python('three', '3')],"
        "pathlib.Path(sys.argv[1]))"
    )
    out = tmp_path / "out.json"
    process = subprocess.Popen([sys.executable, "-c", code, str(out)], cwd=ROOT, start_new_session=True)
    try:
        while not (out.exists() and "under way" in out.read_text() and "passed" in out.read_text()):
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    found = json.loads(out.read_text())
    assert [one["status"] for one in found.values()] == ["passed", "under way", "not begun"]


def test_its_steps_fit_its_time_and_name_what_there_is(tmp_path: Path) -> None:
    for rehearse in (False, True):
        todo = steps(tmp_path, rehearse=rehearse)
        for step in todo:
            files = [part for part in step.command if part.startswith(("tests/", "benchmarks/", "setup.py"))]
            assert all((ROOT / file).exists() for file in files)
    assert [step.name for step in todo] == [step.name for step in steps(tmp_path, rehearse=False)]
