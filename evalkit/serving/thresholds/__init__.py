"""Semantic caches before they serve: the decisions of every threshold, what they are worth, and what is certain."""
