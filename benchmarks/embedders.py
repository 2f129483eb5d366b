"""How fast evalkit's embedders are, beside torch and beside ONNX Runtime called directly, in the same process.

Run ``python benchmarks/embedders.py [documents]``. The texts are the handbook's and, where the shared public data
are, SciFact's abstracts. Contestants take turns; a ratio is the median of the rounds' ratios, so that a busy moment
of the machine, which hits neighbours alike, changes it little.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from evalkit import stages
from evalkit.datasets import load_dataset
from evalkit.stages import SentenceTransformer, models
from evalkit.stages.embed.export import exported, quantised
from evalkit.stages.embed.onnx import ONNX

ROOT = Path(__file__).parents[1]
PLACES = {"handbook": ROOT / "datasets" / "handbook", "SciFact": ROOT.parent / "shared" / "data" / "scifact"}
ROUNDS, TURNS = 5, 10
Embed = Callable[[list[str]], Any]
Times = dict[str, list[float]]


def texts_of(place: Path, wanted: int) -> tuple[list[str], list[str]]:
    """Documents from all over a data set, and its queries."""
    data = load_dataset(place)
    whole = list(stages.Whole()(data.documents).searched)
    return whole[:: max(1, len(whole) // wanted)][:wanted], list(data.queries.text)[:wanted]


def directly(file: Path) -> Embed:
    """ONNX Runtime and a tokenizer by hand: the same graph, the same options, the same work."""
    from onnxruntime import InferenceSession, SessionOptions
    from tokenizers import Tokenizer

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    session = InferenceSession(
        str(file), options, providers=["CPUExecutionProvider"], disabled_optimizers=["SkipLayerNormFusion"]
    )
    tokenizer = Tokenizer.from_file(str(models.model_folder(models.MINILM) / "tokenizer.json"))
    tokenizer.enable_truncation(256)
    tokenizer.no_padding()

    def vector(text: str) -> Any:
        ids = np.array([tokenizer.encode_batch_fast([text])[0].ids], dtype=np.int64)
        mean = session.run(None, {"input_ids": ids})[0][0].mean(axis=0)
        return mean / np.linalg.norm(mean)

    def embed(texts: list[str]) -> Any:
        if len(texts) == 1:
            return np.stack([vector(texts[0])])
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            return np.stack(list(pool.map(vector, sorted(texts, key=len, reverse=True))))

    return embed


def contestants() -> dict[str, Embed]:
    found: dict[str, Embed] = {
        "torch": SentenceTransformer().encode,
        "ONNX fp32": ONNX().encode,
        "ONNX fp32 by hand": directly(exported(models.MINILM)),
        "ONNX int8": ONNX(precision="int8").encode,
        "ONNX int8 by hand": directly(quantised(models.MINILM, per_channel=True, reduce_range=False)),
    }
    static = getattr(stages, "Static", None)
    if static is None:
        print("there is no Static: left out")
    else:
        found["Static"] = static().encode
    return found


def documents(contest: dict[str, Embed], texts: list[str]) -> Times:
    """Seconds for all texts, a round each in turn."""
    times: Times = {name: [] for name in contest}
    for _ in range(ROUNDS):
        for name, embed in contest.items():
            start = time.perf_counter()
            embed(texts)
            times[name].append(time.perf_counter() - start)
    return times


def queries(contest: dict[str, Embed], texts: list[str]) -> Times:
    """The median of a round's seconds for one text; those who are compared take turns at every text."""
    times: Times = {name: [] for name in contest}
    for turn in range(TURNS):
        taken: Times = {name: [] for name in contest}
        for i, text in enumerate(texts):
            order = list(contest)[:: 1 if (turn + i) % 2 else -1]
            for name in order:
                start = time.perf_counter()
                contest[name]([text])
                taken[name].append(time.perf_counter() - start)
        for name, seconds in taken.items():
            times[name].append(statistics.median(seconds))
    return times


def ratio(times: Times, slow: str, fast: str) -> float:
    return statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True))


def report(where: str, contest: dict[str, Embed], texts: list[str], asked: list[str]) -> None:
    whole, single = documents(contest, texts), queries(contest, asked)
    print(f"\n{where}: {len(texts)} documents, {len(asked)} queries")
    print(f"{'':20}{'documents/s':>12}{'x torch':>9}{'query p50 ms':>14}{'x torch':>9}")
    for name in contest:
        print(
            f"{name:20}{len(texts) / min(whole[name]):12.1f}{ratio(whole, 'torch', name):9.2f}"
            f"{1000 * min(single[name]):14.2f}{ratio(single, 'torch', name):9.2f}"
        )
    faster = ratio(whole, "torch", "ONNX int8")
    print(f"{_mark(faster >= 4)} int8 embeds {faster:.2f} times as many documents a second as torch (wanted: 4)")
    for precision in ("fp32", "int8"):
        for times, what in ((whole, "documents"), (single, "a query")):
            more = 100 * (ratio(times, f"ONNX {precision}", f"ONNX {precision} by hand") - 1)
            print(f"{_mark(more <= 5)} {precision}, {what}: {more:+.1f} % over ONNX Runtime by hand (wanted: 5)")


def _mark(good: bool) -> str:
    return "met:   " if good else "MISSED:"


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    racing = contestants()
    for embed in racing.values():
        embed(["Each has its model loaded before the first round."] * 2)
    for where, place in PLACES.items():
        if place.is_dir():
            report(where, racing, *texts_of(place, number))
        else:
            print(f"{where} is not in {place}: left out")
