"""Rerankers: a ranking in, a better one out."""

from evalkit.stages.rerank.chain import Chain
from evalkit.stages.rerank.cross_encoder import CrossEncoder
from evalkit.stages.rerank.cutoff import Cutoff
from evalkit.stages.rerank.late_interaction import LateInteraction
from evalkit.stages.rerank.mmr import MMR
from evalkit.stages.rerank.redundancy import RedundancyFilter

__all__ = ["MMR", "Chain", "CrossEncoder", "Cutoff", "LateInteraction", "RedundancyFilter"]
