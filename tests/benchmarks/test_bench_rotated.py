"""The smallest cases of `benchmarks/rotated.py`."""

import json

from benchmarks import rotated


def test_modes_that_share_units_are_right_or_unknown(capsys):
    rows = rotated.main(widths=(3,), goals=((2.0, 0.7),), scales=(1e-3, 1e-11))
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert printed[1:] == rows
    total = rows.pop()
    assert total["runs"] == len(rows) == 3
    assert sum(total["ends"].values()) == 3
    worst = {}
    for row in rows:
        # By the share of its unit that the second mode may fall to, at least.
        most = 50 if row["result"] == "unresolved" else 1e4
        assert row["error"] < most
        worst[row["case"]] = row["error"]
    assert total["worst_in_rtol"] == max(worst.values())
    ends = {row["case"].split(",")[0]: row["result"] for row in rows}
    assert ends["2 linear layers x 1e-11"] == "unresolved"
