"""What a semantic look-up costs: exact and approximate, beside GPTCache on SQLite and FAISS in the same process.

Run ``python benchmarks/semantic_cache.py [--gptcache FOLDER]``. The folder is what ``pip install --target FOLDER
gptcache`` fills; without it, and where GPTCache is not installed, the same look-up is done the way GPTCache does it:
its ``IDMap,Flat`` index of L2 distances, the row and its answers from SQLite. The table says which of the two it was.

Entries are vectors of paragraphs, as in ``benchmarks/indexes.py``. Half of the questions are entries that were
disturbed, so that their cosine to the entry is from 0.85 to 1 (what a cache gives); the other half are paragraphs
that no entry was made from (what it does not). A look-up is all that lies between a question's vector and the value:
the nearest entry, the entry's bytes from the state, their check, the answer. For GPTCache it is `search`,
`get_scalar_data` and its distance evaluation, as its adapter does them.

FAISS works on one thread, and all is timed by the process's own clock, so that other work on the machine counts
little and no thread goes uncounted; peers take turns on the same questions. The indexes are also timed by themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from indexes import embedded, paragraphs

from evalkit.clock import WallClock
from evalkit.columns import Ragged, Strings
from evalkit.serving.keeping.kept import Kept, lay
from evalkit.serving.keeping.keys import hashed
from evalkit.serving.layers.semantic import SemanticCache
from evalkit.serving.semantic.decisions import Threshold
from evalkit.serving.semantic.entries import Entries
from evalkit.serving.semantic.index import Exact, Graph, VectorIndex
from evalkit.serving.state.base import Entry, Storage
from evalkit.serving.state.memory import Memory
from evalkit.serving.state.sqlite import SQLite
from evalkit.values import Answers, Vectors

ENTRIES, BESIDE_GPTCACHE, QUESTIONS = 100_000, 20_000, 400
WANTED_APPROXIMATE, WANTED_EXACT, WANTED_RATIO = 1.0, 6.0, 10.0
PART = hashed("a scope")
ANSWER = "The fee for a transfer abroad is three percent of the amount, at least two euros; see the list of prices. "


class Alone:
    """What a cache needs of a service: nothing comes in, nothing goes."""

    fingerprint, run = hashed("benchmark"), ""

    def __init__(self) -> None:
        self.clock = WallClock()
        self.now = self.clock.now

    def at_ingestion(self, told: Any) -> None:
        """Nothing comes in."""

    def at_end(self, close: Any) -> None:
        """The process ends it."""


class Question:
    """What a look-up needs of a request."""

    corpus, number = "", 0

    def __init__(self, clock: WallClock) -> None:
        self.clock = clock


def questions(vectors: np.ndarray, strangers: np.ndarray) -> np.ndarray:
    """Return disturbed entries and strangers, in turn."""
    rng = np.random.default_rng(0)
    half = QUESTIONS // 2
    near = vectors[rng.permutation(len(vectors))[:half]]
    noise = rng.standard_normal(near.shape).astype(np.float32)
    noise -= (noise * near).sum(axis=1, keepdims=True) * near
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    cosines = rng.uniform(0.85, 1, (half, 1)).astype(np.float32)
    asked = np.empty((2 * half, near.shape[1]), np.float32)
    asked[::2] = cosines * near + np.sqrt(1 - cosines**2) * noise
    asked[1::2] = strangers[:half]
    return asked / np.linalg.norm(asked, axis=1, keepdims=True)


def took(work: Callable[[np.ndarray], Any], asked: np.ndarray) -> list[float]:
    """Return the milliseconds of every question."""
    found = []
    for vector in asked:
        start = time.process_time()
        work(vector)
        found.append((time.process_time() - start) * 1e3)
    return found


def line(name: str, ms: Sequence[float], more: str = "") -> None:
    p50, p95 = np.quantile(ms, [0.5, 0.95])
    print(f"{name:52}{p50:9.3f}{p95:9.3f}   {more}", flush=True)


async def filled(storage: Storage, make: Callable[[], VectorIndex], vectors: np.ndarray) -> tuple[Entries, Question]:
    """Return the entries of a cache that has met every question, read from its state as after a restart."""
    serving: Any = Alone()
    kept = Kept(SemanticCache(storage=storage, rule=Threshold(0.95)), serving)
    made = serving.now()
    for i, vector in enumerate(vectors):
        about = {"question": f"question {i}", "tenant": "", "corpus": "", "part": PART}
        answer = Answers(Strings.of([f"{ANSWER}{i}"]), Ragged.of([["a document"]]))
        entry = Entry(lay(about, [answer, Vectors(vector[None])]), made + i * 1e-9, 86_400.0, ("a document",), str(i))
        await kept.state.put(hashed(PART, f"question {i}"), entry)
    question = Question(serving.clock)
    entries = Entries(kept, serving, make)
    await entries.nearest(PART, vectors[0], question)  # type: ignore[arg-type]
    return entries, question


def look_up(entries: Entries, question: Any) -> Callable[[Any], Coroutine[Any, Any, str | None]]:
    """Return a whole look-up: the answer of the nearest entry, if it is near enough."""
    rule = Threshold(0.95)

    async def look(vector: np.ndarray) -> str | None:
        near = await entries.nearest(PART, vector, question)
        return near[0].values[0].text[0] if near is not None and rule.chance(near[1]) else None

    return look


async def raced(
    ours: dict[str, Callable[[Any], Coroutine[Any, Any, str | None]]],
    peer: str,
    theirs: Callable[[np.ndarray], str | None],
    asked: np.ndarray,
) -> tuple[dict[str, list[float]], dict[str, list[str | None]]]:
    """Let all take turns on every question; returns the milliseconds and the answers of each."""
    everyone = (peer, *ours)
    ms: dict[str, list[float]] = {name: [] for name in everyone}
    given: dict[str, list[str | None]] = {name: [] for name in everyone}
    for turn in range(2):  # the first one warms up
        for vector in asked:
            for name in everyone:
                start = time.process_time()
                answer = theirs(vector) if name == peer else await ours[name](vector)
                if turn:
                    ms[name].append((time.process_time() - start) * 1e3)
                    given[name].append(answer)
    return ms, given


def gptcache(folder: str | None, vectors: np.ndarray, place: Path) -> tuple[str, Callable[[np.ndarray], Any]]:
    """Return GPTCache's look-up in SQLite and FAISS, or one written the way it does it."""
    if folder is not None:
        sys.path.append(folder)  # behind all else: it brings a NumPy of its own
    try:
        from gptcache.manager import CacheBase, VectorBase, get_data_manager
        from gptcache.similarity_evaluation import SearchDistanceEvaluation
    except ImportError as error:
        return f"the way GPTCache does it ({error})", _by_hand(vectors, place)
    manager = get_data_manager(
        CacheBase("sqlite", sql_url=f"sqlite:///{place / 'gptcache.db'}"),
        VectorBase("faiss", dimension=vectors.shape[1], index_path=str(place / "gptcache.index")),
        max_size=10 * len(vectors),
    )
    for start in range(0, len(vectors), 1_000):
        rows = range(start, min(start + 1_000, len(vectors)))
        manager.import_data(
            [f"question {i}" for i in rows],
            [f"{ANSWER}{i}" for i in rows],
            [vectors[i] for i in rows],
            [None] * len(rows),
        )
    evaluation = SearchDistanceEvaluation()
    low, high = evaluation.range()

    def look(vector: np.ndarray) -> str | None:
        for found in manager.search(vector) or ():
            data = manager.get_scalar_data(found)
            rank = evaluation.evaluation({"question": ""}, {"search_result": found})
            if data is not None and rank >= (high - low) * 0.975:  # squared L2 of 0.1: a cosine of 0.95
                manager.hit_cache_callback(found)
                return str(data.answers[0].answer)
        return None

    return "GPTCache, SQLite + FAISS", look


def _by_hand(vectors: np.ndarray, place: Path) -> Callable[[np.ndarray], Any]:
    base = sqlite3.connect(place / "byhand.db")
    base.executescript(
        "create table question (id integer primary key, text, vector blob); create table answer (question, text);"
        "create index answers on answer (question)"
    )
    rows = enumerate(vectors)
    base.executemany("insert into question values (?, ?, ?)", [(i, f"question {i}", v.tobytes()) for i, v in rows])
    base.executemany("insert into answer values (?, ?)", [(i, f"{ANSWER}{i}") for i in range(len(vectors))])
    base.commit()
    index = faiss.index_factory(vectors.shape[1], "IDMap,Flat", faiss.METRIC_L2)
    index.add_with_ids(vectors, np.arange(len(vectors)))

    def look(vector: np.ndarray) -> str | None:
        distance, ids = index.search(vector[None], 1)
        row = int(ids[0, 0])
        base.execute("select text, vector from question where id = ?", (row,)).fetchone()
        answer = base.execute("select text from answer where question = ?", (row,)).fetchone()
        return str(answer[0]) if distance[0, 0] <= 0.1 else None

    return look


def searches(vectors: np.ndarray, asked: np.ndarray) -> list[bool]:
    """Time the indexes by themselves, and compare what they find."""
    print(f"\n{'the index alone, ' + format(len(vectors), ',') + ' entries':52}{'p50 ms':>9}{'p95 ms':>9}")
    indexes: dict[str, VectorIndex] = {"exact": Exact(), "hnsw (M 16, ef_construction 64, ef 40)": Graph()}
    indexes["hnsw, ef 160"] = Graph(ef=160)
    found, p50 = {}, {}
    for name, index in indexes.items():
        start = time.process_time()
        index.add_all((f"{i:06}", float(i), vector) for i, vector in enumerate(vectors))
        built = time.process_time() - start
        found[name] = [index.nearest(vector)[0] for vector in asked]
        ms = took(index.nearest, asked)
        p50[name] = float(np.median(ms))
        line(name, ms, f"built in {built:.1f} s; {missed(found['exact'], found[name])}")
    brute = [float(np.max(vectors @ vector)) for vector in asked]
    off = max(abs(near.similarity - best) for near, best in zip(found["exact"], brute, strict=True))
    print(f"exact beside a scan in float32: at most {off:.1e} apart, which is rounding")
    approximate = p50["hnsw (M 16, ef_construction 64, ef 40)"]
    return [
        told(approximate <= WANTED_APPROXIMATE, f"approximate look-up, p50 {approximate:.2f} ms", WANTED_APPROXIMATE),
        told(p50["exact"] <= WANTED_EXACT, f"exact look-up, p50 {p50['exact']:.2f} ms", WANTED_EXACT),
    ]


def missed(exact: Sequence[Any], found: Sequence[Any]) -> str:
    """Say how many of the hits that exact search gives an index misses."""
    texts = []
    for at in (0.95, 0.9, 0.8):
        hits = [i for i, near in enumerate(exact) if near.similarity >= at]
        lost = sum(found[i].similarity < at for i in hits)
        texts.append(f"{lost}/{len(hits)}")
    same = sum(a.key == b.key for a, b in zip(exact, found, strict=True))
    return f"hits missed at 0.95, 0.9, 0.8: {', '.join(texts)}; same nearest entry {same}/{len(exact)}"


def layers(vectors: np.ndarray, asked: np.ndarray, folder: str | None) -> list[bool]:
    """Time whole look-ups beside GPTCache's."""
    print(f"\n{'the whole look-up, ' + format(len(vectors), ',') + ' entries':52}{'p50 ms':>9}{'p95 ms':>9}")
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        peer, theirs = gptcache(folder, vectors, place)

        async def all_of_them() -> tuple[dict[str, list[float]], dict[str, list[str | None]]]:
            ours = {}
            for index, make in (("exact", Exact), ("hnsw", Graph)):
                file = SQLite(path=str(place / f"{index}.sqlite"))
                for kind, storage in (("memory", Memory(max_bytes=10**9)), ("SQLite", file)):
                    ours[f"evalkit, {kind}, {index}"] = look_up(*await filled(storage, make, vectors))
            return await raced(ours, peer, theirs, asked)

        ms, given = asyncio.run(all_of_them())
    for name in ms:
        same = sum(a == b for a, b in zip(given[name], given[peer], strict=True))
        hits = sum(answer is not None for answer in given[name])
        ratio = np.median(ms[peer]) / np.median(ms[name])
        line(name, ms[name], f"{ratio:5.1f} times as fast; {hits} hits, {same}/{len(asked)} answers as {peer}")
    if not peer.startswith("GPTCache"):
        print("not measured: GPTCache itself, whose look-up takes several times as long as its parts")
        return []
    alike = float(np.median(ms[peer]) / np.median(ms["evalkit, SQLite, hnsw"]))
    return [told(alike >= WANTED_RATIO, f"on SQLite {alike:.1f} times as fast as {peer}", WANTED_RATIO)]


def told(good: bool, what: str, wanted: float) -> bool:
    print(f"{'met:   ' if good else 'MISSED:'} {what} (wanted: {wanted:g})")
    return good


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--gptcache", metavar="FOLDER")
    arguments = reader.parse_args()
    faiss.omp_set_num_threads(1)
    texts = paragraphs()
    chosen = np.random.default_rng(0).permutation(len(texts))[: ENTRIES + QUESTIONS]
    vectors = embedded([texts[i] for i in chosen])
    vectors, strangers = np.ascontiguousarray(vectors[:ENTRIES]), vectors[ENTRIES:]
    searches(vectors, questions(vectors, strangers))
    few = vectors[:BESIDE_GPTCACHE]
    layers(few, questions(few, strangers), arguments.gptcache)


if __name__ == "__main__":
    main()
