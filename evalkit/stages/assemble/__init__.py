"""Assemblers: from a ranking to the prompt."""

from evalkit.stages.assemble.topk import TopK

__all__ = ["TopK"]
