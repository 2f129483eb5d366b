"""How fast a large corpus streams in, and in how much memory, in BEIR's and in the native format.

Run ``python benchmarks/loading.py [megabytes]``. A corpus of running text is written to a temporary folder: documents
of about 1.5 kB, in no order of their ids, with titles and metadata; one in five holds words that are not ASCII, which
BEIR's files write as escapes and native ones as UTF-8. A fresh process loads it. Peak memory is that of the first
load, less what the interpreter holds with evalkit imported. Then loads and a bare loop of ``json.loads`` over the
same file's lines, which keeps nothing, take turns: the speed is the best round's, the ratio the median of the rounds'
ratios. A load keeps one core busy; where others want it too, the speed by processor time says what it would be.
"""

from __future__ import annotations

import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import evalkit as ek

ROOT = Path(__file__).parents[1]
WANTED_SPEED, WANTED_MEMORY = 50, 3
MEGABYTE = 1_000_000
ROUNDS, SIZE, QUERIES = 5, 1_400, 100
FOREIGN = ("Größe", "café", "naïve", "Łódź", "Ελλάδα", "Москва", "東京", "façade", "jalapeño", "𝄞", "€", "ångström")


def sentences() -> list[str]:
    """What the handbook's documents and, where the shared public data are, SciFact's abstracts are made of."""
    shared = ROOT.parent / "shared" / "data" / "scifact" / "corpus.jsonl"
    files = [ROOT / "datasets" / "handbook" / "documents.jsonl", *([shared] if shared.is_file() else [])]
    rows = (json.loads(line) for file in files for line in file.open(encoding="utf-8"))
    return [part.strip() for row in rows for part in row["text"].split(". ") if part.strip()]


def documents(size: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Documents of about `size` bytes in all."""
    rng, pool, written, number = random.Random(seed), sentences(), 0, 0
    while written < size:
        parts: list[str] = []
        while sum(map(len, parts)) < SIZE:
            parts.append(rng.choice(pool))
        text = ". ".join(parts) + "."
        if number % 5 == 0:
            words = text.split(" ")
            for _ in range(10):
                words[rng.randrange(len(words))] = rng.choice(FOREIGN)
            text = " ".join(words)
        year, kind = rng.randint(1990, 2026), rng.choice(("policy", "report", "abstract"))
        yield {
            "id": f"{rng.randrange(16**8):08x}-{number}",
            "title": rng.choice(pool)[:60],
            "text": text,
            "metadata": {"year": year, "type": kind, "tags": rng.sample(FOREIGN, 2)},
        }
        written += len(text) + 200
        number += 1


def write(folder: Path, form: str, size: int) -> Path:
    """Write a data set in one format; return the file of its corpus."""
    beir = form == "BEIR"
    (folder / "qrels").mkdir(parents=True)
    corpus = folder / ("corpus.jsonl" if beir else "documents.jsonl")
    key, known = ("_id" if beir else "id"), []
    with corpus.open("w", encoding="utf-8") as file:
        for row in documents(size):
            known.append(row["id"])
            record = {key: row["id"]} | {name: value for name, value in row.items() if name != "id"}
            file.write(json.dumps(record, ensure_ascii=beir) + "\n")
    asked = [f"q{i}" for i in range(QUERIES)]
    lines = (json.dumps({key: query, "text": f"What is known of {query}?"}) + "\n" for query in asked)
    (folder / "queries.jsonl").write_text("".join(lines), encoding="utf-8")
    judged = "".join(f"{query}\t{name}\t1\n" for query, name in zip(asked, known, strict=False))
    (folder / ("qrels/test.tsv" if beir else "qrels.tsv")).write_text("query-id\tcorpus-id\tscore\n" + judged)
    return corpus


def peak() -> int:
    """Bytes that this process has held at most."""
    status = Path("/proc/self/status")  # on Linux, a process inherits its parent's ru_maxrss
    if status.exists():
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held if sys.platform == "darwin" else 1024 * held


def bare(corpus: Path) -> None:
    with corpus.open("rb") as file:
        for line in file:
            json.loads(line)


def measure(corpus: Path) -> dict[str, float]:
    """Load a corpus in this process: peak memory, then seconds."""
    before = peak()
    count = len(ek.load_dataset(corpus.parent).documents)
    memory = peak() - before
    runs = {"bare": lambda: bare(corpus), "load": lambda: ek.load_dataset(corpus.parent)}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            start, worked = time.perf_counter(), time.process_time()
            run()
            times[name].append((time.perf_counter() - start, time.process_time() - worked))
    seconds, worked = (min(taken) for taken in zip(*times["load"], strict=True))
    ratio = statistics.median(a[0] / b[0] for a, b in zip(times["load"], times["bare"], strict=True))
    return {"documents": count, "memory": memory, "seconds": seconds, "worked": worked, "ratio": ratio}


def report(form: str, corpus: Path) -> None:
    command = [sys.executable, __file__, "--measure", str(corpus)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    size = corpus.stat().st_size
    speed, memory = size / MEGABYTE / found["seconds"], found["memory"] / size
    print(f"\n{form}: {size / MEGABYTE:.0f} MB, {found['documents']:,} documents")
    print(f"{_mark(speed >= WANTED_SPEED)} {speed:.0f} MB/s (wanted: {WANTED_SPEED})")
    print(f"        {size / MEGABYTE / found['worked']:.0f} MB in a second of processor time")
    print(f"        {found['ratio']:.2f} times as long as a bare json.loads of every line")
    print(f"{_mark(memory < WANTED_MEMORY)} peak memory {memory:.2f} times the file's size (wanted: {WANTED_MEMORY})")


def _mark(good: bool) -> str:
    return "MET:   " if good else "MISSED:"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(Path(sys.argv[2]))))
    else:
        megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 100
        with tempfile.TemporaryDirectory() as place:
            for form in ("BEIR", "native"):
                report(form, write(Path(place) / form, form, megabytes * MEGABYTE))
