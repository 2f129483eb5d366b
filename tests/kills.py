"""Kills a sweep with signal 9, over and over, and goes on with it on the same store.

As a script: ``python -m kills FOLDER KILLS SEED``. One process imports everything and forks one child a run, so that
a kill costs no start of an interpreter. ``FOLDER`` then holds ``undisturbed`` and the numbered rounds of kills, each
with ``store``, ``results`` and ``calls.jsonl``; printed are the kills of every round.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import random
import signal
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from toys import ByOverlap, HashedWords, Overlap, dense, hybrid, pieces

from evalkit import Sweep, run
from evalkit.evaluate import nodes
from evalkit.stages import Dense, Whole
from evalkit.store import DiskStore, Journal, disk, files
from evalkit.store.verify import verify
from evalkit.testing import tiny_dataset
from evalkit.values import Answer, Chunks, Prompt, Queries, Vectors

METRICS = ["MRR@10", "TokenF1"]
PAUSE = 0.015
_NEEDED_BY_A_RUN = (
    "bm25s", "dask.callbacks", "dask.threaded", "faiss", "pandas", "pyarrow.parquet", "scipy.stats", "tqdm.auto",
)  # fmt: skip

last = threading.local()
"""What this thread has paid for and not yet seen kept."""


@dataclass
class Fate:
    """Where the process dies by its own hand: at the `number`-th time that it comes to a place."""

    place: str = ""
    number: int = 0
    calls: Path | None = None

    def comes_to(self, place: str) -> bool:
        """Whether this is the time."""
        if place == self.place:
            self.number -= 1
        return place == self.place and self.number == 0

    def __call__(self, place: str) -> None:
        if self.comes_to(place):
            os.kill(os.getpid(), signal.SIGKILL)

    def note(self, what: str, names: Sequence[str]) -> None:
        """Write a line a name, at once."""
        if self.calls is not None:
            handle = os.open(self.calls, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(handle, "".join(json.dumps([what, name]) + "\n" for name in names).encode())
            os.close(handle)


fate = Fate()
PLACES = (
    "a file is opened", "in mid-file", "before its name", "with its name", "before a row is committed",
    "after a row is committed", "in a paid call",
)  # fmt: skip


@dataclass(frozen=True)
class Paid:
    """A generator whose answer is another one for every prompt."""

    version: ClassVar[int] = 1
    stage: ClassVar[str] = "generate"

    async def __call__(self, prompt: Prompt, sample: int, clock: Any) -> Answer:
        text = "\n".join([prompt.question, *prompt.passages])
        answer = f"{(prompt.passages or ('nothing',))[0]} [{zlib.crc32(text.encode()):08x}]"
        fate.note("asked", [answer])
        await asyncio.sleep(0.001)
        fate("in a paid call")
        return Answer(answer, tuple(dict.fromkeys(prompt.sources)))


@dataclass(frozen=True)
class PaidWords(HashedWords):
    """An embedder whose vectors are kept by text."""

    batch_size: int = 3

    version: ClassVar[int] = 1
    journalled: ClassVar[bool] = True

    def __call__(self, texts: Chunks | Queries) -> Vectors:
        column = texts.text if isinstance(texts, Queries) else texts.searched
        last.names = [f"{type(texts).__name__} {self.dimensions} {text}" for text in column]
        fate.note("asked", last.names)
        time.sleep(PAUSE)
        fate("in a paid call")
        return super().__call__(texts)


class PaidOverlap(Overlap):
    """Scores that are paid for."""

    def score(self, pairs: Sequence[tuple[str, str]]) -> Any:
        last.names = [f"{a}\0{b}" for a, b in pairs]
        fate.note("asked", last.names)
        time.sleep(PAUSE)
        fate("in a paid call")
        return super().score(pairs)


class ByPaidOverlap(ByOverlap):
    """Ranks by `PaidOverlap`."""

    scorer: ClassVar[type[Overlap]] = PaidOverlap


SWEEP = Sweep(
    dense(generate=Paid()),
    {
        "chunk": [Whole(), pieces()],
        "retrieve": [hybrid().retrieve, Dense(PaidWords())],
        "retrieve.k": [2, 5],
        "rerank": [None, ByPaidOverlap(k=3)],
    },
)


class Torn:
    """A file of which half of a write is on the disk when the process dies."""

    def __init__(self, file: Any) -> None:
        self.file, self.name = file, file.name

    def write(self, data: Any) -> None:
        if fate.comes_to("in mid-file"):
            self.file.write(bytes(data)[: len(data) // 2])
            self.file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        self.file.write(data)


def set_traps() -> None:
    """Let this process come past the places where it may die, and note what the journal has kept."""
    write, record_all = Journal.writing, DiskStore.record_all

    @contextmanager
    def written(path: Path) -> Iterator[Any]:
        with files.written(path) as file:
            fate("a file is opened")
            yield Torn(file)
            file.flush()
            fate("before its name")
        fate("with its name")

    @contextmanager
    def writing(journal: Journal) -> Iterator[Any]:
        with write(journal) as connection:
            yield connection
            fate("before a row is committed")
        fate("after a row is committed")

    def keep(store: DiskStore, entries: Any) -> None:
        names = [entry["text"] for entry in entries.values() if "text" in entry] or list(last.names)
        record_all(store, entries)
        fate.note("kept", names)

    disk.written, Journal.writing, DiskStore.record_all = written, writing, keep  # type: ignore[method-assign]


def child(folder: Path, place: str = "", number: int = 0) -> int:
    """Start a run in a process of its own; return its id."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        folder.mkdir(exist_ok=True)
        fate.place, fate.number, fate.calls = place, number, folder / "calls.jsonl"
        set_traps()
        nodes.QUERY_BLOCK, nodes.CORPUS_BLOCK = 3, 5
        results = run(SWEEP, tiny_dataset(), METRICS, store=DiskStore(folder / "store"))
        results.save(folder / "results")
        (folder / "digest").write_text(results.digest)
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def ended_well(pid: int) -> bool:
    """Wait for a run: False where it was killed."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code not in (0, -signal.SIGKILL):
        raise SystemExit(f"a run ended with {code}")
    return code == 0


def main(folder: Path, kills: int, seed: int) -> None:
    for module in _NEEDED_BY_A_RUN:
        importlib.import_module(module)
    started = time.monotonic()
    if not ended_well(child(folder / "undisturbed")):
        raise SystemExit("killed by somebody else")
    duration = time.monotonic() - started
    rng, rounds, done = random.Random(seed), [[]], 0
    order = [place for _ in range(kills) for place in rng.sample([*PLACES, *["at a moment"] * 5], k=12)]
    while done < kills:
        place = order.pop()
        if place == "at a moment":
            number, pid = 0, child(folder / str(len(rounds)))
            time.sleep(rng.uniform(0, duration))
            os.kill(pid, signal.SIGKILL)
        else:
            number = rng.randint(1, 25)
            pid = child(folder / str(len(rounds)), place, number)
        if ended_well(pid):
            rounds.append([])
            continue
        done += 1
        store = DiskStore(folder / str(len(rounds)) / "store")
        rounds[-1].append({"place": place, "number": number, "leftovers": len(list(store.layout.leftovers()))})
        if done % 2:  # else the next run finds the journal as the killed one has left it
            rounds[-1][-1]["damaged"] = verify(store).damaged
            store.journal.close()
    if rounds[-1]:
        ended_well(child(folder / str(len(rounds))))
    print(json.dumps({"seconds": duration, "rounds": [found for found in rounds if found]}))


if __name__ == "__main__":
    kills = importlib.import_module("kills")  # under the name that the identity of its components has everywhere
    kills.main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
