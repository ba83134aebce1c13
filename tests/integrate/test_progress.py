"""What a solve says while it runs."""

import io
import sys

import gflow
import numpy as np
import pytest
from curves import problem
from gflow._integrate._progress import LineMeter, Report, log_time_text
from gflow._limit import stability, work


class Listener(gflow.AbstractMeter):
    """Keeps what it is told."""

    def __init__(self):
        self.reports, self.messages = [], []

    def update(self, report):
        self.reports.append(report)

    def close(self, message):
        self.messages.append(message)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def solve(**options):
    options = {"until": gflow.Until(log_t=10.0)} | options
    return gflow.solve(*problem("relu2"), **options)


def test_a_meter_hears_every_chunk_and_the_end():
    listener = Listener()
    trajectory = solve(progress=listener)
    steps = [report.steps for report in listener.reports]
    assert len(steps) >= 2
    assert np.all(np.diff(steps) >= 0)
    last = listener.reports[-1]
    assert last.steps == trajectory.stats["steps"]
    assert last.rejected == trajectory.stats["rejected"]
    assert last.log_t >= 10.0
    assert last.log_margin_scale >= 3 * float(trajectory.log_radius[-1])
    assert last.log_loss <= float(trajectory.log_loss[-1])
    assert last.normalized_margin > 0
    assert listener.messages == ["reached log_t"]


def test_a_meter_hears_why_a_solve_failed():
    listener = Listener()
    with pytest.raises(gflow.SolveError, match="`max_steps`"):
        solve(progress=listener, max_steps=3)
    assert "`max_steps`" in listener.messages[0]


def test_a_long_search_for_a_limit_shows_one_line(monkeypatch, capsys):
    curve = solve(until=gflow.Until(log_margin_scale=60.0), progress=False)
    silent = gflow.limit(curve)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(work, "PATIENCE", 0.0)
    monkeypatch.setattr(work, "APART", 0.0)
    monkeypatch.setattr(stability, "MOST_DENSE", 10)  # rates by Lanczos' method
    quiet, terminal = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stderr", quiet)
    gflow.limit(curve, progress=False)
    assert quiet.getvalue() == ""
    monkeypatch.setattr(sys, "stderr", terminal)
    found = gflow.limit(curve)
    shown = terminal.getvalue()
    assert shown.count("\n") == 1
    assert shown.endswith("/s\n")
    assert "limit: Newton's method, 1 products" in shown
    assert "limit: growth of deviations, " in shown
    assert found.verdict == silent.verdict
    assert abs(found.margin / silent.margin - 1) <= 1e-12


def test_the_line_of_a_search_ends_with_it(monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    curve = solve(until=gflow.Until(log_margin_scale=60.0), progress=False)
    monkeypatch.setattr(work, "PATIENCE", 0.0)
    monkeypatch.setattr(work, "APART", 0.0)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    ticked = work.Work.count
    monkeypatch.setattr(
        work.Work, "count", lambda self, n=1: (ticked(self, n), interrupted(self))
    )
    found = gflow.limit(curve)
    assert found.verdict == gflow.Verdict.NOT_SHOWN
    assert "Stopped early" in found.reasons[0]
    assert terminal.getvalue().endswith("/s\n")


@pytest.mark.parametrize("progress", [True, False])
def test_nothing_is_written_where_there_is_no_terminal(capsys, progress):
    solve(progress=progress)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_one_line(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    solve()
    shown = terminal.getvalue()
    assert shown.count("\n") == 1
    assert shown.endswith("  reached log_t\n")
    assert "steps (" in shown
    assert " log loss -" in shown
    assert capsys.readouterr().out == ""


def test_a_terminal_stays_quiet_if_told_so(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    solve(progress=False)
    assert terminal.getvalue() == ""


def test_the_line_holds_margin_loss_and_steps(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    meter = LineMeter()
    meter.update(Report(1e9, 25.0, -1e9, 0.027, 40, 7))
    assert (
        "log t = 10^9.00  margin +2.700000e-02  log loss -1e+09  40 steps (7 rej"
        in (terminal.getvalue())
    )


@pytest.mark.parametrize(
    ("log_t", "text"),
    [
        (-np.inf, "log t = -inf"),
        (-100.0, "log t = -100"),
        (0.0, "t = 1"),
        (np.log(2e-3), "t = 0.002"),
        (1e9, "log t = 10^9.00"),
        (np.inf, "log t = inf"),
    ],
)
def test_times_in_words(log_t, text):
    assert log_time_text(log_t) == text
