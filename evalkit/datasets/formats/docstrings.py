"""A large corpus of real text that needs no network: the docstrings of the installed packages."""

from __future__ import annotations

import ast
import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import NamedTuple

from evalkit.datasets.build import build
from evalkit.datasets.dataset import Dataset
from evalkit.datasets.formats.source import Format, Source
from evalkit.datasets.rows import Faults, Row
from evalkit.errors import InputError, nearest
from evalkit.progress import progress

SCHEME = "docstrings"
_LEAST_CHARACTERS = 200
_LEAST_WORDS = 4
_MOST_QUERIES = 500
_SEED = 0
_BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")


class _Passage(NamedTuple):
    name: str
    title: str
    summary: str
    text: str
    package: str
    version: str


def _read(source: Source) -> Dataset:
    """Read the docstrings of all installed distributions (``docstrings:``) or of some (``docstrings:numpy,scipy``).

    The files are parsed, never imported, and nothing in them is run. A docstring begins with its summary: all up to
    the first blank line. A passage is what follows it, where that has at least 200 characters; equal passages are
    kept once, the first by distribution and file. Its id is ``distribution:module.qualname`` (``#2`` and so on for a
    name that comes again), its title the qualified name, and its metadata hold the distribution and the version.
    Files that are not Python of the running version are left out, as are docstrings that are no Unicode.

    The task is known-item search: a query is a summary, and the one passage judged relevant (grade 1) is that which
    it was taken from. At most 500 are drawn, in an order made of a seed and the ids, from the summaries of one line
    and at least four words that no other passage has and that their own passage does not repeat. A passage begins
    after its summary, whether that is asked for or not, so targets look like all others. Queries bear the attribute
    ``package``.

    Raises
    ------
    InputErrors
        If a distribution is not installed, with the nearest name, or there is nothing to ask for.
    """
    chosen = _chosen(source)
    passages = list(_passages(chosen))
    targets = _targets(passages)
    if not targets:
        raise InputError(f"data set {source.text}: {len(passages)} docstrings that are long enough, none to ask for")
    name = SCHEME + (":" + ",".join(package for package, _ in chosen) if source.name.strip() else "")
    return source.cut(
        build(
            name,
            (Row(p.name, _document(p)) for p in passages),
            (Row(p.name, {"id": p.name, "text": p.summary, "package": p.package}) for p in targets),
            (Row(p.name, {"query": p.name, "document": p.name, "grade": 1}) for p in targets),
        )
    )


def _document(passage: _Passage) -> dict[str, object]:
    metadata = {"package": passage.package, "version": passage.version}
    return {"id": passage.name, "title": passage.title, "text": passage.text, "metadata": metadata}


def _chosen(source: Source) -> list[tuple[str, Distribution]]:
    """Return the distributions to read, by name; of several with one name, that which imports would find."""
    installed: dict[str, Distribution] = {}
    for distribution in distributions():
        if name := distribution.metadata["Name"]:
            installed.setdefault(_normal(name), distribution)
    wanted = {_normal(name) for name in source.name.split(",") if name.strip()}
    faults = Faults()
    for name in sorted(wanted - installed.keys()):
        faults.add(f"data set {source.text}", f"distribution '{name}' is not installed{nearest(name, installed)}")
    faults.check()
    return [(name, installed[name]) for name in sorted(wanted or installed)]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _passages(chosen: Sequence[tuple[str, Distribution]]) -> Iterator[_Passage]:
    versions = {name: of.version for name, of in chosen}  # each time it is asked for, metadata are read
    files = [(name, of, file) for name, of in chosen for file in _files(of)]
    seen: set[str] = set()
    names: Counter[str] = Counter()
    with progress("docstrings", total=len(files)) as bar:
        for package, of, file in files:
            bar.update(1)
            for title, docstring in _docstrings(Path(str(of.locate_file(file))), _module(file)):
                summary, *rest = re.split(r"\n\s*\n", docstring, maxsplit=1)
                text = "".join(rest)
                if len(text) < _LEAST_CHARACTERS or text in seen:
                    continue
                seen.add(text)
                name = f"{package}:{title}"
                names[name] += 1
                if names[name] > 1:
                    name += f"#{names[name]}"
                yield _Passage(name, title, summary, text, package, versions[package])


def _files(of: Distribution) -> list[str]:
    """Return the Python files that a distribution put below the folder of packages."""
    return sorted(str(file) for file in of.files or () if file.suffix == ".py" and file.parts[0] not in ("..", "/"))


def _module(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _docstrings(path: Path, module: str) -> Iterator[tuple[str, str]]:
    """Yield qualified names and docstrings, in the order of the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in other people's code
            tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return  # gone, a template, or of another Python
    todo: list[tuple[ast.AST, str]] = [(tree, module)]
    while todo:
        node, name = todo.pop()
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name += f".{node.name}"
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = (ast.get_docstring(node) or "").rstrip()
            if docstring.encode(errors="ignore").decode() == docstring:
                yield name, docstring
        inner = [child for block in _BLOCKS for child in getattr(node, block, ())]
        todo.extend((child, name) for child in reversed(inner))


def _targets(passages: Sequence[_Passage]) -> list[_Passage]:
    """Draw the passages to ask for."""
    times = Counter(_folded(passage.summary) for passage in passages)
    candidates = [
        p
        for p in passages
        if "\n" not in p.summary
        and len(p.summary.split()) >= _LEAST_WORDS
        and times[_folded(p.summary)] == 1
        and _folded(p.summary) not in _folded(p.text)
    ]
    return sorted(candidates, key=lambda p: _draw(p.name))[:_MOST_QUERIES]


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _draw(name: str) -> bytes:
    """Order by a hash: a package more or less changes few of the queries of the others."""
    return hashlib.blake2b(f"{_SEED}:{name}".encode(), digest_size=8).digest()


FORMAT = Format("docstrings:<packages>", lambda source: source.scheme == SCHEME, _read)
