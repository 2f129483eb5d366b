"""A large corpus is not held as Python objects."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest

MEGABYTE = 1_000_000
PEAK = """
import resource, sys
from pathlib import Path
import evalkit as ek

def peak():
    status = Path("/proc/self/status")  # on Linux, a process inherits its parent's ru_maxrss
    if status.exists():
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

before = peak()
data = ek.load_dataset(sys.argv[1])
print(len(data.documents), peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("ascii_only", [True, False], ids=["escapes", "UTF-8"])
def test_a_corpus_of_100_mb_takes_less_than_three_times_its_size(ascii_only, tmp_path, pytestconfig):
    handbook = pytestconfig.rootpath / "datasets" / "handbook" / "documents.jsonl"
    rows, rng = [json.loads(line) for line in handbook.read_text(encoding="utf-8").splitlines()], random.Random(0)
    size = count = 0
    with (tmp_path / "documents.jsonl").open("w", encoding="utf-8") as file:
        while size < 100 * MEGABYTE:
            row = rng.choice(rows)
            text = row["text"][: rng.randint(800, 2_000)].replace("euro", "€").replace("ss", "ß")
            changed = row | {"id": f"{rng.randrange(16**8):08x}-{count}", "text": text}
            size += file.write(json.dumps(changed, ensure_ascii=ascii_only) + "\n")
            count += 1
    (tmp_path / "queries.jsonl").write_text(json.dumps({"id": "q", "text": "What was last?"}) + "\n")
    (tmp_path / "qrels.tsv").write_text(f"q\t{changed['id']}\t1\n")
    command = [sys.executable, "-c", PEAK, str(tmp_path)]
    loaded, memory = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert loaded == count
    assert memory < 3 * (tmp_path / "documents.jsonl").stat().st_size
