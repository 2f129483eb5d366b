"""A replay of recordings, started as a process of its own: prints what it came to as a digest."""

from __future__ import annotations

import sys
from pathlib import Path

from toys import dense

from evalkit import Service, cassette, replay, run
from evalkit.llm import Extractive
from evalkit.llm.latency.profiles import Profile
from evalkit.llm.modelled import Modelled
from evalkit.llm.replayed import Replayed
from evalkit.serving import Arrival, Cache, ClosedLoop
from evalkit.store import DiskStore
from evalkit.testing import tiny_dataset

COSTS = {"embed": 0.011, "search": 0.0031, "assemble": 0.0002}
MODEL = Modelled(
    Extractive(dense().retrieve.embedder, support=0.0),
    Profile(0.2, 0.001, 0.01, jitter_first=0.3, jitter_rate=0.2, jitter_gap=0.1),
)


def record(folder: Path) -> None:
    """Record every call that the replays need."""
    with cassette(folder / "c.jsonl.gz", store=DiskStore(folder / "store")) as recording:
        run(dense(generate=MODEL), tiny_dataset(), ["TokenF1"], store=recording)


def digest(folder: Path, kind: str) -> str:
    """Replay and return what all of it came to."""
    data, store = tiny_dataset(), DiskStore(folder / "store")
    replayed = Replayed(MODEL, str(folder / "c.jsonl.gz"))
    service = Service(dense(generate=replayed), (Cache(ttl=3.0),) if kind == "open" else ())
    arrivals = [
        Arrival(data.queries.text[i * 7 % 8], at=i * 0.05, user=f"u{i % 5}", tenant=f"t{i % 2}") for i in range(200)
    ]
    traffic = ClosedLoop(arrivals, users=13, think=0.3) if kind == "closed" else arrivals
    return replay(service, data, traffic, cost=COSTS, cores=2, store=store).digest


if __name__ == "__main__":
    print(digest(Path(sys.argv[1]), sys.argv[2]))
