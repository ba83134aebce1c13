import gc
import os
import signal
from pathlib import Path


# Before NumPy loads: several BLAS threads make small factorizations far slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"
# Most of the suite's time is compilation, and this halves it; so does each core compile
# a program of its own. To test programs as users run them, set XLA_FLAGS to nothing.
FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
os.environ.setdefault("XLA_FLAGS", FLAGS)

import jax


jax.config.update("jax_enable_x64", True)
# Diffrax, Optimistix and Lineax broadcast explicitly too, so this holds everywhere.
jax.config.update("jax_numpy_rank_promotion", "raise")

import hypothesis
import pytest


# Tracing makes millions of objects that live: to look for cycles costs 5 % of the time.
gc.set_threshold(50_000, 20, 20)


hypothesis.settings.register_profile(
    "gflow",
    deadline=None,  # the first example compiles
    max_examples=15,
    print_blob=True,
    derandomize="CI" in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("gflow")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Tests of one file share solves: with `-n`, let neighbors be in one process."""
    option = config.option
    if getattr(option, "numprocesses", None) and option.dist == "no":
        option.dist = "worksteal"


MOST_MAPPINGS = 20_000
"""Memory mappings of a test process before what it compiled is dropped: each program
takes dozens, and Linux ends a process that asks for more than 65,530."""


@pytest.fixture(autouse=True, scope="module")
def few_compiled_programs():
    """Drop compiled programs between modules when there are too many."""
    yield
    mappings = Path("/proc/self/maps")
    if mappings.exists() and mappings.read_text().count("\n") > MOST_MAPPINGS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def heard():
    """Ctrl-C as in a terminal: a shell's background jobs are started deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
