"""JAX's cache of compiled programs spares a second process the compilation."""

import os
import subprocess
import sys

import pytest


PROGRAM = """
import jax
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_compilation_cache_dir", {path!r})
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
import collections
counts = collections.Counter()
jax.monitoring.register_event_listener(lambda name, **_: counts.update([name]))
import gflow
x, y = gflow.data.separable(8, 3, shift=0.2, seed=0)
net = gflow.nn.MLP(3, (5,), power=2, leak=-1.0, key=jax.random.key(0))
flow = gflow.GradientFlow(gflow.Logistic(), x, y)
curve = gflow.solve(flow, net, until=gflow.Until(log_t=3.0), progress=False)
asked, found = (
    counts["/jax/compilation_cache/" + name]
    for name in ("compile_requests_use_cache", "cache_hits")
)
print(asked, found, curve.log_loss[-1])
"""


def test_a_second_process_compiles_nothing(tmp_path):
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "true"}
    program = PROGRAM.format(path=str(tmp_path))

    def run():
        lines = subprocess.run(
            [sys.executable, "-c", program], env=environment, check=True,
            capture_output=True, text=True,
        ).stdout.split()  # fmt: skip
        return int(lines[0]), int(lines[1]), lines[2]

    (asked, _, loss), files = run(), sorted(tmp_path.iterdir())
    assert run() == (asked, asked, loss)
    # Nothing new is stored but when a program was last used.
    named = {path.name.removesuffix("-atime") for path in files}
    assert {p.name.removesuffix("-atime") for p in tmp_path.iterdir()} == named


TURNED = """
import jax, numpy as np
jax.config.update("jax_enable_x64", True)
from gflow._compile import compiled
def rows(columns, blocks):
    return jax.numpy.ravel(jax.numpy.swapaxes(blocks @ columns.T, 1, 2))[7:]
random = np.random.default_rng(0)
columns, blocks = random.normal(size=(5, 4)), random.normal(size=(3, 6, 4))
right = np.swapaxes(blocks @ columns.T, 1, 2).ravel()[7:]
print(np.max(np.abs(compiled(rows)(columns, blocks) - right)))
"""


@pytest.mark.parametrize("flags", ["", "--xla_disable_hlo_passes=fusion"])
def test_options_that_xla_does_not_keep_to_are_not_used(flags):
    """Where fusion is off, its older emitter reads arrays in the wrong order."""
    environment = os.environ | {"XLA_FLAGS": flags}
    found = subprocess.run(
        [sys.executable, "-c", TURNED], env=environment, check=True,
        capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert float(found) < 1e-14
