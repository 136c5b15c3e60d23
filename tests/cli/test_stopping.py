"""Ctrl+C leaves a run that goes on, and says how."""

import signal

from safetensors.numpy import load_file

from lvlm_va.alignment import run as training


def test_ctrl_c_says_what_is_kept_and_the_same_command_goes_on(align, tmp_path, monkeypatch):
    usual, out = training.TrainingRun._save, tmp_path / "run"
    arguments = ("--irrelevant", "corners")

    def interrupted(self):
        usual(self)
        if self._rows.alignment is not None:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(training.TrainingRun, "_save", interrupted)
        stopped = align(out, *arguments)
    assert stopped.returncode == 130
    assert f"What is done is kept in {out}: the same call, or command, goes on from there." in stopped.stderr
    assert not (out / "aligned.safetensors").exists()
    assert align(out, *arguments).returncode == 0
    assert align(tmp_path / "whole", *arguments).returncode == 0
    ours, whole = (load_file(folder / "aligned.safetensors") for folder in (out, tmp_path / "whole"))
    assert all((ours[name] == whole[name]).all() for name in whole)


def test_where_nothing_is_kept_nothing_is_promised(lvlm_va, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("lvlm_va.runs.environment.show_versions", interrupted)
    done = lvlm_va("info")
    assert (done.returncode, done.stderr.strip()) == (130, "lvlm-va: stopped.")


def test_the_report_opens_when_asked(align, lvlm_va, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("typer.launch", opened.append)
    assert align(tmp_path / "run", "--irrelevant", "corners").returncode == 0
    assert lvlm_va("report", tmp_path / "run").returncode == 0
    assert opened == []
    assert lvlm_va("report", tmp_path / "run", "--show").returncode == 0
    assert opened == [(tmp_path / "run" / "report.html").as_uri()]
