"""The command line's ``fake-claude``: a Messages API on loopback, in front of a generator that costs nothing."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import InputError, InputErrors

if TYPE_CHECKING:
    from evalkit.types import Generator

DONE = 0

Say = Callable[[str], None]


def add_fake_claude_command(commands: Any, say: Say) -> None:
    """Add ``fake-claude`` to the subcommands; `say` prints what it has to say."""
    command: argparse.ArgumentParser = commands.add_parser(
        "fake-claude",
        help="serve a Messages API on this machine, for dry runs: answers cost nothing, faults on request",
    )
    add = command.add_argument
    add("--port", type=int, default=0, help="default: a free one; the first line says which")
    add("--host", default="127.0.0.1", help=argparse.SUPPRESS)
    add(
        "--generator",
        metavar="SPEC",
        help="who answers: a generator as in an experiment, or a YAML file that holds one "
        "(default: the extractive reader, as a simulated Claude)",
    )
    add("--faults", type=Path, metavar="FILE", help="what goes wrong, as YAML: {seed: 1, script: [...]}")
    for name, what in (
        ("requests", "requests"),
        ("input-tokens", "uncached tokens in"),
        ("output-tokens", "tokens out"),
    ):
        add(f"--{name}-per-minute", type=int, metavar="N", help=f"limit of {what}, a model; more get a 429")
    add(
        "--speed",
        type=float,
        default=0.0,
        metavar="X",
        help="1: in modelled time; 2: twice as fast; 0: at once (default)",
    )
    add("--batch-seconds", type=float, default=0.0, metavar="S", help="how long a batch takes (default 0)")
    add("--require-key", action="store_true", help="answer 401 to requests without a key")
    command.set_defaults(command=lambda options: _fake_claude(options, say))


def _fake_claude(options: argparse.Namespace, say: Say) -> int:
    from evalkit.llm.server import FakeClaude, Faults, Limits, serve

    faults: list[str] = []

    def tried(name: str, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except InputError as error:
            faults.extend(f"{name}: {line}" if name else line for line in str(error).splitlines())
            return None

    for name, value in (("--speed", options.speed), ("--batch-seconds", options.batch_seconds)):
        if not 0 <= value < math.inf:
            faults.append(f"{name}: is {value:g}; a number of at least 0 is needed")
    scripted = tried("", lambda: Faults.load(options.faults) if options.faults else Faults())
    minute = (options.requests_per_minute, options.input_tokens_per_minute, options.output_tokens_per_minute)
    limits = tried("", lambda: Limits(*minute))
    generator = tried("--generator", lambda: read_generator(options.generator))
    if faults:
        raise InputErrors(faults)
    fake = FakeClaude(generator, scripted, limits, options.speed, options.require_key, options.batch_seconds)

    def ready(url: str) -> None:
        say(url)
        say(f"export ANTHROPIC_BASE_URL={url}   (stop with Ctrl-C; what was served: {url}/ledger)")

    serve(fake, options.port, options.host, ready)
    return DONE


def read_generator(stated: str | None) -> Generator:
    """Return the generator that a text or a YAML file names; None: a simulated Claude.

    Raises
    ------
    InputError
        If it names none, or one that costs money.
    """
    import yaml

    from evalkit.forms import Reader, build
    from evalkit.spec import names
    from evalkit.types import Generator

    if stated is None:
        return simulated_claude()
    is_file = stated.endswith((".yaml", ".yml"))
    try:
        data = yaml.safe_load(Path(stated).read_text(encoding="utf-8") if is_file else stated)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{stated}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        raise InputError(f"not YAML ({' '.join(str(error).split())})") from None
    reader = Reader(names())
    generator: Generator = build(data, Generator, reader)
    if reader.faults:
        raise InputErrors([fault.removeprefix(": ") for fault in reader.faults])
    if getattr(generator, "paid", False):
        raise InputError(f"{type(generator).__name__} may cost money; name a generator that does not")
    return generator


def simulated_claude() -> Generator:
    """Return the extractive reader at the times of a documented model."""
    from evalkit.llm import Extractive
    from evalkit.llm.modelled import Modelled
    from evalkit.stages import SentenceTransformer

    return Modelled(Extractive(SentenceTransformer()), "roadmap")
