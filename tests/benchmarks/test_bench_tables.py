"""README's tables say what the rows of the benchmarks do."""

import json

import pytest

from benchmarks import tables


def test_the_tables_are_those_of_the_rows():
    text = tables.README.read_text()
    assert tables.written(text) == text, "Run `python -m benchmarks.tables`."


def test_another_row_is_another_number(monkeypatch, tmp_path):
    for path in tables.ROWS.glob("*.jsonl"):
        (tmp_path / path.name).write_text(path.read_text())
    lines = (tmp_path / "shapes.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    for row in rows[1:]:
        row["attempts"], row["ratio"] = 9876, 0.0123
    (tmp_path / "shapes.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setattr(tables, "ROWS", tmp_path)
    text = tables.README.read_text()
    found = tables.written(text)
    changed = set(found.splitlines()) - set(text.splitlines())
    assert len(changed) == len(rows) - 1
    assert all("| 9876 |" in line and line.endswith("| 0.012 |") for line in changed)


def test_a_line_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"must begin with '\| two-layer"):
        tables.written("nothing\n")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""), (0.0, "0"), (1.2345e-7, "1.2e-7"), (0.0512, "0.051"),
        (2.0, "2.0"), (1.9e-4, "1.9e-4"),
        (1.4448, "1.4"), (77.14, "77"), (125.13, "125"), (9e-16, "9.0e-16"),
    ],
)  # fmt: skip
def test_numbers_are_short(value, text):
    assert tables.number(value) == text
