"""Vector indexes. Each is a pair of ops: one builds, one searches."""

from evalkit.stages.index.flat import Flat
from evalkit.stages.index.hnsw import HNSW
from evalkit.stages.index.ivf import IVFFlat
from evalkit.stages.index.ivfpq import IVFPQ
from evalkit.stages.index.scalar import ScalarQuantised

__all__ = ["HNSW", "IVFPQ", "Flat", "IVFFlat", "ScalarQuantised"]
