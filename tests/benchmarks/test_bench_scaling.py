"""The smallest cases of `benchmarks/scaling.py`, smaller still."""

import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import scaling


@pytest.mark.slow
def test_a_case_is_measured_in_a_process_of_its_own():
    wide, many = scaling.main(widths=(8,), samples=(40,))
    assert (wide["N"], wide["n"]) == (520, 100)
    assert (many["N"], many["n"]) == (1020, 40)
    for row in (wide, many):
        assert row["ok"]
        assert row["error"] <= 100 * scaling.RTOL
        assert 0.1 < row["memory_gb"] < 2.0
        assert not row["missed"]
        assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_memory_is_that_of_the_process_and_not_of_its_parent():
    program = "from benchmarks import scaling; print(scaling.peak_memory())"
    large = np.ones(2**28)  # 2 GB
    told = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True
    )
    assert 2**24 < int(told.stdout) < large.nbytes / 2


def test_exponents_are_judged():
    rows = [{"N": n, "seconds": n**1.5} for n in (10, 100, 1000)]
    row = scaling.exponent("N", rows)
    assert abs(row["exponent"] - 1.5) < 1e-9
    assert row["missed"] == ["exponent"]
