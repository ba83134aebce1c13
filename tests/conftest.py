import atexit
import fnmatch
import gc
import os
import shutil
import signal
import tempfile
from pathlib import Path


# Before NumPy loads: several BLAS threads make small factorizations far slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"
# Most of the suite's time is compilation, and this halves it; so does each core compile
# a program of its own. To test programs as users run them, set XLA_FLAGS to nothing.
FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
os.environ.setdefault("XLA_FLAGS", FLAGS)
# Processes share what they compile: those of a run, and those that tests start.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="gflow-xla-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"
    atexit.register(
        shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True
    )

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


SLOW = Path(__file__).with_name("slow.txt")
"""Cases of the slow run, beside those that are marked in their files."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Mark the cases of `slow.txt`; a pattern of none is a mistake."""
    patterns = [p for p in SLOW.read_text().splitlines() if p and p[0] != "#"]
    names = [item.nodeid.removeprefix("tests/") for item in items]
    found = {p: fnmatch.filter(names, p) for p in patterns}
    slow = {name for some in found.values() for name in some}
    for item, name in zip(items, names, strict=True):
        if name in slow:
            item.add_marker(pytest.mark.slow)
    files = {name.split("::")[0] for name in names}
    whole = not config.option.keyword and "::" not in "".join(config.args)
    stale = [p for p in patterns if p.split("::")[0] in files and not found[p]]
    if whole and stale:
        raise pytest.UsageError(f"{SLOW}: no test has the name of {stale}.")


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
