"""The prompt-cache rules once more, as plainly as they can be written: no hashes, nothing dropped, block by block."""

from __future__ import annotations

from itertools import groupby


class NaivePromptCache:
    """Keeps every write for ever as a record of what it was, and walks over all of them each time."""

    def __init__(self, minimum):
        self.minimum = minimum
        self.written = []

    def charge(self, request, now):
        """Return tokens by kind and the records that become readable once the response begins."""
        blocks = request.segments
        marked = [i for i, block in enumerate(blocks) if block.ttl]
        marked = [i for i in marked if sum(b.tokens for b in blocks[: i + 1]) >= self.minimum(request.model)]
        ends = []
        for i in marked:
            for end in range(i + 1, 0, -1):
                if positions(blocks[end - 1 : i + 1]) > 20:
                    break
                alive = [w for w in self.written if w["is"] == prefix(request, end) and w["from"] <= now < w["to"]]
                for record in alive:
                    record["to"] = now + record["keeps"]
                if alive:
                    ends.append(end)
                    break
        read = max(ends, default=0)
        beyond = [i for i in marked if i >= read]
        tokens = {"input": 0, "cache_write_5m": 0, "cache_write_1h": 0, "cache_read": 0}
        for i, block in enumerate(blocks):
            if i < read:
                kind = "cache_read"
            elif any(i <= mark and blocks[mark].ttl == "1h" for mark in beyond):
                kind = "cache_write_1h"
            elif any(i <= mark for mark in beyond):
                kind = "cache_write_5m"
            else:
                kind = "input"
            tokens[kind] += block.tokens
        keeps = {"5m": 300, "1h": 3600}
        new = [{"is": prefix(request, i + 1), "keeps": keeps[blocks[i].ttl], "start": now} for i in beyond]
        return tokens, new

    def begun(self, new, at):
        self.written += [record | {"from": at, "to": record["start"] + record["keeps"]} for record in new]


def positions(blocks):
    """Count blocks, a run of tool calls or of tool results as one."""
    groups = groupby(enumerate(blocks), key=lambda pair: pair[1].run or pair[0])
    return sum(1 for _ in groups)


def prefix(request, end):
    """Return all that must be equal for the first blocks to be one prefix."""
    blocks = request.segments[:end]
    said = [request.workspace, request.model]
    if blocks[-1].part != "tools":
        said += [request.web_search, request.citations, request.speed]
    if blocks[-1].part == "messages":
        said += [request.tool_choice, request.images, request.thinking]
    return said, [(block.part, block.run, block.content) for block in blocks]
