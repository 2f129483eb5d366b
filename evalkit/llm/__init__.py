"""Generators: from a prompt to an answer. Everything in ``__all__`` can be named in a spec."""

from evalkit.llm.extractive import Extractive

__all__ = ["Extractive"]
