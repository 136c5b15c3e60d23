"""The example in the README runs and does what the README says."""

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_example_runs_and_mends(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(code.strip().splitlines()) <= 11
    exec(compile(code, str(README), "exec"), {})
    accuracy, _, alignment = re.fullmatch(r"(\S+) (\{.*\})\n(\S+)\n", capsys.readouterr().out).groups()
    assert float(accuracy) > 0.9
    assert float(alignment) > 0.9


def test_it_is_short():
    assert len(README.read_text().splitlines()) <= 120
