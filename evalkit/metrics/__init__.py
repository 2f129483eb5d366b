"""Metrics as values, and the statistics that say how well they are known.

Every metric parses from its name and prints it back: ``parse("ndcg@10")`` is ``nDCG(cutoff=10)``. A new
metric is one class in one of the modules below: `parse`, `ALL` and the conformance tests find it.
"""

from evalkit.metrics import (
    answers,
    base,
    caching,
    cost,
    evaluation,
    graded,
    grammar,
    grounding,
    judged,
    judgements,
    latency,
    ragas,
    ragas_contexts,
    ranking,
    rankings,
    spans,
    statistics,
    streaming,
    summaries,
)
from evalkit.metrics.answers import *  # noqa: F403 - __all__ of each module is the list
from evalkit.metrics.base import *  # noqa: F403
from evalkit.metrics.caching import *  # noqa: F403
from evalkit.metrics.cost import *  # noqa: F403
from evalkit.metrics.evaluation import *  # noqa: F403
from evalkit.metrics.graded import *  # noqa: F403
from evalkit.metrics.grammar import *  # noqa: F403
from evalkit.metrics.grammar import concrete
from evalkit.metrics.grounding import *  # noqa: F403
from evalkit.metrics.judged import *  # noqa: F403
from evalkit.metrics.judgements import *  # noqa: F403
from evalkit.metrics.latency import *  # noqa: F403
from evalkit.metrics.ragas import *  # noqa: F403
from evalkit.metrics.ragas_contexts import *  # noqa: F403
from evalkit.metrics.ranking import *  # noqa: F403
from evalkit.metrics.rankings import *  # noqa: F403
from evalkit.metrics.spans import *  # noqa: F403
from evalkit.metrics.streaming import *  # noqa: F403
from evalkit.metrics.summaries import *  # noqa: F403

ALL: tuple[type[base.Metric], ...] = tuple(concrete())

__all__ = ["ALL", "statistics"]
__all__ += answers.__all__
__all__ += base.__all__
__all__ += caching.__all__
__all__ += cost.__all__
__all__ += evaluation.__all__
__all__ += graded.__all__
__all__ += grammar.__all__
__all__ += grounding.__all__
__all__ += judged.__all__
__all__ += judgements.__all__
__all__ += latency.__all__
__all__ += ragas.__all__
__all__ += ragas_contexts.__all__
__all__ += ranking.__all__
__all__ += rankings.__all__
__all__ += spans.__all__
__all__ += streaming.__all__
__all__ += summaries.__all__
