"""Rerankers: a ranking in, a better one out."""

__all__: list[str] = []
