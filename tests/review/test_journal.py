"""The journal: whatever is done, and wherever the process is killed, the files tell the same state."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvlm_va.critique import CONTENTS, JudgeExample, SegmentVerdict, VerdictTable
from lvlm_va.review import Journal, StaleRevisionError
from lvlm_va.review.changes import EXAMPLES, Address, table_of, values_of, verdict_value
from lvlm_va.review.journal import JOURNAL_FILE, TABLE_FILE

WORDS = ("spurious", "relevant", "unsure")
FOUND = VerdictTable(
    tuple(
        SegmentVerdict(image, segment, "relevant", 0.25, "It is the joint.", "critic", "line")
        for image in ("scan-7.png", "<script>.png", "\ud83d")
        for segment in (1, 2)
    ),
    {"ill": "The joint counts."},
)
IMAGES = sorted({verdict.image_id for verdict in FOUND.verdicts})


def open_journal(folder, found=FOUND, run="one"):
    return Journal(folder, found, run=run, by="ada")


def a_verdict(word="spurious", image="scan-7.png", segment=1, content=""):
    value = verdict_value(SegmentVerdict(image, segment, word, source="human", content=content))
    return {Address("verdict", image, segment): value}


edits = st.one_of(
    st.builds(a_verdict, st.sampled_from(WORDS), st.sampled_from(IMAGES), st.sampled_from([1, 2])),
    st.builds(lambda content: a_verdict("relevant", content=content), st.sampled_from(("", *CONTENTS))),
    st.builds(
        lambda label, text: {Address("description", label): text},
        st.sampled_from(["ill", "well"]),
        st.none() | st.text(max_size=5),
    ),
    st.builds(
        lambda texts: {
            EXAMPLES: [{"critique": text, "verdict": "unsure", "note": ""} for text in texts] or None
        },
        st.lists(st.text(max_size=3), max_size=2),
    ),
)
steps = st.lists(st.sampled_from(["undo", "redo", "reopen"]) | edits, max_size=12)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(steps)
def test_any_sequence_of_edits_undo_and_redo_is_what_the_files_tell(sequence):
    with tempfile.TemporaryDirectory() as folder:
        journal = open_journal(folder)
        past, future = [journal.values], []
        for step in sequence:
            if step == "reopen":
                journal.close()
                journal = open_journal(folder)
            elif step == "undo":
                journal.undo(revision=journal.revision)
                if len(past) > 1:
                    future.append(past.pop())
            elif step == "redo":
                journal.redo(revision=journal.revision)
                if future:
                    past.append(future.pop())
            else:
                journal.edit(step, revision=journal.revision)
                if journal.values != past[-1]:
                    past.append(journal.values)
                    future = []
            assert journal.values == past[-1]
            assert (journal.can_undo, journal.can_redo) == (len(past) > 1, bool(future))
            assert VerdictTable.load(Path(folder) / TABLE_FILE) == table_of(past[-1])
        journal.close()


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.lists(edits, min_size=1, max_size=5), st.data())
def test_a_kill_at_any_byte_loses_nothing_that_was_acknowledged(sequence, data):
    with tempfile.TemporaryDirectory() as folder:
        path, table = Path(folder) / JOURNAL_FILE, Path(folder) / TABLE_FILE
        with open_journal(folder) as journal:
            told = [(path.read_bytes(), table.read_bytes(), journal.values)]
            for edit in sequence:
                journal.edit(edit, revision=journal.revision)
                told.append((path.read_bytes(), table.read_bytes(), journal.values))
        step = data.draw(st.integers(1, len(sequence)))
        (before, old_table, old), (after, new_table, new) = told[step - 1 : step + 1]
        cut = data.draw(st.integers(len(before), len(after)))
        # Killed while the line was written, or after it and before the table, or after both.
        path.write_bytes(after[:cut])
        table.write_bytes(new_table if cut == len(after) and data.draw(st.booleans()) else old_table)
        with open_journal(folder) as journal:
            assert journal.values == (new if cut == len(after) else old)
            assert VerdictTable.load(table) == journal.table()
            assert [entry.by for entry in journal.entries] == ["ada"] * len(journal.entries)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(
    st.lists(st.tuples(edits, st.sampled_from([None, "fsync", "table", "rename"])), min_size=1, max_size=6)
)
def test_an_edit_is_kept_or_refused_whatever_fails(sequence):
    """A disk that is full at any step: what was told as saved is there at the next start, and nothing else."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        journal = open_journal(folder)
        for edit, failing in sequence:
            values, revision = journal.values, journal.revision
            with patch.context() as broken:
                if failing is not None:
                    break_disk(broken, failing)
                try:
                    journal.edit(edit, revision=revision)
                except OSError as error:
                    assert error.errno == errno.ENOSPC
                    assert (journal.values, journal.revision) == (values, revision)
                else:
                    assert failing is None or journal.values == values  # or nothing was to be written
        journal.close()
        with open_journal(folder) as again:
            assert (again.values, again.revision) == (journal.values, journal.revision)
            assert [entry.by for entry in again.entries] == ["ada"] * len(again.entries)


def break_disk(patch, step):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    if step == "fsync":
        patch.setattr(os, "fsync", full)
    elif step == "table":
        patch.setattr(VerdictTable, "to_json", full)
    else:
        patch.setattr(Path, "replace", full)


@pytest.mark.parametrize(
    "what", ["moved", "moved and made anew", "copied back", "journal removed", "journal written"]
)
def test_a_folder_that_is_no_longer_there_gets_no_edits(tmp_path, what):
    run, moved = tmp_path / "run", tmp_path / "moved"
    run.mkdir()
    with open_journal(run) as journal:
        journal.edit(a_verdict("spurious"), revision=0)
        if what.startswith("journal"):
            moved = run
            if what == "journal removed":
                (run / JOURNAL_FILE).unlink()
            else:
                with (run / JOURNAL_FILE).open("a") as stream:
                    stream.write("a line of another program\n")
        else:
            run.rename(moved)
        if what == "moved and made anew":
            run.mkdir()
        elif what == "copied back":
            shutil.copytree(moved, run)
        files = {path: path.read_bytes() for path in tmp_path.rglob("*.js*")}
        for act in (
            lambda: journal.edit(a_verdict("unsure"), revision=1),
            lambda: journal.undo(revision=1),
            lambda: journal.record("realign", {}),
            journal.require_in_place,
        ):
            with pytest.raises(OSError, match="Nothing was saved: .*moved, replaced or changed"):
                act()
        assert journal.revision == 1
        assert {path: path.read_bytes() for path in tmp_path.rglob("*.js*")} == files
    if moved != run:
        with open_journal(moved) as journal:
            assert journal.table()["scan-7.png", 1].verdict == "spurious"


def test_a_real_kill(tmp_path):
    code = (
        "import sys\n"
        "from tests.review.test_journal import a_verdict, open_journal\n"
        "journal = open_journal(sys.argv[1])\n"
        "for i in range(10**6):\n"
        "    journal.edit(a_verdict(WORD[i % 2]), revision=journal.revision)\n"
        "    print(journal.revision, flush=True)\n"
    ).replace("WORD", "('spurious', 'relevant')")
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as process:
        said = [int(process.stdout.readline()) for _ in range(20)]
        with pytest.raises(BlockingIOError, match="being reviewed already"):
            open_journal(tmp_path)
        process.kill()
        said += [
            int(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")
        ]
    with open_journal(tmp_path) as journal:
        assert journal.revision in (said[-1], said[-1] + 1)
        assert journal.table()["scan-7.png", 1].verdict == ("relevant", "spurious")[journal.revision % 2]


def test_an_edit_made_on_an_older_state_is_refused(tmp_path):
    with open_journal(tmp_path) as journal:
        journal.edit(a_verdict("spurious"), revision=0)
        for late in (
            lambda: journal.edit(a_verdict("unsure"), revision=0),
            lambda: journal.undo(revision=0),
            lambda: journal.redo(revision=7),
        ):
            with pytest.raises(StaleRevisionError, match="Nothing was overwritten"):
                late()
        assert journal.table()["scan-7.png", 1].verdict == "spurious"
        journal.record("realign", {"figures": {"accuracy": 0.9}})  # changes no value: edits go on
        journal.edit(a_verdict("unsure"), revision=1)
        assert [entry.revision for entry in journal.entries] == [0, 1, 1, 2]


def test_the_journal_says_who_when_and_from_what_to_what(tmp_path):
    with open_journal(tmp_path) as journal:
        journal.edit(a_verdict("spurious"), revision=0)
    record = json.loads((tmp_path / JOURNAL_FILE).read_text().splitlines()[-1])
    assert (record["action"], record["by"]) == ("edit", "ada")
    assert record["at"].endswith("+00:00")
    (change,) = record["changes"]
    assert (change["kind"], change["name"], change["segment"]) == ("verdict", "scan-7.png", 1)
    assert (change["from"]["verdict"], change["from"]["reason"]) == ("relevant", "It is the joint.")
    assert (change["to"]["verdict"], change["to"]["source"]) == ("spurious", "human")


def write_elsewhere(folder, word):
    table = VerdictTable.load(folder / TABLE_FILE)
    table.replace([SegmentVerdict("scan-7.png", 2, word)]).save(folder / TABLE_FILE)


def test_what_an_editor_wrote_into_the_table_is_taken_over(tmp_path):
    with open_journal(tmp_path) as journal:
        write_elsewhere(tmp_path, "unsure")
        with pytest.raises(StaleRevisionError):
            journal.edit(a_verdict("spurious"), revision=0)
        journal.edit(a_verdict("spurious"), revision=1)
    write_elsewhere(tmp_path, "spurious")
    with open_journal(tmp_path) as journal:
        assert [entry.action for entry in journal.entries] == ["start", "import", "edit", "import"]
        assert journal.table()["scan-7.png", 2].verdict == "spurious"
        journal.undo(revision=3)
        assert journal.table()["scan-7.png", 2].verdict == "unsure"


def test_a_table_for_other_segments_is_refused(tmp_path):
    with open_journal(tmp_path) as journal:
        VerdictTable((SegmentVerdict("scan-8.png", 1, "unsure"),)).save(tmp_path / TABLE_FILE)
        with pytest.raises(ValueError, match=r"critiqued in this run.*scan-8"):
            journal.edit(a_verdict("spurious"), revision=0)


def test_a_table_without_a_journal_is_where_the_review_starts(tmp_path):
    FOUND.replace([SegmentVerdict("scan-7.png", 1, "unsure")]).save(tmp_path / TABLE_FILE)
    with open_journal(tmp_path) as journal:
        assert journal.table()["scan-7.png", 1].verdict == "unsure"
        assert not journal.can_undo


def test_verdicts_on_another_run_s_segments_are_put_aside(tmp_path):
    example = {"critique": "It is the tag.", "verdict": "spurious", "note": ""}
    with open_journal(tmp_path) as journal:
        journal.edit(
            a_verdict() | {Address("description", "ill"): "The bone.", EXAMPLES: [example]}, revision=0
        )
    other = VerdictTable((SegmentVerdict("scan-7.png", 1, "unsure"),), {"ill": "The joint counts."})
    with open_journal(tmp_path, other, "two") as journal:
        kept = VerdictTable(other.verdicts, {"ill": "The bone."}, (JudgeExample(**example),))
        assert journal.table() == kept == VerdictTable.load(tmp_path / TABLE_FILE)
        assert not journal.can_undo


@pytest.mark.parametrize("value", [{"verdict": "maybe"}, {"word": "spurious"}, "spurious"])
def test_what_could_not_be_read_again_is_not_written(tmp_path, value):
    with open_journal(tmp_path) as journal:
        before = (tmp_path / JOURNAL_FILE).read_bytes()
        with pytest.raises((TypeError, ValueError)):
            journal.edit({Address("verdict", "scan-7.png", 1): value}, revision=0)
        assert (tmp_path / JOURNAL_FILE).read_bytes() == before
        assert journal.values == values_of(FOUND)


def test_a_damaged_line_is_named(tmp_path):
    open_journal(tmp_path).close()
    with (tmp_path / JOURNAL_FILE).open("ab") as stream:
        stream.write(b"junk\n")
    with pytest.raises(ValueError, match=r"line 2: damaged"):
        open_journal(tmp_path)
    with (tmp_path / JOURNAL_FILE).open("r+b") as stream:
        stream.truncate(stream.seek(-5, os.SEEK_END))
    open_journal(tmp_path).close()  # the lock was let go
    line = (tmp_path / JOURNAL_FILE).read_text()
    (tmp_path / JOURNAL_FILE).write_text(line + line.replace('"start"', '"undo"'))
    with pytest.raises(ValueError, match=r"line 2: does not follow"):
        open_journal(tmp_path)
