"""Formats of data sets, a module each: whichever fits first reads."""

from evalkit.datasets.formats import (
    beir,
    docstrings,
    huggingface,
    ir,
    labelled,
    native,
    questions,
    requests,
    spans,
)
from evalkit.datasets.formats.source import Format, Source

FORMATS: tuple[Format, ...] = tuple(
    module.FORMAT for module in (native, beir, spans, requests, labelled, questions, docstrings, huggingface, ir)
)

__all__ = ["FORMATS", "Format", "Source"]
