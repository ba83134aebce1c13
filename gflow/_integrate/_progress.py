"""What a long solve shows while it runs."""

import abc
import math
import sys
import time
from typing import NamedTuple


class Report(NamedTuple):
    """Where a solve is.

    Attributes:
        log_t: Logarithm of physical time.
        log_margin_scale: $L \\rho$.
        log_loss: Logarithm of the mean loss.
        normalized_margin: The smallest margin at radius one.
        steps: Accepted steps so far.
        rejected: Rejected steps so far.
    """

    log_t: float
    log_margin_scale: float
    log_loss: float
    normalized_margin: float
    steps: int
    rejected: int


class AbstractMeter(abc.ABC):
    """Receives reports between chunks of steps."""

    @abc.abstractmethod
    def update(self, report: Report) -> None:
        """Show one report."""

    @abc.abstractmethod
    def close(self, message: str) -> None:
        """Show how the solve ended."""


class SilentMeter(AbstractMeter):
    """Shows nothing."""

    def update(self, report):
        del report

    def close(self, message):
        del message


class LineMeter(AbstractMeter):
    """One line that is rewritten, on standard error, at most ten times a second."""

    def __init__(self):
        self._start = time.monotonic()
        self._shown = -math.inf
        self._last = ""

    def update(self, report):
        now = time.monotonic()
        rate = report.steps / max(now - self._start, 1e-9)
        self._last = (
            f"{log_time_text(report.log_t)}  margin {report.normalized_margin:+.6e}  "
            f"log loss {report.log_loss:.3g}  {report.steps} steps "
            f"({report.rejected} rejected)  {rate:.0f}/s"
        )
        if now - self._shown > 0.1:
            self._shown = now
            sys.stderr.write(f"\r\x1b[2K{self._last}")
            sys.stderr.flush()

    def close(self, message):
        sys.stderr.write(f"\r\x1b[2K{self._last}  {message}\n")
        sys.stderr.flush()


def log_time_text(log_t: float) -> str:
    """Physical time in words: `t = 0.002`, or `log t = 1e9.3` far out."""
    if log_t < 50:
        return f"t = {math.exp(log_t):.3g}" if log_t > -50 else f"log t = {log_t:.4g}"
    return f"log t = 10^{math.log10(log_t):.2f}" if log_t < math.inf else "log t = inf"


def meter(progress: bool | AbstractMeter) -> AbstractMeter:
    """The meter that `progress` asks for; quiet where standard error is no terminal.

    Raises:
        ValueError: If it is neither a bool nor a meter.
    """
    if isinstance(progress, AbstractMeter):
        return progress
    if not isinstance(progress, bool):
        raise ValueError(
            f"`progress` must be True, False or a meter, but is {progress!r}."
        )
    return LineMeter() if progress and sys.stderr.isatty() else SilentMeter()
