"""The smallest case of `benchmarks/devices.py`, on the device at hand."""

import json

import jax

from benchmarks import devices


def test_rows_tell_how_far_apart_two_devices_are():
    (row,) = devices.main(cases=("toy",), device=jax.devices()[0])
    assert row["result"] == "successful"
    assert row["apart"] < 1e-6  # the tolerance
    assert row["weights"] == 110
    assert json.loads(json.dumps(row, allow_nan=False)) == row
