"""Vector indexes. Each is a pair of ops: one builds, one searches."""

from evalkit.stages.index.flat import Flat

__all__ = ["Flat"]
