"""Embedding models: texts in, unit vectors out."""

from evalkit.stages.embed.sentence_transformer import SentenceTransformer

__all__ = ["SentenceTransformer"]
