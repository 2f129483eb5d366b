"""What a semantic cache, a prompt cache and a router do together, on a day of a bank's help desk.

Run ``python benchmarks/factorial.py [short|long] [figure.png]``: ``experiments/factorial.yaml``, eight services over
the same 6,000 requests, in about three minutes. ``long`` gives every prompt 2,000 tokens of instructions (two of the
bank's own procedures behind evalkit's instructions), which is more than models ask for to cache them; with ``short``,
the default and the file as it is, instructions alone are never cached. It prints

- cells: what each combination came to;
- effects: main effects and interactions (half the difference of an effect with another switch on and off), with 95 %
  intervals of runs of neighbouring requests and p-values after Holm's correction;
- first and last: what a switch is worth alone, and where the others are on already;
- promises: everything on, as the single switches add up or compound, against what was measured;
- claims: what the roadmap states, its own sum and product included, against the same changes here.

All of it is modelled: answers are an extractive reader's, times the roadmap's, dollars those of the dated price list.
The weaker model of the router is the same reader with static embeddings.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # before they are loaded
os.environ.setdefault("EVALKIT_PROGRESS", "0")

import pandas as pd

import evalkit as ek
from evalkit.llm.messages import SYSTEM
from evalkit.reporting.canvas import png
from evalkit.reporting.factorial import factorial_effects
from evalkit.serving.load.load import Load
from evalkit.serving.load.replays import run_load
from evalkit.serving.results.factorial import Claims, Factorial, factorial
from evalkit.spec import load_replay

ROOT = Path(__file__).parents[1]
SPEC = ROOT / "experiments" / "factorial.yaml"
PROCEDURES = ("complaints-procedure", "complaint-casebook")
FACTORS = ("semantic cache", "prompt cache", "router")
ROADMAP: Claims = {
    # 850 ms, of which the model takes 550: to 200 on a prompt-cache hit, to 220 on average by routing
    "Mean": {"semantic cache": (850, 630), "prompt cache": (850, 500), "router": (850, 520), "all": (850, 200)},
    # its 40 % of hits are so many calls spared; it states no share for the prompt cache alone
    "DollarsPer1000": {"semantic cache": (1, 0.6), "router": (1, 0.3), "all": (1, 0.2)},
}


def main() -> int:
    began, words = time.perf_counter(), sys.argv[1:]
    replays = run_load(with_instructions() if "long" in words else load_replay(SPEC))
    served = time.perf_counter() - began
    found = factorial(replays, FACTORS, stated=ROADMAP)
    tell(found)
    print(f"\n8 replays in {served:.0f} s, the whole in {time.perf_counter() - began:.0f} s; {found.origin}")
    for path in (word for word in words if word.endswith(".png")):
        Path(path).write_bytes(png(factorial_effects(found)))
    return 0


def with_instructions() -> Load:
    """The experiment with instructions that are long enough to be cached by themselves."""
    documents = ek.load_dataset(ROOT / "datasets" / "handbook").documents
    texts = dict(zip(documents.id, documents.text, strict=True))
    system = json.dumps("\n\n".join((SYSTEM, *(texts[name] for name in PROCEDURES))))
    text = SPEC.read_text(encoding="utf-8").replace("{documents: system", f"{{system: {system}, documents: system")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "factorial.yaml"
        path.write_text(text, encoding="utf-8")
        return load_replay(path)


def tell(found: Factorial) -> None:
    cells = found.cells.set_index("cell")
    ends = [name for name in cells if str(name).endswith((" low", " high"))]
    shown("cells", cells.drop(columns=[*ends, *FACTORS, "origin"]).T)
    for name in ("Mean", "P95", "DollarsPer1000", "ServedWrong", "worse"):
        rows = found.effects[found.effects["metric"] == name].set_index("term")
        shown(f"effects on {name}", rows[["value", "low", "high", "p"]])
    some = found.first_and_last[found.first_and_last["metric"].isin(("Mean", "P95", "DollarsPer1000"))]
    shown("alone, and last", some.drop(columns=["unit", "origin"]).set_index(["metric", "factor", "when"]))
    shown("promised and measured", found.additive.drop(columns=["unit", "origin"]).set_index(["metric", "how"]))
    shown("stated and measured", found.claimed.drop(columns="origin").set_index(["metric", "term", "how"]))
    for term, seen in found.replays.items():
        if "router" in term:
            share = seen.per_request["route"].value_counts(normalize=True)
            print(f"\nroutes: {', '.join(f'{name} {part:.1%}' for name, part in share.items())}; the roadmap: simple "
                  "60 %, medium 30 %, complex 10 %")  # fmt: skip
            break
    hits = next(seen for term, seen in found.replays.items() if "semantic cache" in term).per_request
    hits = hits[hits["hit"] != ""]
    other = hits["similarity"] < 1
    counts = [int(rows.astype(bool).sum()) for rows in (hits.loc[other, "wrong"], hits["wrong"], hits["stale"])]
    print(f"semantic cache alone: {len(hits):,} hits, {int(other.sum())} of them of another text, of which "
          f"{counts[0]} are wrong; of all {counts[1]} wrong, {counts[2]} of them outdated")  # fmt: skip


def shown(title: str, table: pd.DataFrame) -> None:
    print(f"\n{title}\n" + table.to_string(float_format=lambda x: f"{x:,.4g}"))


if __name__ == "__main__":
    sys.exit(main())
