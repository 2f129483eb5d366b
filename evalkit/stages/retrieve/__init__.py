"""Retrievers: from a query to a ranking of chunks."""

from evalkit.stages.retrieve.alpha import AdaptiveAlpha, LearntAlpha
from evalkit.stages.retrieve.bm25 import BM25
from evalkit.stages.retrieve.custom import Custom
from evalkit.stages.retrieve.dense import Dense
from evalkit.stages.retrieve.filtered import Filtered
from evalkit.stages.retrieve.filters import Condition, NotDeleted
from evalkit.stages.retrieve.fusion import RRF, MinMax, ZScore
from evalkit.stages.retrieve.hybrid import Hybrid
from evalkit.stages.retrieve.multi_query import MultiQuery
from evalkit.stages.retrieve.parents import Parents
from evalkit.stages.retrieve.rewrites import KeywordsOnly, PseudoRelevanceFeedback, SubQuestion
from evalkit.stages.retrieve.side_by_side import SideBySide
from evalkit.stages.retrieve.summaries_first import SummariesFirst

__all__ = [
    "BM25",
    "RRF",
    "AdaptiveAlpha",
    "Condition",
    "Custom",
    "Dense",
    "Filtered",
    "Hybrid",
    "KeywordsOnly",
    "LearntAlpha",
    "MinMax",
    "MultiQuery",
    "NotDeleted",
    "Parents",
    "PseudoRelevanceFeedback",
    "SideBySide",
    "SubQuestion",
    "SummariesFirst",
    "ZScore",
]
