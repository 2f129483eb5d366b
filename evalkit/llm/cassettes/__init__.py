"""Cassettes: every call to a model once, with its times, its bill and its errors, to be answered from for ever."""

from evalkit.llm.cassettes.cassette import Cassette
from evalkit.llm.cassettes.nearest import Miss, missed
from evalkit.llm.cassettes.reading import calls, failed, faults_of, header_of
from evalkit.llm.cassettes.rows import FORMAT, Header, Kind, Recorded, kind_of, write_row
from evalkit.llm.cassettes.table import Row, Rows
from evalkit.llm.cassettes.writing import ENDING, write, write_entries

__all__ = [
    "ENDING", "FORMAT", "Cassette", "Header", "Kind", "Miss", "Recorded", "Row", "Rows", "calls", "failed",
    "faults_of", "header_of", "kind_of", "missed", "write", "write_entries", "write_row",
]  # fmt: skip
