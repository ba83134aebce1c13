"""The smallest case of `benchmarks/sweep.py`, on a cluster that loses a worker too."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]
PROGRAM = """
from benchmarks import sweep
if __name__ == "__main__":
    sweep.main(seeds=3, on_cluster=6, repeats=1)
"""


@pytest.mark.slow
def test_all_members_come_back():
    lines = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, check=True, capture_output=True,
        text=True,
    ).stdout.splitlines()  # fmt: skip
    rows = [json.loads(line) for line in lines if line.startswith("{")][1:]
    assert [row["members"] for row in rows] == [3, 6]
    assert all(row["missing"] == 0 for row in rows)
    assert rows[0]["ratio"] > 0
