"""A flow whose samples lie on several devices: the trajectory of one device."""

import os
import subprocess
import sys

import pytest


TWO_DEVICES = r"""
import logging

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

jax.config.update("jax_enable_x64", True)
import gflow


class Loops(logging.Handler):
    count = 0

    def emit(self, record):
        self.count += "Compiling jit(advance)" in record.getMessage()


loops = Loops()
logging.getLogger("jax").addHandler(loops)
logging.getLogger("jax").propagate = False
jax.config.update("jax_log_compiles", True)
mesh = jax.make_mesh((2,), ("samples",))
random = np.random.default_rng(7)
x = random.normal(size=(10, 3))
y = np.sign(x[:, 0] + 0.1)
network = gflow.nn.MLP(3, (5,), {network}, key=jax.random.key(3))


def follow(spread):
    where = NamedSharding(mesh, PartitionSpec(*spread))
    flow = gflow.GradientFlow(gflow.Logistic(), jax.device_put(x, where), y)
    assert flow.x.sharding.is_equivalent_to(where, 2)
    return gflow.solve(
        flow, network, until=gflow.Until(log_t=30.0), rtol=1e-7, progress=False
    )


flow = gflow.GradientFlow(gflow.Logistic(), x, y)
one = gflow.solve(
    flow, network, until=gflow.Until(log_t=30.0), rtol=1e-7, progress=False
)
assert loops.count == 1
two = follow(("samples",))
assert len(two.flow.x.addressable_shards) == 2
assert loops.count == 2, loops.count  # all of a run's calls are the same program
assert one.result == two.result == gflow.RESULTS.successful
times = np.linspace(-3.0, 30.0, 7)
for log_t in times:
    a, b = one.at(log_t=log_t), two.at(log_t=log_t)
    for p, q in zip(jax.tree.leaves(a.direction), jax.tree.leaves(b.direction)):
        np.testing.assert_allclose(p, q, rtol=0, atol=1e-10)
    np.testing.assert_allclose(a.log_radius, b.log_radius, rtol=1e-10)
    np.testing.assert_allclose(a.weights, b.weights, rtol=0, atol=1e-10)
ends = [gflow.limit(curve, tolerance=1e-6) for curve in (one, two)]
assert ends[0].verdict == ends[1].verdict
assert abs(ends[0].margin / ends[1].margin - 1) < 1e-10
"""


def run(program):
    environment = dict(os.environ, OPENBLAS_NUM_THREADS="1", JAX_PLATFORMS="cpu")
    environment["XLA_FLAGS"] = " ".join(
        (os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=2")
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr[-3000:]


def test_smooth_networks_on_two_devices():
    run(TWO_DEVICES.replace("{network}", "power=2, leak=-1.0"))


@pytest.mark.slow
def test_kinks_on_two_devices():
    run(TWO_DEVICES.replace("{network}", "power=1"))
