"""Reading data sets, whatever their format."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Mapping

from evalkit.datasets.dataset import Dataset
from evalkit.datasets.files import READERS, records
from evalkit.datasets.formats import FORMATS, Source
from evalkit.datasets.rows import Faults
from evalkit.errors import InputError
from evalkit.paths import resolve

_SCHEME = re.compile(r"([a-z_]{2,}):(.*)")  # two letters at least: C: is a drive


def load_dataset(
    path: str | os.PathLike[str], *, split: str | None = None, columns: Mapping[str, str] | None = None
) -> Dataset:
    """Read a data set.

    Parameters
    ----------
    path : path or ``scheme:name``
        Relative paths start at the project root. A folder:

        - in the native format: ``documents.jsonl``, ``queries.jsonl``, ``qrels.tsv`` and, if there are any,
          ``answers.jsonl``, ``paraphrases.jsonl``, ``conversations.jsonl``, ``traffic.jsonl``, ``events.jsonl``;
        - in BEIR's: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/test.tsv``;
        - with questions and excerpts: ``questions.csv``, ``corpora/`` (see `evalkit.datasets.formats.spans`);
        - with texts and their intents: ``train.csv``, ``test.csv`` (see `evalkit.datasets.formats.labelled`).

        A file of records (JSON, JSON Lines, CSV, Parquet):

        - requests with their times: a traffic log (see `evalkit.datasets.formats.requests`);
        - questions with contexts and answers, as ragas keeps them (see `evalkit.datasets.formats.questions`);
        - texts with their intents.

        A name: ``huggingface:owner/name[/configuration]``, or a folder's path in place of ``owner/name`` (see
        `evalkit.datasets.formats.huggingface`); ``ir_datasets:name``; ``docstrings`` or ``docstrings:numpy,scipy``
        for the docstrings of installed packages (see `evalkit.datasets.formats.docstrings`).
    split : str, optional
        BEIR: the file in ``qrels/`` (default ``test``). Texts with intents: the file. ``huggingface``: the split,
        default ``test`` or the only one. Otherwise: keep the queries, intents, conversations and requests whose
        ``split`` is this.
    columns : {name here: name in the data}, optional
        For files whose columns bear other names.

    Raises
    ------
    InputErrors
        Every fault in the files at once, with file and line.
    """
    text = os.fspath(path)
    whole = text == "docstrings" and not resolve(path).exists()  # a folder of that name goes first
    parts = _SCHEME.fullmatch(f"{text}:" if whole else text)
    scheme, name = parts.groups() if parts else ("", "")
    source = Source(text, scheme, name, resolve(path), split, columns or {})
    if not scheme and not source.path.exists():
        raise InputError(f"data set {text}: no such folder or file ({source.path})")
    for form in FORMATS:
        if form.fits(source):
            return form.read(source)
    if source.path.suffix.lower() in READERS:  # what stands in its first record decides, and that cannot be read
        faults = Faults()
        deque(records(source.path, faults), maxlen=0)
        faults.check()
        raise InputError(
            f"data set {text}: its columns are {', '.join(source.keys())}; say which hold what: of requests with "
            "columns={'at': ..., 'text': ...}, of questions with columns={'user_input': ..., 'reference': ...}"
        )
    known = "; ".join(form.looks for form in FORMATS)
    raise InputError(f"data set {text}: of no known format ({known}) in {source.path}")
