"""The numbers in README's tables, from the rows of the benchmarks.

README has the words, `benchmarks/rows/` the numbers: a line of a table is found by its
first cells, and the others are written anew from the row of its case.

    python -m benchmarks.tables
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
ROWS = Path(__file__).parent / "rows"


def number(value, digits=2):
    """A number to some digits: 1.2e-7, 0.05, 77, 125; nothing for none."""
    if value is None or value == 0:
        return "" if value is None else "0"
    if 10**digits <= abs(value) < 1e6:
        return f"{value:.0f}"
    plain = 1e-3 <= abs(value) < 1e6
    found = f"{value:#.{digits}g}" if plain else f"{value:.{digits - 1}e}"
    mantissa, _, exponent = found.partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa.removesuffix(".")


def attempts(row):
    """Steps, rejected ones counted."""
    return str(row["attempts"] if "attempts" in row else row["steps"])


def seconds(row):
    """Seconds, with the memory where nothing else could be timed."""
    found = number(row["seconds"])
    apart = "peak_gigabytes" in row and "ratio" not in row
    return f"{found}, in {number(row['peak_gigabytes'])} GB" if apart else found


def cell(name, digits=2) -> Callable[[dict], str]:
    """What a row has under a name, or nothing."""
    return lambda row: number(row.get(name), digits)


def count(name) -> Callable[[dict], str]:
    """What a row counts."""
    return lambda row: str(row[name])


def own_error(row):
    """An error, and whether it is against a tighter solve of our own."""
    own = row["error_against"] in ("rtol / 10", "rtol / 100")
    return number(row["error"]) + (" (own, tighter)" if own else "")


def error_in_unit(row):
    """An error in its unit, of tolerances to one digit."""
    in_rtol = row["unit"] == "rtol"
    return number(row["error"], 1) + " rtol" if in_rtol else number(row["error"])


class Table(NamedTuple):
    """A table: the cells after the first, and the case of each line by its first."""

    rows: str
    cells: tuple[Callable[[dict], str], ...]
    cases: dict[str, str]


LINEAR = "two linear layers, 4 modes, square loss: half-learning times | "
SADDLES = "squared ReLUs, four saddles, to R = 1e26: log t of the escapes | "
DIAGONAL = "diagonal network, square loss, rtol 1e-8: the predictor on the way | "
TABLES = (
    Table(
        "reach",
        (attempts, own_error, seconds),
        {
            "two-layer ReLU^2, N = 110, to R = 1e43, rtol 1e-6": "relu2, R = 1e43",
            "three-layer linear, to R = 1e30, rtol 1e-8": "linear x 1, R = 1e30",
            "the same from weights of scale 1e-50": "linear x 1e-50, R = 1e30",
            "the same from weights of scale 1e-100": "linear x 1e-100, R = 1e30",
            "the same from 1e-100 to R = 1e299, rtol 1e-6": (
                "linear x 1e-100, R = 1e299"
            ),
            "`held`, degenerate multipliers and saddles, to R = 1e299": (
                "held, R = 1e299"
            ),
            "digits 3/8, n = 100, width 10, to R = 1e30, rtol 1e-6": (
                "digits, n = 100, width 10, R = 1e30"
            ),
            "digits 3/8, n = 357, width 64, to R = 1e30, rtol 1e-4": (
                "digits, n = 357, width 64, R = 1e30"
            ),
            "ReLU^2 to log t = 1e5 only (R = 4e6), gflow": "relu2, log t = 1e5",
        },
    ),
    Table(
        "reach",
        (lambda row: f"{row['field_calls']} field calls", lambda row: "", seconds),
        {
            "ReLU^2 to log t = 1e5 only (R = 4e6): SciPy LSODA": (
                "relu2, log t = 1e5, LSODA"
            )
        },
    ),
    Table(
        "reach",
        (lambda row: "", lambda row: "", cell("ratio")),
        {
            "first call, tracing and compiling: stock Diffrax Kvaerno5 = 1": (
                "first call over stock"
            )
        },
    ),
    Table(
        "any_start",
        (attempts, error_in_unit),
        {
            LINEAR + "0.01": "2 linear layers x 0.01",
            LINEAR + "1e-8": "2 linear layers x 1e-08",
            LINEAR + "1e-30": "2 linear layers x 1e-30",
            LINEAR + "1e-100": "2 linear layers x 1e-100",
            "three linear layers, likewise | 0.01": "3 linear layers x 0.01",
            "three linear layers, likewise | 1e-100": "3 linear layers x 1e-100",
            SADDLES + "0.001": "XOR, squared ReLU x 0.001, rtol 1e-06",
            SADDLES + "1e-8": "XOR, squared ReLU x 1e-08, rtol 1e-06",
            SADDLES + "1e-20": "XOR, squared ReLU x 1e-20, rtol 1e-06",
            SADDLES + "1e-50": "XOR, squared ReLU x 1e-50, rtol 1e-06",
            SADDLES + "1e-100": "XOR, squared ReLU x 1e-100, rtol 1e-06",
            DIAGONAL + "0.01": "diagonal x 0.01, square loss, rtol 1e-08",
            DIAGONAL + "1e-100": "diagonal x 1e-100, square loss, rtol 1e-08",
            "diagonal network, exponential loss, likewise | 1e-100": (
                "diagonal x 1e-100, exponential loss, rtol 1e-08"
            ),
        },
    ),
    Table(
        "kinks",
        (attempts, count("events"), cell("error"), seconds),
        {
            "1 | 1e-6": "12 ReLUs from scale 1, rtol 1e-06",
            "1 | 1e-8": "12 ReLUs from scale 1, rtol 1e-08",
            "0.01 | 1e-6": "12 ReLUs from scale 0.01, rtol 1e-06",
            "1e-8 | 1e-6": "12 ReLUs from scale 1e-08, rtol 1e-06",
            "1e-50 | 1e-6": "12 ReLUs from scale 1e-50, rtol 1e-06",
            "1e-100 | 1e-6": "12 ReLUs from scale 1e-100, rtol 1e-06",
        },
    ),
    Table(
        "relus",
        (attempts, count("events"), count("slides"), cell("error"), seconds),
        {
            "16, N = 336": "16 ReLUs on 100 points",
            "64, N = 1344": "64 ReLUs on 100 points",
            "256, N = 5376": "256 ReLUs on 100 points",
            "1024, N = 21504": "1024 ReLUs on 100 points",
            "64 on images, N = 4160": "digits 3 and 8, ReLUs 64, R = 1e30",
            "64-32-32 on images, N = 7200": "digits 3 and 8, ReLUs 64-32-32, R = 1e30",
        },
    ),
    Table(
        "orthogonal",
        (
            lambda row: str(row["steps"] + row["rejected"]),
            count("events"),
            lambda row: ", ".join(
                number(row[name], 3) for name in ("half_positive", "half_negative")
            ),
            lambda row: number(row["error"] / row["rtol"], 1) + " rtol",
        ),
        {
            "1e-3": "orthogonal inputs from 0.001",
            "1e-12": "orthogonal inputs from 1e-12",
            "1e-30": "orthogonal inputs from 1e-30",
        },
    ),
    Table(
        "shapes",
        (attempts, cell("error"), seconds, cell("ratio")),
        {
            "100, squares": "n = 100, N = 20, square",
            "1,000, squares": "n = 1000, N = 20, square",
            "10,000, squares": "n = 10000, N = 20, square",
            "100, squared ReLUs": "n = 100, N = 20, ReLU^2",
            "1,000, squared ReLUs": "n = 1000, N = 20, ReLU^2",
            "10,000, squared ReLUs": "n = 10000, N = 20, ReLU^2",
        },
    ),
    Table(
        "cvode",
        (attempts, cell("error"), seconds, cell("ratio")),
        {
            "digits, log t = 3": "digits, log t = 3",
            "digits, log t = 10": "digits, log t = 10",
            "digits, log t = 100": "digits, log t = 100",
            "digits, log t = 1e3": "digits, log t = 1000",
            "digits, log t = 1e4": "digits, log t = 10000",
            "digits, log t = 1e5": "digits, log t = 100000",
            "regression, N = 33": "regression, n = 10000",
        },
    ),
    Table(
        "devices",
        (attempts, cell("apart", 1), seconds, cell("ratio")),
        {
            "toy, n = 7, N = 110, to R = 1e30, rtol 1e-6": "toy",
            "ReLUs on images, n = 100, N = 4,160, to t = 1e4, rtol 1e-4": "kinks",
            "images, n = 357, N = 10,400, to R = 1e30, rtol 1e-4": "square",
            "n = 100,000, N = 20, to log t = 5, rtol 1e-6": "tall",
            "images, n = 100, N = 104,000, to R = 1e30, rtol 1e-4": "wide",
            "images, n = 100, N = 1,001,000, to R = 1e30, rtol 1e-4": "wider",
        },
    ),
)


def rows_of(name):
    """The rows of a benchmark by their case."""
    lines = (ROWS / f"{name}.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return {row["case"]: row for row in rows if "case" in row}


def written(text):
    """README with the numbers of the rows.

    Raises:
        ValueError: If not exactly one line begins with the first cells of a case.
    """
    lines = text.splitlines()
    for table in TABLES:
        rows = rows_of(table.rows)
        for words, case in table.cases.items():
            first = f"| {words} |"
            places = [k for k, line in enumerate(lines) if line.startswith(first)]
            if len(places) != 1:
                raise ValueError(
                    f"One line of README must begin with {first!r}, but {len(places)} "
                    "do: change its words there or in `benchmarks/tables.py`."
                )
            cells = [made(rows[case]) for made in table.cells]
            lines[places[0]] = " ".join(
                [first, *(f"{c} |" if c else "|" for c in cells)]
            )
    return "\n".join(lines) + "\n"


def main():
    """Write README's tables anew."""
    README.write_text(written(README.read_text()))


if __name__ == "__main__":
    main()
