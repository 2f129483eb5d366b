"""The command line, `evalkit`. Exit 0 done, 1 failed, 2 wrong input, 130 interrupted."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit._version import __version__
from evalkit.cli.cassette import add_cassette_commands, add_cassette_options, store_with_cassette
from evalkit.cli.certify import add_certify_command
from evalkit.cli.data import absent, read_data
from evalkit.cli.fake_claude import add_fake_claude_command
from evalkit.cli.profile import add_fit_profile_command
from evalkit.cli.replay import add_replay_command
from evalkit.cli.store import add_store_commands
from evalkit.errors import EvalkitError, InputError, InputErrors

if TYPE_CHECKING:
    from evalkit.datasets import Dataset
    from evalkit.evaluate import Experiment
    from evalkit.sweep import SweepBudget
    from evalkit.variants import Variant

DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    debug = bool(os.environ.get("EVALKIT_DEBUG"))
    logging.basicConfig(format="evalkit: %(message)s", level=logging.WARNING)
    if not debug:
        warnings.simplefilter("ignore")  # our dependencies' warnings say nothing that a user can act on
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except InputError as error:
        print(f"evalkit: {error}".replace("\n", "\nevalkit: "), file=sys.stderr)
        return WRONG_INPUT
    except EvalkitError as error:
        print(f"evalkit: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("evalkit: interrupted; what was done is in the store, run again to go on", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if debug:
            raise
        print(f"evalkit: {type(error).__name__}: {error} (EVALKIT_DEBUG=1 shows where)", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="evalkit", description="Evaluate RAG systems on your own data.")
    parser.add_argument("--version", action="version", version=f"evalkit {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    check = commands.add_parser("check", help="say everything that is wrong with an experiment; run nothing")
    plan = commands.add_parser("plan", help="say what would be run, what is shared, what the store has")
    run = commands.add_parser("run", help="run an experiment, log it to MLflow, write a report")
    report = commands.add_parser("report", help="write the HTML report and plots of results on disk")
    ui = commands.add_parser("ui", help="serve the MLflow page of all runs on this machine")
    add_store_commands(
        commands.add_parser("store", help="look after the store: ls, verify, gc, export, import"), _say
    )
    add_cassette_commands(commands.add_parser("cassette", help="look into recorded calls: show, verify"), _say)
    add_cassette_options(run)
    add_fit_profile_command(commands, _say)
    add_replay_command(commands, _say, _near)
    add_certify_command(commands, _say, _near)
    add_fake_claude_command(commands, _say)
    for command in (check, plan, run):
        command.add_argument("spec", type=Path, metavar="SPEC", help="an experiment's YAML file")
    run.add_argument("--out", type=Path, metavar="DIR", help="folder of the results (default results/<name>)")
    plan.add_argument("--graph", type=Path, metavar="SVG", help="draw the plan, to be opened in a browser")
    run.add_argument("--scheduler", metavar="ADDRESS", help="run on a Dask cluster: tcp://host:8786")
    run.add_argument("--retime", action="store_true", help="take latencies anew, though the store has them")
    run.add_argument(
        "--max-cost", type=_dollars, metavar="DOLLARS", help="begin no call, judges' included, that could pass this"
    )
    run.add_argument("--no-track", action="store_true", help="do not log to MLflow")
    report.add_argument("folder", type=Path, metavar="DIR", help="a folder that a run wrote")
    ui.add_argument("--port", type=int, default=5000)
    check.set_defaults(command=_check)
    plan.set_defaults(command=_plan)
    run.set_defaults(command=_run)
    report.set_defaults(command=_report)
    ui.set_defaults(command=_ui)
    return parser


def _read(spec: Path) -> tuple[Experiment, Dataset, dict[str, Variant]] | None:
    """Read and check an experiment and its data, all faults together; None where the data may be missing and is."""
    from evalkit.evaluate.run import check
    from evalkit.spec import load_experiment, stated

    faults: list[str] = []
    experiment = None
    try:
        experiment = load_experiment(spec)
    except InputError as error:
        faults += str(error).splitlines()
    if experiment and (folder := absent(spec)):
        print(f"{experiment.name}: skipped, its data set is not here ({folder})")
        return None
    data = read_data(spec, faults)
    if experiment and data:
        try:
            return experiment, data, check(experiment, data)
        except InputErrors as error:
            faults += [f"{stated(spec, 'metrics')[1]}: {fault}" for fault in error.faults]
        except InputError as error:  # a model that is not here
            faults.append(f"{stated(spec, 'sweep')[1]}: {error}")
    raise InputErrors(faults)


def _check(options: argparse.Namespace) -> int:
    if (read := _read(options.spec)) is None:
        return DONE
    _, data, variants = read
    _say(f"{options.spec}: {len(variants)} variant{'s' * (len(variants) != 1)} on {data}")
    return DONE


def _plan(options: argparse.Namespace) -> int:
    from evalkit.evaluate.costs import Costs
    from evalkit.evaluate.nodes import preview, sources
    from evalkit.evaluate.quality import plan_of
    from evalkit.evaluate.show import plan_text
    from evalkit.paths import store_dir
    from evalkit.store import DiskStore

    if (read := _read(options.spec)) is None:
        return DONE
    experiment, data, variants = read
    plan, store = plan_of(experiment, variants), DiskStore(store_dir())
    given = sources(data, experiment.seed)
    stored = preview(plan, given, store)
    _say(plan_text(plan, stored, Costs.of(store), given, experiment.judge))
    if options.graph:
        from evalkit.reporting.graph import plan_svg

        try:
            options.graph.write_text(plan_svg(plan, stored), encoding="utf-8")
        except OSError as error:
            raise InputError(f"{options.graph}: cannot be written ({error.strerror})") from None
        _say(f"graph    {_near(options.graph)}")
    return DONE


def _run(options: argparse.Namespace) -> int:
    from evalkit.evaluate.results import RESULTS
    from evalkit.evaluate.run import run
    from evalkit.paths import results_dir, store_dir
    from evalkit.store import DiskStore

    if (read := _read(options.spec)) is None:
        return DONE
    experiment, data, _ = read
    folder = options.out or results_dir() / experiment.name
    RESULTS.check(folder)
    folder = folder.resolve()
    with store_with_cassette(options, DiskStore(store_dir()), _say) as store:
        results = run(
            experiment,
            data,
            retime=options.retime,
            scheduler=options.scheduler,
            budget=_budget(experiment, options.max_cost),
            store=store,
        )
        results.save(folder)
    _say(str(results))
    _say(f"\n{results.compare()}")
    from evalkit.reporting import write_report

    page = write_report(results, folder)
    plan, seconds = results.manifest["plan"], results.manifest["seconds"]
    _say(f"\n{seconds:.1f} s; {plan['blocks from store']} of {plan['blocks']} pieces of work from the store")
    _say(f"results  {_near(folder)}")
    _say(f"report   {_near(page)}   (open it in a browser)")
    if not options.no_track:
        from evalkit.tracking import track, ui_command, ui_url

        track(results, folder=folder)
        first = "make ui (or evalkit ui), then " if ui_command() else ""
        _say(f"MLflow   {first}{ui_url(experiment=results.name)}")
    if results.manifest["spending"]["calls"]:
        from evalkit.evaluate.calling.spending import spent_words

        _say(f"spent    {spent_words(results.manifest['spending'])}")
    gaps = ("failed", "unfinished", "untimed", "unpaid", "unjudged")
    refused = results.manifest["spending"]["refused"]
    return FAILED if refused or any(results.manifest[gap] for gap in gaps) else DONE


def _budget(experiment: Experiment, dollars: float | None) -> SweepBudget | None:
    """The experiment's budget, with another limit in dollars where one is given."""
    from dataclasses import replace

    from evalkit.sweep import SweepBudget

    if dollars is None:
        return experiment.budget
    return replace(experiment.budget, dollars=dollars) if experiment.budget else SweepBudget(dollars=dollars)


def _dollars(text: str) -> float:
    with suppress(ValueError):
        if 0 < (value := float(text)) < float("inf"):
            return value
    raise argparse.ArgumentTypeError(f"'{text}' is no amount; give a number of dollars above 0")


def _report(options: argparse.Namespace) -> int:
    from evalkit.evaluate import Results
    from evalkit.reporting import write_report

    _say(_near(write_report(Results.load(options.folder), options.folder)))
    return DONE


def _ui(options: argparse.Namespace) -> int:
    import subprocess

    from evalkit.tracking import ui_command, ui_url

    command = ui_command(options.port)
    _say(f"MLflow on {ui_url(options.port)}" + ("   (stop with Ctrl-C)" if command else ""))
    if not command:  # a tracking server serves its own page
        return DONE
    return DONE if subprocess.run(command, check=False).returncode == 0 else FAILED


def _say(text: str) -> None:
    """Print; when nobody reads any more (``| head``), the work goes on without a word."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _near(path: Path) -> str:
    """A path as a reader in this folder would type it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
