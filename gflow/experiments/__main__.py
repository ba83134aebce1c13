"""List the experiments, or run some and print what they find.

python -m gflow.experiments [NAME ...] [--all]
"""

import argparse
import inspect
import sys
from collections.abc import Sequence

import jax

from .. import experiments


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was asked for; 1 if an experiment does not hold, else 0."""
    known = dict(sorted(inspect.getmembers(experiments, inspect.isfunction)))
    parser = argparse.ArgumentParser(
        prog="python -m gflow.experiments",
        description="Published results about gradient flow, each beside its "
        "measurement. Without a name, lists them.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which to run")
    parser.add_argument("--all", action="store_true", help="run all of them")
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.names if name not in known]
    if unknown:
        parser.error(
            f"NAME must be one of {', '.join(known)}, but is {', '.join(unknown)}."
        )
    names = list(known) if asked.all else asked.names
    if not names:
        for name, run in known.items():
            text = (inspect.getdoc(run) or "").splitlines()[0]
            print(f"{name.ljust(max(map(len, known)))}  {text}")
        return 0
    jax.config.update("jax_enable_x64", True)
    held = []
    for name in names:
        found = known[name]()
        print(found, end="\n\n", flush=True)
        held.append(found.holds)
    print(f"{sum(held)} of {len(held)} hold.")
    return int(not all(held))


if __name__ == "__main__":
    sys.exit(main())
