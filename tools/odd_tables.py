"""Label tables and verdict tables as people leave them: read as they are meant, or refused with the file's name.

``python -m tools.odd_tables --seed 0 --count 1000`` prints how many were read and refused, and every fault. What a
table means is found a second time here, slowly and sharing no line with the library; a table that was only written in
another way must be read.
"""

from __future__ import annotations

import argparse
import codecs
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tools.odd_label_tables import LabelTables
from tools.odd_verdict_tables import VerdictTables

JUNK = [
    b'"', b",", b";", b"\t", b"\n", b"\r", b"\x00", b"\xff", b"\xef\xbb\xbf", b" ", b"\\", b"{", b"}", b"[", b"]", b":",
    b"'", b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"null", b"true", b"\xe2\x80\x9c", b"// ", b"\x81", b"\\ud83d",
]  # fmt: skip


def damaged(chance: random.Random, data: bytes) -> bytes:
    """Return bytes after what an editor, a bad disk or a slip of the hand may do to them."""
    place, end = sorted(chance.choices(range(len(data) + 1), k=2))
    return chance.choice(
        [
            data[:place],
            data[:place] + data[end:],
            data[:place] + chance.choice(JUNK) + data[place:],
            data[:place] + chance.choice(JUNK) + data[place + 1 :],
            data[:place] + data[place : place + 1].swapcase() + data[place + 1 :],
            data[:end] + data[place:],
            data.replace(b'"', b"'"),
            data.replace(b",", b", "),
            codecs.BOM_UTF8 + data,
            data.decode("utf-8", "replace").encode(chance.choice(["utf-16", "utf-16-le"])),
            data.decode("utf-8", "replace").encode("cp1252", "replace"),
        ]
    )


def ends(seed: int, count: int) -> Iterator[tuple[str, str]]:
    """Yield how each table ended: read, refused, or what is wrong; and the table, for a fault.

    Parameters
    ----------
    seed : int
        Of everything random.
    count : int
        How many tables, every other one of verdicts.
    """
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        makers: list[LabelTables | VerdictTables] = [LabelTables(Path(folder)), VerdictTables(Path(folder))]
        for number in range(count):
            maker = makers[number % 2]
            data, odd = maker.make(chance)
            if chance.random() < 0.3:
                data, odd = damaged(chance, data), True
            maker.file.write_bytes(data)
            one_hot = chance.random() < 0.3
            end = _end(maker, one_hot, odd)
            yield f"{maker.file.stem} {end}", f"{number} of seed {seed}, one-hot {one_hot}: {data[:1500]!r}"


def _end(maker: LabelTables | VerdictTables, one_hot: bool, odd: bool) -> str:
    meanings = maker.meanings(one_hot)
    try:
        read = maker.read(one_hot)
    except (ValueError, TypeError, FileNotFoundError) as error:
        if str(maker.file) not in str(error):
            return f"BAD: does not name the file: {error}"
        return "refused" if odd else f"BAD: refused though not odd: {error}"
    except Exception as error:
        return f"BAD: {error!r}"
    return "read" if read in meanings else f"BAD: read as {read}, not as {meanings}"


def main() -> None:
    """Try tables as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    for end, table in ends(options.seed, options.count):
        counts[end.partition(":")[0]] += 1
        if "BAD" in end:
            print(f"{end[:1000]} ({table})")  # noqa: T201
    for end, count in sorted(counts.items()):
        print(f"{count:6} {end}")  # noqa: T201
    raise SystemExit(any("BAD" in end for end in counts))


if __name__ == "__main__":
    main()
