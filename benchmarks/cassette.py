"""A cassette of 100,000 calls: what one call takes to be found, and what memory all of them take.

Run ``python benchmarks/cassette.py [calls N]``; without arguments 10,000 and 100,000, each in a process of its own.
Every call has a prompt of five passages, some three thousand characters, and the times of sixty pieces. Measured are
opening (reading, checking and indexing, once a process), one call at a time by key in random order, through
`Cassette.recall` and through a `Replayed` generator, the growth of the process's peak of memory over what it was
before, and how long a miss takes to find what is nearest to it. Beside it, in turns with it: the same
rows in a bare SQLite table, read with one statement a key and ``json.loads``. The rows' content is drawn from a seed.
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from evalkit.calls import Call, TokenUsage
from evalkit.clock import BatchClock
from evalkit.llm.call_keys import asked, call_key
from evalkit.llm.cassettes import Cassette, Rows, missed, write, write_row
from evalkit.llm.replayed import Replayed
from evalkit.memo import forgotten
from evalkit.types import Clock
from evalkit.values import Answer, Prompt

SIZES = (10_000, 100_000)
PASSAGES, PIECES = 5, 60
LOOKED_UP, ROUNDS = 5_000, 9
WANTED_US, WANTED_MB = 1_000.0, 64.0
WORDS = "amber birch cedar delta ember fjord grove heath inlet jetty knoll ledge marsh north ocean pearl quartz"


@dataclass(frozen=True)
class Model:
    """A model that was recorded."""

    model: str = "claude-haiku-5-5"

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    async def __call__(self, prompt: Prompt, sample: int, clock: Clock) -> Answer:
        """Never."""
        raise AssertionError(prompt.question)


def prompt(i: int) -> Prompt:
    draw = random.Random(i)
    passages = tuple(" ".join(draw.choices(WORDS.split(), k=100)) for _ in range(PASSAGES))
    sources = tuple(f"d{draw.randrange(10_000)}" for _ in range(PASSAGES))
    return Prompt(
        f"What is said of {' and '.join(draw.choices(WORDS.split(), k=3))} in case {i}?", ("",) * 5, passages, sources
    )


def entry(i: int) -> dict[str, Any]:
    draw = random.Random(-i)
    pieces = tuple(round(0.3 + 0.01 * n + draw.random() / 1000, 6) for n in range(PIECES))
    usage = TokenUsage(input=900, output=PIECES)
    call = Call("claude-haiku-5-5", usage, pieces, 0, 1.0, request_id=f"req_{i}", day="2026-11-20")
    text = " ".join(draw.choices(WORDS.split(), k=PIECES))
    return {**Answer(text, ("d1",), call).plain(), **asked(Model(), prompt(i), 0)}


def record(path: Path, calls: int) -> None:
    rows = Rows()
    rows.add((key, "", write_row(key, made)) for key, made in entries(calls))
    write(path, lambda: rows)


def entries(calls: int) -> Iterator[tuple[str, dict[str, Any]]]:
    for i in range(calls):
        yield call_key(Model(), prompt(i), 0), entry(i)


def peak_mb() -> float:
    """Peak of this process's memory in megabytes."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def us_a_call(looks: Mapping[str, Callable[[str], Any]], keys: list[str]) -> dict[str, float]:
    """Microseconds a call of each way to look: the median of rounds in which they take turns, warmed up."""
    for look in looks.values():
        for key in keys:
            look(key)
    took: dict[str, list[float]] = {name: [] for name in looks}
    for start in range(0, len(keys), len(keys) // ROUNDS):
        part = keys[start : start + len(keys) // ROUNDS]
        for name, look in looks.items():
            begun = time.perf_counter_ns()
            with forgotten():  # else a look into the process's memory is timed
                for key in part:
                    look(key)
            took[name].append((time.perf_counter_ns() - begun) / len(part) / 1e3)
    return {name: statistics.median(rounds) for name, rounds in took.items()}


def one(path: Path, calls: int) -> dict[str, float]:
    """Measure one cassette in this process."""
    numbers = random.Random(1).choices(range(calls), k=LOOKED_UP)
    prompts = {call_key(Model(), made, 0): made for made in map(prompt, numbers)}
    keys = list(prompts)
    keys = (keys * (LOOKED_UP // len(keys) + 1))[:LOOKED_UP]
    before, begun = peak_mb(), time.perf_counter()
    cassette = Cassette.open(path)
    opened = time.perf_counter() - begun
    replayed, clock, loop = Replayed(Model(), str(path)), BatchClock(), asyncio.new_event_loop()
    looks: dict[str, Callable[[str], Any]] = {
        "recall": lambda key: cassette.recall([key])[key],
        "replayed": lambda key: loop.run_until_complete(replayed(prompts[key], 0, clock)),
    }
    us_a_call(looks, keys)
    grown = peak_mb() - before
    with tempfile.TemporaryDirectory() as folder:
        bare = sqlite3.connect(Path(folder) / "bare")
        bare.execute("PRAGMA journal_mode=OFF")
        bare.execute("CREATE TABLE rows (key TEXT PRIMARY KEY, row TEXT NOT NULL)")
        bare.executemany("INSERT INTO rows VALUES (?, ?)", ((key, row) for key, _, row in cassette.rows))
        bare.commit()
        select = "SELECT row FROM rows WHERE key = ?"
        looks["bare"] = lambda key: json.loads(bare.execute(select, (key,)).fetchone()[0])
        took = us_a_call(looks, keys)
        bare.close()
    loop.close()
    begun = time.perf_counter()
    missed(cassette, asked(Model("claude-opus-5"), prompt(calls + 1), 0))
    return {
        "file_mb": path.stat().st_size / 1e6,
        "open_s": opened,
        "grown_mb": grown,
        "miss_s": time.perf_counter() - begun,
        **took,
    }


def main() -> None:
    if sys.argv[1:2] == ["one"]:
        print(json.dumps(one(Path(sys.argv[2]), int(sys.argv[3]))))
        return
    sizes = (int(sys.argv[2]),) if sys.argv[1:2] == ["calls"] else SIZES
    print("calls     file     open     recall   replayed  sqlite+json  ratio  memory   a miss")
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            path = Path(folder) / f"{size}.jsonl.gz"
            record(path, size)
            made = subprocess.run(
                [sys.executable, __file__, "one", str(path), str(size)], capture_output=True, text=True, check=True
            )
            row = json.loads(made.stdout)
            print(
                f"{size:<8,} {row['file_mb']:4.0f} MB {row['open_s']:6.1f} s {row['recall']:7.0f} µs "
                f"{row['replayed']:7.0f} µs {row['bare']:9.0f} µs {row['recall'] / row['bare']:6.2f} "
                f"{row['grown_mb']:+4.0f} MB {row['miss_s']:6.1f} s"
            )
            if row["replayed"] > WANTED_US or row["grown_mb"] > WANTED_MB:
                print(f"  wanted: under {WANTED_US:.0f} µs a call and {WANTED_MB:.0f} MB more")


if __name__ == "__main__":
    main()
