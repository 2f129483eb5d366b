"""What was served and what it is billed: the other side of a client's account."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from evalkit.calls import TokenUsage


@dataclass(slots=True)
class Served:
    """One request.

    Parameters
    ----------
    number : int
        In the order of arrival, from 1.
    request_id : str
        As the ``request-id`` header states it; for one request of a batch, that of its message.
    model : str
    status : int
        Of HTTP; 0 where not even headers were sent.
    fault : str
        What went wrong on purpose; empty if nothing did.
    usage : TokenUsage
        As billed. Of a stream that was cut: input and cache as stated in ``message_start``, and output up to the
        cut, also what the client was not told of.
    complete : bool
        Whether the final usage was sent.
    service : str
        ``standard`` or ``batch``.
    stop : str
        The stop reason; the type of the error; ``cut``; ``client left``.
    """

    number: int
    request_id: str
    model: str = ""
    status: int = 0
    fault: str = ""
    usage: TokenUsage = field(default_factory=TokenUsage)
    complete: bool = False
    service: str = "standard"
    stop: str = ""

    def bill(self, input_usage: TokenUsage, output: int) -> None:
        """State what it is billed so far."""
        read = input_usage
        self.usage = TokenUsage(read.input, read.cache_write_5m, read.cache_write_1h, read.cache_read, output)


class Ledger:
    """All requests for messages, in the order in which they arrived."""

    def __init__(self) -> None:
        self.rows: list[Served] = []

    def arrive(self, request_id: str) -> Served:
        """Open the row of the request that arrives now; it gets its number."""
        row = Served(len(self.rows) + 1, request_id)
        self.rows.append(row)
        return row

    def plain(self, rows: bool = True) -> dict[str, Any]:
        """Return totals and, where they are asked for, all rows as JSON-ready data."""
        told, cut = (summed(r.usage for r in self.rows if r.complete is whole) for whole in (True, False))
        totals = {
            "requests": len(self.rows),
            "complete": sum(row.complete for row in self.rows),
            "usage": asdict(told + cut),
            "usage_complete": asdict(told),
            "usage_incomplete": asdict(cut),
            "statuses": {str(status): n for status, n in sorted(Counter(row.status for row in self.rows).items())},
            "faults": dict(sorted(Counter(row.fault for row in self.rows if row.fault).items())),
        }
        return {"totals": totals, "rows": [asdict(row) for row in self.rows] if rows else []}


def summed(usages: Iterable[TokenUsage]) -> TokenUsage:
    """Add usages up."""
    columns = zip(
        *((u.input, u.cache_write_5m, u.cache_write_1h, u.cache_read, u.output) for u in usages), strict=True
    )
    return TokenUsage(*map(sum, columns))
