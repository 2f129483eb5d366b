"""The command line's ``cassette``: show, verify; and the options with which a run records or replays one."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import InputError

if TYPE_CHECKING:
    from evalkit.evaluate.calling.recording import Mode
    from evalkit.llm.cassettes import Recorded
    from evalkit.llm.pricing import Prices
    from evalkit.types import Store

DONE, FAILED = 0, 1
_MODES = ("record", "replay", "refresh", "replay-or-fail")

Say = Callable[[str], None]


def add_cassette_commands(cassette: argparse.ArgumentParser, say: Say) -> None:
    """Give ``cassette`` its commands; `say` prints what they have to say."""
    commands = cassette.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, work: Callable[[argparse.Namespace, Say], int], what: str) -> None:
        command = commands.add_parser(name, help=what)
        command.add_argument("file", type=Path, metavar="FILE", help="ends in .jsonl.gz")
        command.set_defaults(command=lambda options: work(options, say))

    add("show", _show, "say what a cassette holds: calls and failures by generator, tokens, dollars, days")
    add("verify", _verify, "read a cassette against its checksums; exit 1 if anything is damaged")


def add_cassette_options(run: argparse.ArgumentParser) -> None:
    """Give ``run`` the options of a cassette."""
    run.add_argument(
        "--cassette",
        type=Path,
        metavar="FILE",
        help="keep every call to a model in a file, or answer from it: .jsonl.gz",
    )
    run.add_argument(
        "--cassette-mode",
        choices=_MODES,
        metavar="MODE",
        help="record: call for what it lacks, and add it (default); replay: call for what it lacks, and do not; "
        "refresh: call for everything anew; replay-or-fail: what it lacks is an error, for CI",
    )


@contextmanager
def store_with_cassette(options: argparse.Namespace, store: Store, say: Say) -> Iterator[Store]:
    """Yield the store of a run: with a cassette if one is asked for, which is written when the block ends.

    Raises
    ------
    InputError
        If the options do not go together, or the cassette cannot be read or written.
    """
    if options.cassette is None:
        if options.cassette_mode is not None:
            raise InputError("--cassette-mode: give --cassette FILE too")
        yield store
        return
    from evalkit.evaluate.calling.recording import Recording

    mode: Mode = options.cassette_mode or "record"
    if mode in ("record", "refresh") and getattr(options, "scheduler", None):
        raise InputError("--cassette: is recorded by one process; leave --scheduler out, or replay")
    with Recording(store, options.cassette, mode) as recording:
        yield recording
    say(recording.told())


def _show(options: argparse.Namespace, say: Say) -> int:
    from evalkit.llm.cassettes import calls, header_of
    from evalkit.llm.pricing import Prices

    header, prices = header_of(options.file), Prices.load()
    shares: dict[str, _Share] = {}
    for recorded in calls(options.file):
        shares.setdefault(_who(recorded), _Share()).add(recorded, prices)
    say(f"{options.file}: {header.lines:,} lines, content {header.sum}")
    if header.refreshing:
        say("a refresh of it was cut short; --cassette-mode refresh goes on with it")
    rows: list[tuple[str, ...]]
    rows = [("generator", "calls", "given up", "vectors", "prompt tokens", "output tokens", "dollars", "days")]
    rows += [(name, *share.cells()) for name, share in sorted(shares.items())]
    if shares:
        say("\n" + _table(rows))
    lower = sum(share.incomplete for share in shares.values())
    if lower:
        say(f"\nof {lower:,} the final usage did not arrive: their tokens and dollars are lower bounds")
    unpriced = sorted({model for share in shares.values() for model in share.unpriced})
    if unpriced:
        say(f"no price for {', '.join(unpriced)}; name a file with it in EVALKIT_PRICES")
    return DONE


def _verify(options: argparse.Namespace, say: Say) -> int:
    from evalkit.llm.cassettes import faults_of, header_of

    if not options.file.is_file():
        raise InputError(f"{options.file}: no such cassette")
    faults = faults_of(options.file)
    for fault in faults:
        say(f"damaged: {fault}")
    if faults:
        return FAILED
    header = header_of(options.file)
    say(
        f"{options.file}: {header.calls:,} calls, {header.given_up:,} given up and {header.embeddings:,} embeddings "
        "are whole"
    )
    return DONE


class _Share:
    """What one generator has of a cassette."""

    def __init__(self) -> None:
        self.kinds, self.days, self.unpriced = Counter[str](), set[str](), set[str]()
        self.prompt, self.output, self.incomplete, self.dollars = 0, 0, 0, 0.0

    def add(self, recorded: Recorded, prices: Prices) -> None:
        self.kinds[recorded.kind] += 1
        call = recorded.call
        if call is None:
            return
        for usage in (call.usage, *(attempt.usage for attempt in call.attempts)):
            self.prompt += usage.prompt
            self.output += usage.output
        self.incomplete += not call.complete
        if call.day:
            self.days.add(call.day)
        if prices.knows(call.model):
            self.dollars += prices.dollars(call)
        elif call.model:
            self.unpriced.add(call.model)

    def cells(self) -> tuple[str, ...]:
        numbers = (self.kinds["call"], self.kinds["given up"], self.kinds["embedding"], self.prompt, self.output)
        days = sorted(self.days)
        when = "-" if not days else days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
        return (*(f"{number:,}" for number in numbers), f"{self.dollars:.4f}", when)


def _who(recorded: Recorded) -> str:
    """A generator's class and model."""
    named = recorded.generator
    kind = str(named.get("is", "unknown")).rpartition(":")[2]
    model: Any = named.get("model") or (recorded.call.model if recorded.call else "")
    model = model[0] if isinstance(model, list) and model else model
    return f"{kind} {model}".strip()


def _table(rows: list[tuple[str, ...]]) -> str:
    """Lay rows out in columns, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) - 1
    lines = []
    for row in rows:
        cells = enumerate(zip(row, widths, strict=True))
        lines.append("  ".join(c.rjust(w) if 0 < i < last else c.ljust(w) for i, (c, w) in cells).rstrip())
    return "\n".join(lines)
