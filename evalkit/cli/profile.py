"""The command line's ``fit-profile``: a latency profile from recorded calls."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import InputError, nearest

if TYPE_CHECKING:
    from evalkit.calls import Call
    from evalkit.llm.latency.fitting import Fitted

DONE = 0
_ENDING = ".jsonl.gz"

Say = Callable[[str], None]


def add_fit_profile_command(commands: Any, say: Say) -> None:
    """Add ``fit-profile`` to the subcommands; `say` prints what it has to say."""
    command: argparse.ArgumentParser = commands.add_parser(
        "fit-profile", help="fit a latency profile to recorded calls, to model that generator without calling it"
    )
    command.add_argument("recorded", type=Path, metavar="CASSETTE", help="a cassette, or a folder that holds some")
    command.add_argument("--name", required=True, help="of the profile")
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="ends in .yaml; others in it stay")
    command.add_argument("--model", help="whose calls, where several models were called")
    command.set_defaults(command=lambda options: _fit_profile(options, say))


def _fit_profile(options: argparse.Namespace, say: Say) -> int:
    from evalkit.llm.latency.fitting import fit_profile

    if options.out.suffix not in (".yaml", ".yml"):
        raise InputError(f"--out {options.out}: name a file that ends in .yaml")
    if not re.fullmatch(r"[\w.-]+", options.name) or options.name.endswith((".yaml", ".yml")):
        raise InputError(f"--name {options.name!r}: use letters, digits, '-', '_' and '.', and no file's ending")
    calls = _of_model(list(_calls(options.recorded)), options.model, options.recorded)
    try:
        fitted = fit_profile(calls)
    except InputError as error:
        raise InputError(f"{options.recorded}: {error}") from None
    _write(options.out, options.name, fitted)
    say(_told(fitted))
    say(
        f"\n{options.out}: profile {options.name}; use it as profile: {options.out}, or with EVALKIT_PROFILES by name"
    )
    return DONE


def _calls(recorded: Path) -> Iterator[Call]:
    """Yield every recorded call of a model."""
    from evalkit.llm.cassettes import calls

    files = sorted(recorded.glob(f"*{_ENDING}")) if recorded.is_dir() else [recorded]
    if not files:
        raise InputError(f"{recorded}: holds no cassette (*{_ENDING}); record calls into one first")
    for file in files:
        for line in calls(file):
            if line.call is not None:
                yield line.call


def _of_model(calls: list[Call], model: str | None, recorded: Path) -> list[Call]:
    """Return one model's calls, in order of their days."""
    models = Counter(call.model for call in calls)
    if not models:
        raise InputError(f"{recorded}: holds no call of a model")
    if model is None and len(models) > 1:
        found = ", ".join(f"{name or 'no name'} ({count})" for name, count in models.most_common())
        raise InputError(f"{recorded}: holds calls of {found}; say which with --model")
    if model is not None and model not in models:
        raise InputError(f"--model {model}: not in {recorded}{nearest(model, models)}")
    return sorted((c for c in calls if model in (None, c.model)), key=lambda call: call.day)


def _write(path: Path, name: str, fitted: Fitted) -> None:
    """Put the profile into the file, beside the others that it holds."""
    import yaml

    from evalkit.llm.latency.profiles import read_profiles

    held: dict[str, Any] = {}
    try:
        if path.exists():
            read_profiles(path)  # says what is wrong with it, before anything is written over
            held = yaml.safe_load(path.read_text(encoding="utf-8"))
        text = yaml.safe_dump({**held, name: fitted.plain()}, sort_keys=False, allow_unicode=True, width=100)
        part = path.with_name(f".{path.name}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def _told(fitted: Fitted) -> str:
    """The fit as a person reads it."""
    scales = {"base": (1e3, "ms"), "prefill": (1e6, "ms per 1,000 uncached tokens")}
    scales |= {"cached": (1e6, "ms per 1,000 cached tokens"), "per_token": (1e3, "ms per output token")}
    lines = [f"{fitted.n} calls" + (f" to {fitted.model}" if fitted.model else "")]
    lines += [f"left out: {count} {why}" for why, count in sorted(fitted.left_out.items())]
    for what in ("uncached", "cached", "output"):
        low, high = getattr(fitted, what)
        lines.append(f"{what:<13} {low:,} to {high:,} tokens; beyond that it is an extrapolation")
    for name, found in fitted.parameters.items():
        scale, unit = scales.get(name, (1.0, "(sigma of the logarithm)"))
        value, low, high = (scale * x for x in (found.value, found.low, found.high))
        lines.append(f"{name:<13} {value:.4g}  [{low:.4g}, {high:.4g}]  {unit}")
    for name, left in fitted.residuals.items():
        lines.append(
            f"residuals of {name}: log-normal p = {left.normal:.2g}, trend {left.trend:+.2f}, "
            f"with size {left.size:+.2f}, worst {left.worst:.1f} sigma"
        )
    return "\n".join([*lines, *fitted.notes])
