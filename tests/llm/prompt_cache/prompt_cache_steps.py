"""How the cases of the prompt cache are written down.

A prompt is ``tools | system | messages`` or ``system | messages`` or ``messages``, each a row of blocks
``name=tokens``; ``@5m`` and ``@1h`` set a breakpoint behind a block, ``B1..20=10`` are twenty blocks of 10 tokens,
``call:`` and ``result:`` in front of a name make it a tool call or a tool result. Equal names are equal contents.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from evalkit.calls import TokenUsage
from evalkit.llm.prompt_cache.ledger import CacheRequest, Segment

SONNET = "claude-sonnet-5"
"""At least 1,024 tokens; $2 in, $2.50 and $4 to write, $0.20 to read, a million tokens."""
_RUNS = {"call": "tool_use", "result": "tool_result"}
_BLOCK = re.compile(r"(?:(\w+):)?([A-Za-z]+)(?:(\d+)(?:\.\.(\d+))?)?=(\d+)(?:@(5m|1h))?")


@dataclass(frozen=True)
class Step:
    at: float
    prompt: str
    bill: TokenUsage
    dollars: float | None
    begins: float | None
    settings: dict = field(default_factory=dict)

    @property
    def request(self):
        return CacheRequest(**{"model": SONNET, "segments": segments(self.prompt), **self.settings})


def segments(prompt):
    rows = prompt.split("|")
    blocks = []
    for part, row in zip(("tools", "system", "messages")[-len(rows) :], rows, strict=True):
        for text in row.split():
            run, name, first, last, tokens, ttl = _BLOCK.fullmatch(text).groups()
            names = [f"{name}{n}" for n in range(int(first), int(last or first) + 1)] if first else [name]
            blocks += [Segment(n, int(tokens), part, None, _RUNS.get(run, "")) for n in names[:-1]]
            blocks.append(Segment(names[-1], int(tokens), part, ttl, _RUNS.get(run, "")))
    return tuple(blocks)


NEVER = float("inf")


def sent(at, prompt, *, read=0, w5=0, w1=0, new=0, dollars=None, begins=None, **settings):
    """A request at a time: tokens read, written for 5 minutes and 1 hour, and new ones at the plain price."""
    return Step(at, prompt, TokenUsage(new, w5, w1, read), dollars, begins, settings)
