"""From a prompt to the messages of a chat, with cache breakpoints, and from an answer's marks to what it cites."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from evalkit.calls import TTL
from evalkit.errors import InputError
from evalkit.values import Prompt

NO_ANSWER = "The documents do not say."
"""How a generator says that its passages hold no answer."""

SYSTEM = (
    "You answer questions from the documents that you are given, and from nothing else. Answer in as few words as "
    "the question needs, without an introduction. After each statement that you take from a document, put that "
    f'document\'s number in square brackets, such as [1]. If the documents do not hold the answer, say "{NO_ANSWER}"'
)
"""Instructions that every answer is asked for with, unless others are given."""

_MARK = re.compile(r"\s*\[(\d+(?:\s*,\s*\d+)*)\]")


@dataclass(frozen=True)
class Block:
    """A piece of text in a message.

    Parameters
    ----------
    text : str
    ttl : {"5m", "1h"} or None
        A cache breakpoint behind this block, kept for so long; None: no breakpoint.
    """

    text: str
    ttl: TTL | None = None


@dataclass(frozen=True)
class Turn:
    """What one side says."""

    role: Literal["user", "assistant"]
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Messages:
    """A chat as a model receives it: system blocks, then turns, the last of them the user's."""

    system: tuple[Block, ...]
    turns: tuple[Turn, ...]

    @property
    def text(self) -> str:
        """All that is in it, one block a line: to count, never to send."""
        return "\n".join(block.text for block in (*self.system, *(b for turn in self.turns for b in turn.blocks)))


@dataclass(frozen=True)
class Breakpoints:
    """Where a prompt is marked for the provider's prompt cache, and for how long each is kept.

    Parameters
    ----------
    system : {"5m", "1h"} or None
        Behind the instructions.
    context : {"5m", "1h"} or None
        Behind the last document.
    history : {"5m", "1h"} or None
        Behind the last turn of the conversation so far.
    """

    system: TTL | None = None
    context: TTL | None = None
    history: TTL | None = None


@dataclass(frozen=True)
class Chat:
    """How a prompt becomes messages.

    Parameters
    ----------
    system : str
        Instructions.
    documents : {"system", "question"}
        Where the passages stand: behind the instructions, so that equal passages can be cached across questions,
        or beside the question, so that a conversation's history can be, whatever each turn finds.
    breakpoints : Breakpoints
        For the prompt cache; none by default.
    """

    system: str = SYSTEM
    documents: Literal["system", "question"] = "question"
    breakpoints: Breakpoints = Breakpoints()

    def __post_init__(self) -> None:
        marks, in_system = self.breakpoints, self.documents == "system"
        order = (marks.system, marks.context, marks.history) if in_system else (
            marks.system, marks.history, marks.context
        )  # fmt: skip
        given = [ttl for ttl in order if ttl is not None]
        if "5m" in given and "1h" in given[given.index("5m") :]:
            raise InputError(
                "Chat: breakpoints: a 1h breakpoint stands behind a 5m one in the prompt, which the API refuses; "
                "make the earlier one 1h too, or the later one 5m"
            )
        if not self.system.strip():
            raise InputError("Chat: system is empty; give instructions")

    def messages(self, prompt: Prompt) -> Messages:
        """Lay out one prompt."""
        marks = self.breakpoints
        documents = [Block(_document(i, *p)) for i, p in enumerate(_passages(prompt), 1)]
        if documents:
            documents[-1] = Block(documents[-1].text, marks.context)
        history = [(("user", "assistant")[i % 2], text) for i, text in enumerate(prompt.history) if text.strip()]
        turns = [Turn(role, (Block(text),)) for role, text in history]  # type: ignore[arg-type]
        if turns:
            turns[-1] = Turn(turns[-1].role, (Block(turns[-1].blocks[-1].text, marks.history),))
        asked = Block(prompt.question if prompt.question.strip() else "(no question)")
        system = (Block(self.system, marks.system),)
        if self.documents == "system":
            return Messages((*system, *documents), (*turns, Turn("user", (asked,))))
        return Messages(system, (*turns, Turn("user", (*documents, asked))))


def _passages(prompt: Prompt) -> list[tuple[str, str]]:
    return list(zip(prompt.titles, prompt.passages, strict=True))


def _document(number: int, title: str, passage: str) -> str:
    named = f' title="{title}"' if title else ""
    return f'<document index="{number}"{named}>\n{passage}\n</document>'


_DOCUMENT = re.compile(r'<document index="(\d+)"(?: title="(.*)")?>\n(.*)\n</document>', re.DOTALL)


def read_document(block: str) -> tuple[str, str] | None:
    """Return the title and the text of a block that holds a document as `Chat` writes it; None for another."""
    found = _DOCUMENT.fullmatch(block)
    return (found[2] or "", found[3]) if found else None


def with_marks(text: str, cited: tuple[str, ...], sources: tuple[str, ...]) -> str:
    """Return an answer as a model writes it: with the numbers of the documents that it cites."""
    return text + "".join(f" [{sources.index(source) + 1}]" for source in cited)


def without_marks(text: str, sources: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return an answer's text without its marks, and the sources they name, each once; other brackets stay."""
    cited: dict[str, None] = {}

    def taken(found: re.Match[str]) -> str:
        numbers = [int(n) for n in found[1].split(",")]
        if not all(1 <= n <= len(sources) for n in numbers):
            return found[0]
        cited.update(dict.fromkeys(sources[n - 1] for n in numbers))
        return ""

    return _MARK.sub(taken, text).strip(), tuple(cited)
