"""The command line's ``replay``: a day of traffic through services, and the rate at which they still keep up."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli.data import absent, read_data
from evalkit.errors import InputError, InputErrors

if TYPE_CHECKING:
    from evalkit.datasets import Dataset
    from evalkit.serving.load.load import Load
    from evalkit.serving.load.replays import Replays

DONE, FAILED = 0, 1

Say = Callable[[str], None]


def add_replay_command(commands: Any, say: Say, near: Callable[[Path], str]) -> None:
    """Add ``replay`` to the subcommands; `say` prints what it has to say, `near` a path as the user would type it."""
    command: argparse.ArgumentParser = commands.add_parser(
        "replay", help="send traffic through services, as a YAML file has it; exit 1 if one misses a target"
    )
    add = command.add_argument
    add("spec", type=Path, metavar="SPEC", help="a replay's YAML file: data set, services, traffic, targets")
    add("--out", type=Path, metavar="DIR", help="folder of the results (default results/<name>)")
    add("--rate", action="store_true", help="also search for the highest rate that meets the targets")
    add("--clock", choices=("virtual", "wall"), help="another clock than the spec's")
    add("--cores", type=int, metavar="N", help="another number of cores of the virtual machine than the spec's")
    add("--check", action="store_true", help="say everything that is wrong with the spec; replay nothing")
    add("--no-track", action="store_true", help="do not log to MLflow")
    command.set_defaults(command=lambda options: _replay(options, say, near))


def _replay(options: argparse.Namespace, say: Say, near: Callable[[Path], str]) -> int:
    from evalkit.paths import results_dir
    from evalkit.serving.load.replays import LOADS, run_load

    if (read := _read(options)) is None:
        say(f"{options.spec}: skipped, its data set is not here")
        return DONE
    load, data = read
    if options.check:
        say(f"{options.spec}: {len(load.services)} service{'s' * (len(load.services) != 1)} on {data}")
        return DONE
    folder = options.out or results_dir() / load.name
    LOADS.check(folder.resolve())
    found = run_load(load, data)
    place = found.save(folder.resolve())
    _draw(found, place / "plots")
    say(str(found))
    say(f"\n{found.manifest['seconds']:.1f} s\nresults  {near(place)}")
    if not options.no_track:
        from evalkit.tracking import track_replays, ui_command, ui_url

        track_replays(found, place)
        first = "make ui (or evalkit ui), then " if ui_command() else ""
        say(f"MLflow   {first}{ui_url(experiment=load.name)}")
    for row in found.failed.itertuples():
        sign = "at least" if row.at_least else "at most"
        say(f"MISSED   {row.service}: {row.target} is {row.value:.4g}, not {sign} {row.limit:g}")
    return DONE if found.failed.empty else FAILED


def _draw(found: Replays, folder: Path) -> None:
    """Draw each service's day, and the way of a typical request."""
    from evalkit.reporting.canvas import png
    from evalkit.reporting.serving import traffic_timeline
    from evalkit.reporting.ways import request_waterfall
    from evalkit.serving.load.replays import places

    folder.mkdir(exist_ok=True)
    for label, name in places(found).items():
        ended = max(outcome.ended for outcome in found[label].outcomes) - found[label].start
        (folder / f"{name}-timeline.png").write_bytes(png(traffic_timeline(found[label], max(1.0, ended / 200))))
        (folder / f"{name}-requests.png").write_bytes(png(request_waterfall(found[label])))


def _read(options: argparse.Namespace) -> tuple[Load, Dataset] | None:
    """Read and check a spec and its data, all faults together; None where the data may be missing and is."""
    from evalkit.serving.load.load import HighestRate
    from evalkit.serving.load.replays import check_traffic
    from evalkit.spec import load_replay, stated

    faults: list[str] = []
    load = None
    try:
        load = load_replay(options.spec)
        changed = {key: value for key in ("clock", "cores") if (value := getattr(options, key)) is not None}
        if options.rate and load.rate is None:
            changed["rate"] = HighestRate()
        load = replace(load, **changed)
    except InputErrors as error:
        places = [f"--{place[0]}: " if place else "" for place in error.places] or [""] * len(error.faults)
        faults += [f"{place}{fault}" for place, fault in zip(places, error.faults, strict=True)]
    except InputError as error:
        faults += str(error).splitlines()
    if load and absent(options.spec):
        return None
    data = read_data(options.spec, faults)
    if load and data and not faults:
        try:
            check_traffic(load, data)
            return load, data
        except InputError as error:
            faults.append(f"{stated(options.spec, 'traffic')[1]}: {error}")
    raise InputErrors(faults)
