"""The command line's ``certify``: whether any setting of a semantic cache is within an error budget, for CI."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli.data import absent, read_data
from evalkit.errors import InputError, InputErrors

if TYPE_CHECKING:
    from evalkit.datasets import Dataset
    from evalkit.serving.thresholds.certification import Certification
    from evalkit.serving.thresholds.results import Certified

DONE, FAILED = 0, 1

Say = Callable[[str], None]


def add_certify_command(commands: Any, say: Say, near: Callable[[Path], str]) -> None:
    """Add ``certify`` to the subcommands; `say` prints what it has to say, `near` a path as a user types it."""
    command: argparse.ArgumentParser = commands.add_parser(
        "certify", help="certify a semantic cache's errors, as a YAML file has it; exit 1 if no setting is in budget"
    )
    add = command.add_argument
    add("spec", type=Path, metavar="SPEC", help="a certification's YAML file: data set, cache, settings, budget")
    add("--out", type=Path, metavar="DIR", help="folder of the results (default results/<name>)")
    add("--check", action="store_true", help="say everything that is wrong with the spec; run nothing")
    add("--no-track", action="store_true", help="do not log to MLflow")
    command.set_defaults(command=lambda options: _certify(options, say, near))


def _certify(options: argparse.Namespace, say: Say, near: Callable[[Path], str]) -> int:
    from evalkit.paths import results_dir
    from evalkit.serving.thresholds.results import CERTIFICATIONS
    from evalkit.serving.thresholds.run import run_certification

    if (read := _read(options.spec)) is None:
        say(f"{options.spec}: skipped, its data set is not here")
        return DONE
    certification, data = read
    if options.check:
        say(f"{options.spec}: {_counted(certification)} on {data}")
        return DONE
    folder = (options.out or results_dir() / certification.name).resolve()
    CERTIFICATIONS.check(folder)
    found = run_certification(certification, data)
    place = found.save(folder, plots=_drawn(found))
    say(f"{'CERTIFIED' if found.certificate.certified else 'NOT CERTIFIED'}  {found}")
    say(f"\n{found.manifest['seconds']:.1f} s\nresults  {near(place)}")
    if not options.no_track:
        from evalkit.tracking import track_certificates, ui_command, ui_url

        track_certificates(found, place)
        first = "make ui (or evalkit ui), then " if ui_command() else ""
        say(f"MLflow   {first}{ui_url(experiment=certification.name)}")
    return DONE if found.certificate.certified else FAILED


def _counted(certification: Certification) -> str:
    """Say how many settings there are."""
    swept = (certification.ttls, certification.guards, certification.embedders)
    n = len(certification.every_rule) * math.prod(max(1, len(each)) for each in swept)
    return f"{n} setting{'s' * (n != 1)}"


def _drawn(found: Certified) -> dict[str, bytes]:
    """Draw hits against wrong answers on test, the certified setting marked."""
    from evalkit.reporting.canvas import png
    from evalkit.reporting.thresholds import threshold_curves
    from evalkit.serving.thresholds.bands import banded_table

    made = found.certificate
    seed = int(found.manifest["spec"].get("seed", 0))
    tables = {label: banded_table(sweep, made.test, seed=seed) for label, sweep in found.sweeps.items()}
    own = found.sweeps[made.design.sweep].label(made.design.position)
    figure = threshold_curves(
        tables,
        budget=made.budget if made.of == "answers" else None,
        certified={made.design.sweep: own} if made.certified else None,
    )
    return {"thresholds.png": png(figure)}


def _read(spec: Path) -> tuple[Certification, Dataset] | None:
    """Read and check a spec and its data, all faults together; None where the data may be missing and is."""
    from evalkit.serving.thresholds.run import check_certification
    from evalkit.spec import load_certification, stated

    faults: list[str] = []
    certification = None
    try:
        certification = load_certification(spec)
    except InputError as error:
        faults += str(error).splitlines()
    if certification and absent(spec):
        return None
    data = read_data(spec, faults, whole=True)
    if certification and data and not faults:
        try:
            check_certification(certification, data)
            return certification, data
        except InputErrors as error:
            places = [stated(spec, str(place[0]))[1] for place in error.places]
            faults += [f"{place}: {what}" for place, what in zip(places, error.faults, strict=True)]
    raise InputErrors(faults)
