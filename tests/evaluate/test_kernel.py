"""Interrupting a notebook's kernel: what is done is shown and said to be partial, and the next run goes on."""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

from evalkit.store import DiskStore

TESTS = Path(__file__).parents[1]
SLOW = """
import evalkit as ek
from toys import *
from evalkit.testing import tiny_dataset
slow = {f"slow {i}": dense(retrieve=Dense(SlowWords(32 + i, pause=0.4))) for i in range(12)}
sweep = ek.Sweep(keywords(5), systems=slow)
"""
PAID = """
import evalkit as ek
from toys import *
questions = {f"q{i}": f"red apples {i}" for i in range(60)}
data = small_dataset(queries=questions, qrels={q: {"d1": 1} for q in questions}, answers={"q1": "red"})
"""


class Notebook:
    """A kernel and what its cells show."""

    def __init__(self, manager, client, folder):
        self.manager, self.client, self.store = manager, client, DiskStore(folder / "store")

    def start(self, code):
        return self.client.execute(code)

    def end(self, cell, timeout=60):
        """Wait for a cell: how it ended, and what it shows or why it failed."""
        reply = None
        while reply is None or reply["parent_header"].get("msg_id") != cell:
            reply = self.client.get_shell_msg(timeout=timeout)
        shown = []
        while True:
            message = self.client.get_iopub_msg(timeout=timeout)
            if message["parent_header"].get("msg_id") != cell:
                continue
            content = message["content"]
            if content.get("execution_state") == "idle":
                break
            if message["msg_type"] in ("execute_result", "display_data"):
                shown.append(content["data"]["text/plain"])
            elif message["msg_type"] == "stream":
                shown.append(content["text"])
        said = reply["content"]
        return said["status"], "\n".join(shown) or said.get("ename", "")

    def cell(self, code):
        return self.end(self.start(code))

    def interrupt(self):
        self.manager.interrupt_kernel()

    def ops(self):
        """How many results of each op are in the store."""
        from evalkit.store.survey import survey

        return {op: share.number for op, share in survey(self.store).by_op().items()}


@contextmanager
def kernel(folder, **environment):
    manager = KernelManager(kernel_name="python3")
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    own = {"PYTHONPATH": paths, "EVALKIT_THREADS": "2", "EVALKIT_STORE": str(folder / "store"), **environment}
    manager.start_kernel(cwd=str(folder), env={**os.environ, **own})
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield Notebook(manager, client, folder)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


@pytest.fixture
def notebook(tmp_path):
    with kernel(tmp_path, TOYS_CALLS=str(tmp_path / "calls")) as found:
        yield found


def wait_for(there, seconds=60.0):
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_one_interruption_leaves_a_table_that_says_it_is_partial_and_the_cell_run_again_finishes_it(notebook):
    assert notebook.cell(SLOW)[0] == "ok"
    code = 'results = ek.run(sweep, tiny_dataset(), ["nDCG@10", "MRR@10"])\nresults'
    running = notebook.start(code)
    wait_for(lambda: notebook.ops().get("FlatSearch", 0) >= 3)
    notebook.interrupt()
    status, shown = notebook.end(running)
    assert status == "ok", shown
    left = int(re.search(r"PARTIAL: the run was ended early; (\d+) systems are not finished", shown)[1])
    assert 0 < left < 12
    first = notebook.cell("print(sorted(results.systems))")[1]
    assert "base" in first
    assert first.count("slow") == 12 - left
    made = notebook.ops()["SlowWords"]
    status, shown = notebook.cell(code)
    assert status == "ok"
    assert "PARTIAL" not in shown
    assert "slow 11" in shown
    again = notebook.cell('print(len(results.systems), results.manifest["plan"]["blocks from store"])')[1]
    systems, from_store = map(int, again.split())
    assert systems == 13
    assert from_store >= made >= 2 * (12 - left)
    assert notebook.ops()["SlowWords"] == 24


def test_after_an_interruption_no_thread_goes_on(notebook):
    notebook.cell(SLOW)
    running = notebook.start('ek.run(sweep, tiny_dataset(), ["MRR@10"])')
    wait_for(lambda: notebook.ops().get("FlatSearch", 0) >= 1)
    notebook.interrupt()
    notebook.end(running)
    time.sleep(1.0)  # what was under way has ended
    done = notebook.ops()
    time.sleep(1.0)
    assert notebook.ops() == done


def test_an_interruption_while_latency_is_taken_leaves_the_rest_and_says_so(notebook):
    notebook.cell(SLOW)
    code = 'ek.run(keywords(5), tiny_dataset(), ["MRR@10", "P95"], timing=ek.Timing(queries=8, repeats={}))'
    running = notebook.start(code.format(100_000))
    wait_for(lambda: notebook.ops().get("BM25Search", 0) >= 1)
    time.sleep(1.0)
    notebook.interrupt()
    status, shown = notebook.end(running)
    assert status == "ok", shown
    assert "PARTIAL: no latency was taken: the run was ended before" in shown
    assert "MRR@10" in shown
    status, shown = notebook.cell(code.format(1))
    assert status == "ok"
    assert "PARTIAL" not in shown
    assert "P95" in shown


def test_after_an_interruption_no_call_is_begun_and_those_under_way_are_kept(notebook, tmp_path):
    notebook.cell(PAID)
    run = 'ek.run(ek.Sweep(dense(generate=Echo(cost=0.4)), {"generate": [Echo(cost=0.5)]}), data, ["TokenF1"])'
    running = notebook.start(run)
    calls = tmp_path / "calls"

    def made():
        return calls.read_text().splitlines() if calls.exists() else []

    wait_for(lambda: len(made()) >= 60 + 8)
    notebook.interrupt()
    begun = len(made()) + 8  # eight at once: those had no answer yet
    status, shown = notebook.end(running)
    assert status == "ok", shown
    assert "PARTIAL: the run was ended early; 1 systems are not finished" in shown
    time.sleep(2.0)
    assert len(made()) <= begun + 8
    status, shown = notebook.cell(run)
    assert status == "ok"
    assert "PARTIAL" not in shown
    assert len(made()) == 120
