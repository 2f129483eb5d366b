"""What every chunker must hold to."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from evalkit.columns import Strings
from evalkit.testing.corpus import tiny_dataset
from evalkit.values import Chunks, Documents


@cache
def hard_documents() -> Documents:
    """Return documents that break chunkers: scripts, marks without a letter, one endless word, next to nothing."""
    texts = {
        "accents": "Zu\u0308rich, Malmö. n\u0303 e\u0301\u0301. " * 9,
        "blank": " \n\t ",
        "control": "one\x00two\u200bthree\u200b\u200b \ufeffend\u200b",
        "crlf": "First line.\r\nSecond line.\r\n\r\nA new paragraph.\r\n" * 8,
        "emoji": "👩\u200d🚀🇳🇴 landed. " * 12,
        "empty": "",
        "invisible": "\u200b\u200c",
        "list": "\n".join(f"- item {i}: {i * 37} euros" for i in range(40)),
        "long-word": "x" * 3_000 + " short " + "ab" * 700,
        "mixed": "東京都は日本の首都。 Москва. القاهرة. 서울특별시는 대한민국의 수도이다. " * 4,
        "no-separator": "ferry,harbour;quay-" * 60,
        "one": "a",
        "padded": "\n\n   Wide   margins.   \n\n\n   Here too.  \n",
        "symbols": "½ ﬁ Ⅷ ㎏ İ ß " * 10,
    }
    ids = sorted(texts)
    return Documents(
        Strings.of(ids),
        Strings.of("" if name == "one" else f"About {name}" for name in ids),
        Strings.of(texts[name] for name in ids),
        Strings.of("{}" for _ in ids),
    )


def check_chunker(chunker: Any, documents: Documents | None = None) -> None:
    """Check that chunks are true pieces of their documents, in order, and that none of the text is lost.

    Where the chunker has a field ``overlap`` that is 0, no character may be in two chunks; where it has ``size`` and
    ``tokenizer``, no chunk may be longer (a single character that is several tokens counts as one).

    Raises
    ------
    AssertionError
        With the document and what does not hold.
    """
    tables = [tiny_dataset().documents, hard_documents()] if documents is None else [documents]
    for table in tables:
        chunks = chunker(table)
        assert isinstance(chunks, Chunks), f"{chunker}: gives {type(chunks).__name__}, not Chunks"
        assert chunker(table).digest == chunks.digest, f"{chunker}: a second call gives other chunks"
        columns = (chunks.document, chunks.title, chunks.start.tolist(), chunks.end.tolist(), chunks.text)
        rows = list(zip(*columns, strict=True))
        order = {name: i for i, name in enumerate(table.id)}
        assert {row[0] for row in rows} <= set(order), f"{chunker}: a chunk of a document that was not given"
        places = [(order[row[0]], row[2]) for row in rows]
        assert places == sorted(places), f"{chunker}: chunks are not in the order of documents, then of their start"
        for name, title, text in zip(table.id, table.title, table.text, strict=True):
            _check_pieces(chunker, name, title, text, [row[1:] for row in rows if row[0] == name])
        alone = [chunker(table.row(i)) for i in range(len(table))]
        assert Chunks.concat(alone).digest == chunks.digest, (
            f"{chunker}: a document's chunks depend on its neighbours"
        )
        assert len(chunker(table.take([]))) == 0, f"{chunker}: chunks of no documents"


def _check_pieces(chunker: Any, name: str, title: str, text: str, pieces: list[tuple[str, int, int, str]]) -> None:
    where, seen = f"{chunker}, document {name!r}", np.zeros(len(text), dtype=np.int64)
    for shown, start, end, piece in pieces:
        assert text[start:end] == piece, f"{where}: {start}..{end} is {text[start:end]!r}, the chunk says {piece!r}"
        assert piece.strip(), f"{where}: a blank chunk at {start}..{end}"
        assert shown in (title, ""), f"{where}: title {shown!r} is not the document's"
        seen[start:end] += 1
    lost = [i for i in np.flatnonzero(seen == 0).tolist() if not text[i].isspace()]
    assert not lost, f"{where}: character {text[lost[0]]!r} at {lost[0]} is in no chunk"
    if getattr(chunker, "overlap", None) == 0:
        assert seen.max(initial=0) <= 1, f"{where}: character {int(seen.argmax())} is in two chunks, with overlap 0"
    if hasattr(chunker, "size") and hasattr(chunker, "tokenizer"):
        for _, start, end, _ in pieces:
            length = _tokens_within(chunker.tokenizer, text, start, end)
            assert length <= chunker.size, f"{where}: {length} tokens at {start}..{end}, size is {chunker.size}"


def _tokens_within(tokenizer: str, text: str, start: int, end: int) -> int:
    from evalkit.stages import models

    offsets = models.tokenizer(tokenizer).encode(text, add_special_tokens=False).offsets
    starts = [a for a, b in offsets if b > a and start <= a < end]
    return len(starts) - starts.count(starts[0]) + 1 if starts else 0
