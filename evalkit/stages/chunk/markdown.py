"""Chunks that follow a document's headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain, pairwise
from typing import Any, NamedTuple

from evalkit.stages.chunk.base import Span
from evalkit.stages.chunk.sentences import sentences
from evalkit.stages.chunk.tokens import Ruler, TokenChunker

_LINE_END = re.compile(r"\r\n?|\n")
_CODE = ("code_block", "fence", "html_block")


class Block(NamedTuple):
    """A top-level block and the blank lines behind it; a heading has `level` 1 to 6, everything else 0."""

    start: int
    end: int
    level: int
    code: bool


class Section(NamedTuple):
    """A heading's own text, up to the next heading of any level; at level 0 what stands before the first heading."""

    level: int
    blocks: list[Block]


@dataclass(frozen=True)
class Markdown(TokenChunker):
    """Sections of a Markdown document: each chunk is the largest one that fits into `size` tokens.

    A section is a heading with all that stands below it, deeper sections included. One that does not fit is cut into
    the text before its first deeper heading and each deeper section, and so on; neighbouring sections share a chunk
    only where the section around them fits as a whole. A heading without text of its own stays with the next one.
    Text that is too long and has no headings is cut between blocks (paragraphs, lists, code), a block between
    sentences (code between lines), a sentence between words; what fits is merged again. With `overlap`, later chunks
    of such a text begin with as many of these pieces of the one before as fit in that many tokens.

    Parameters
    ----------
    titles : bool
        Whether retrievers also see the document's title before the chunk.
    size, overlap : int
        In tokens of `tokenizer`.
    tokenizer : str
        Name or folder of a model with a ``tokenizer.json``.

    References
    ----------
    MacFarlane, *CommonMark Spec* 0.31.2, 2024: what a heading and a block are.
    """

    @property
    def packages(self) -> tuple[str, ...]:
        """What decides where blocks and tokens begin."""
        return ("markdown-it-py", "tokenizers")

    def spans(self, text: str) -> Iterator[Span]:
        """Cut at headings, then what is still too long."""
        ruler, todo = self.ruler(text), [_sections(_blocks(text))]
        while todo:
            found = todo.pop()
            blocks = list(chain.from_iterable(section.blocks for section in found))
            whole = blocks[0].start, blocks[-1].end
            if ruler.tokens(*whole) <= self.size:
                yield whole
            elif len(found) > 1:
                todo += reversed(_apart(found))
            else:
                pieces = chain.from_iterable(self._pieces(text, block, ruler) for block in blocks)
                yield from ruler.packed(pieces, self.size, self.overlap)

    def _pieces(self, text: str, block: Block, ruler: Ruler) -> Iterator[Span]:
        if block.code or ruler.tokens(block.start, block.end) <= self.size:
            yield from ruler.cut(text, (block.start, block.end), self.size, ("\n", " "))
        else:
            for sentence in sentences(text, block.start, block.end):
                yield from ruler.words(text, sentence, self.size)


def _apart(found: list[Section]) -> list[list[Section]]:
    """Cut a section into its own text and its deeper sections, each with those below it."""
    own, groups = found[0], [[found[1]]]
    for section in found[2:]:
        if section.level <= groups[-1][0].level:
            groups.append([section])
        else:
            groups[-1].append(section)
    if any(not block.level for block in own.blocks):
        return [[own], *groups]
    groups[0][0] = Section(groups[0][0].level, own.blocks + groups[0][0].blocks)
    return groups


def _sections(blocks: list[Block]) -> list[Section]:
    """Group blocks under their headings; the first section stands for the document."""
    found = [Section(0, [])]
    for block in blocks:
        if block.level:
            found.append(Section(block.level, []))
        found[-1].blocks.append(block)
    return found


def _blocks(text: str) -> list[Block]:
    """Return the top-level blocks, which cover the text without gaps."""
    lines = [0, *(match.end() for match in _LINE_END.finditer(text))]
    opened = [token for token in _parser().parse(text) if token.level == 0 and token.map]
    if not opened:
        return [Block(0, len(text), 0, False)]
    bounds = [0, *(lines[token.map[0]] for token in opened[1:]), len(text)]
    return [
        Block(start, end, int(token.tag[1]) if token.type == "heading_open" else 0, token.type in _CODE)
        for (start, end), token in zip(pairwise(bounds), opened, strict=True)
    ]


@cache
def _parser() -> Any:
    """Finds blocks alone: what stands within a line does not matter."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").disable("inline")
