"""Texts with labels as intents: what people asked, and which of a fixed set of things they wanted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evalkit.datasets.build import build
from evalkit.datasets.dataset import Dataset
from evalkit.datasets.files import READERS, records
from evalkit.datasets.formats.source import Format, Source
from evalkit.datasets.rows import Faults, Row
from evalkit.errors import InputError, nearest

_NAMES: dict[str, Sequence[str]] = {"text": ("utterance",), "intent": ("category", "label")}
_SPLITS = ("train", "dev", "validation", "test")
_TENANT = "default"


@dataclass
class _Label:
    where: str
    texts: dict[str, str] = field(default_factory=dict)
    splits: set[str] = field(default_factory=set)


def _read(source: Source) -> Dataset:
    """Read labelled texts: one file, or a folder with ``train``, ``dev``, ``validation`` or ``test`` files.

    Every label is an intent and, there being no other, its own answer; its first text is the plain form, the others
    are paraphrases. An intent has no evidence, and the tenant ``default``. A split is a file: with ``source.split``
    only that one is read; without it the files are joined in the order above, and an intent bears a split only if
    all its texts are from one. Texts of one label that differ in nothing but blanks are kept once, as the first
    stands. A text under two labels stays under both: which of the two is right is not for a reader to decide, and
    a cache that finds the one for the other has a wrong hit.

    Parameters
    ----------
    source : Source
        ``columns`` names text and intent where they are not called so (or ``utterance``, ``category``, ``label``).

    Raises
    ------
    InputErrors
        Every fault in the files at once, with file and line; for a split of which there is no file.

    References
    ----------
    Casanueva et al., *Efficient intent detection with dual sentence encoders*, NLP4ConvAI 2020 (Banking77).
    """
    files, faults = _files(source), Faults()
    if source.split:
        if not (chosen := [path for path in files if path.stem == source.split]):
            near = nearest(source.split, {path.stem for path in files})
            raise InputError(f"data set {source.path.name}: no split '{source.split}'{near}")
        files = chosen
    labels: dict[str, _Label] = {}
    for path in files:
        for where, text, label in _texts(replace(source, path=path), faults):
            known = labels.setdefault(label, _Label(where))
            known.texts.setdefault(" ".join(text.split()), text)
            known.splits.add(path.stem if path.stem in _SPLITS else "")
    intents = (Row(label.where, _intent(name, label)) for name, label in labels.items())
    return build(source.path.stem, intents=intents, faults=faults)


def _intent(name: str, label: _Label) -> dict[str, Any]:
    text, *paraphrases = label.texts.values()
    split = next(iter(label.splits)) if len(label.splits) == 1 else ""
    return {
        "intent": name, "tenant": _TENANT, "text": text, "answer": name, "paraphrases": paraphrases, "split": split,
    }  # fmt: skip


def _texts(source: Source, faults: Faults) -> Iterator[tuple[str, str, str]]:
    """Yield place, text and label of every record of one file."""
    rows, before = list(records(source.path, faults)), len(faults.lines)
    names = source.match(_NAMES, dict.fromkeys([*source.keys(), *(key for _, row in rows for key in row)]), faults)
    if missing := [here for here in _NAMES if here not in names]:
        faults.add(str(source.path), f"no column '{missing[0]}'; name it: columns={{'{missing[0]}': ...}}")
    if len(faults.lines) > before:
        return
    for where, row in rows:
        text, label = row.get(names["text"]), row.get(names["intent"])
        if isinstance(label, int) and not isinstance(label, bool):
            label = str(label)
        if not isinstance(text, str) or not text.strip():
            faults.add(where, "no text")
        elif not isinstance(label, str) or not label.strip():
            faults.add(where, "no label (a text or a whole number)")
        else:
            yield where, text, label.strip()


def _files(source: Source) -> list[Path]:
    if source.path.is_dir():
        paths = [source.path / (split + ending) for split in _SPLITS for ending in READERS]
        return [path for path in paths if path.is_file()]
    return [source.path] if source.path.suffix.lower() in READERS else []


def _fits(source: Source) -> bool:
    files = [] if source.scheme else _files(source)
    return any(
        source.match(_NAMES, replace(source, path=path).keys(), Faults()).keys() == _NAMES.keys() for path in files
    )


FORMAT = Format("a file, or train and test files, with text and category (labelled texts)", _fits, _read)
