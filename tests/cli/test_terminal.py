"""What the command line prints cannot command the terminal."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvlm_va.cli import app
from lvlm_va.cli.terminal import complain, tell
from lvlm_va.common.printable import printable
from lvlm_va.common.warnings import warn


@given(st.text())
def test_what_is_printed_can_be_seen_and_read_back(text):
    shown = printable(text)
    assert not {unicodedata.category(c) for c in shown.replace("\n", "").replace("\t", "")} & {
        "Cc",
        "Cs",
        "Zl",
        "Zp",
    }
    kept = "".join(c for c in text if c.isprintable())
    assert printable(kept) == kept


def test_output_errors_and_warnings_are_shown_as_they_are(capsys):
    tell("naïve\t\x1b[31mred\x07\nof 胸部")
    complain("\x1b]0;mine\x07\u202eno")
    output = capsys.readouterr()
    assert output.out == "naïve\t\\x1b[31mred\\x07\nof 胸部\n"
    assert "\\x1b]0;mine\\x07\\u202eno" in output.err
    with pytest.warns(UserWarning, match=r"class '\\x1b\[2J'"):
        warn("class '\x1b[2J'")


def test_an_error_that_quotes_a_file_is_shown_as_it_is(capsys, tmp_path, monkeypatch):
    table = tmp_path / "verdicts.json"
    monkeypatch.setattr("sys.argv", ["lvlm-va", "report", str(tmp_path / "no\x1b[2J")])
    with pytest.raises(SystemExit):
        app.main()
    shown = capsys.readouterr()
    assert "\x1b[2J" not in shown.out + shown.err
    assert not table.exists()
