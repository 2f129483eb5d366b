"""What routers recover on recorded answers of two models, next to chance at the same cost, single models, the oracle.

Run ``python benchmarks/routers.py [FILE] [--day 2024-06-26] [--seeds 3]``. The file is RouteLLM's record of what
Mixtral 8x7B and GPT-4 (1106) answered to the 1,319 problems of GSM8K's test split, and whether it was right (Apache
2.0). Every router is tuned on one half of the prompts and reported on the other, and the other way round; more seeds
are more ways of halving. No model of either kind is called.

The facts by which the learnt cascades judge an answer, and their penalty, were chosen with these data in sight. What
is learnt and tuned never sees the half that is reported, but that choice did, so their figures flatter somewhat.
Tokens are estimated, for both models alike. A cascade's second call also takes time, which nobody recorded.

Beside them stand the figures that Ong et al. 2024 (table 3) publish for routers trained on other data: BERT, a causal
LLM, matrix factorisation and similarity-weighted ranking, on these very answers less those prompts that their
training data held.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from evalkit.serving.routers.outcomes import RecordedOutcomes
from evalkit.serving.routers.route_curves import RouteCurves, route_curves
from evalkit.serving.routers.scores import AnswerChecks, AnswerWrong, RouterScore, StrongNeeded, WordTiers
from evalkit.serving.routers.verdicts import BEATS
from evalkit.stages import ONNX

FILE = Path(__file__).parents[2] / "shared/data/routellm/gsm8k_responses.csv"
README = (0.638, 0.857, 0.929)
"""The share that the weak model gets right, the strong one, and a perfect router, as the data's description says."""
PUBLISHED = {
    "random": (0.5000, 0.8008, 0.497),
    "BERT, arena": (0.5878, 0.8384, 0.438),
    "causal LLM, arena": (0.5609, 0.8356, 0.461),
    "matrix factorisation, arena": (0.5359, 0.8524, 0.4746),
    "SW ranking, arena": (0.5443, 0.8211, 0.4753),
    "BERT, arena + judge": (0.4476, 0.7909, 0.531),
    "causal LLM, arena + judge": (0.3364, 0.6326, 0.622),
    "matrix fact., arena + judge": (0.3882, 0.7262, 0.565),
    "SW ranking, arena + judge": (0.4121, 0.7220, 0.568),
}
"""CPT(50 %), CPT(80 %) and APGR of Ong et al. 2024, table 3."""


def routers() -> dict[str, RouterScore]:
    """Every router that evalkit can serve, as a score."""
    embedder = ONNX()
    return {
        "word rules": WordTiers(),
        "classifier": StrongNeeded(embedder=embedder),
        "cascade, plain checks": AnswerChecks(),
        "cascade, learnt on form": AnswerWrong(),
        "cascade, form + embedding": AnswerWrong(embedder=embedder),
    }


def over_seeds(outcomes: RecordedOutcomes, seeds: int) -> None:
    """Print how the areas and the verdicts vary with the way of halving."""
    print(f"\nover {seeds} ways of halving, both directions each: APGR by calls and by cost, mean (least to most),")
    print("and how often it beats random at its threshold and over the curve")
    found: list[RouteCurves] = [route_curves(outcomes, routers(), seed=seed) for seed in range(seeds)]
    for name in found[0].reports[0].routers:
        every = [one.routers[name] for curves in found for one in curves.reports]
        calls, cost = (np.array([r.estimates[m].value for r in every]) for m in ("apgr", "apgr_cost"))
        beats = [
            sum(v.verdict == BEATS for v in vs) for vs in ([r.at_threshold for r in every], [r.whole for r in every])
        ]
        print(
            f"{name:28}{calls.mean():.3f} ({calls.min():.3f} to {calls.max():.3f}){cost.mean():9.3f} "
            f"({cost.min():.3f} to {cost.max():.3f}){beats[0]:6}/{len(every)}{beats[1]:6}/{len(every)}"
        )


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("file", nargs="?", default=FILE, type=Path)
    reader.add_argument("--day", default="2024-06-26", help="as of which models are priced")
    reader.add_argument("--seeds", default=3, type=int)
    arguments = reader.parse_args()
    outcomes = RecordedOutcomes.read(arguments.file, day=arguments.day)
    right = outcomes.right
    measured = (right[:, 0].mean(), right[:, 1].mean(), right.any(axis=1).mean())
    print(
        "weak, strong, oracle: "
        + ", ".join(f"{m:.1%} (stated {s:.1%})" for m, s in zip(measured, README, strict=True))
    )
    print(route_curves(outcomes, routers()), "\n")
    print(f"{'published, trained on other data':40}{'CPT50':>8}{'CPT80':>8}{'APGR':>8}")
    for name, (half, most, apgr) in PUBLISHED.items():
        print(f"{name:40}{half:8.1%}{most:8.1%}{apgr:8.3f}")
    over_seeds(outcomes, arguments.seeds)


if __name__ == "__main__":
    main()
