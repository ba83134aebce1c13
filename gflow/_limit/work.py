"""What a long search for a limit shows while it runs."""

import sys
import time


PATIENCE, APART = 1.0, 0.1
"""Seconds before a line is shown, and between two."""


class Work:
    """One line on standard error: what is being done, and how many products it took.

    A product is one of the curvature of all margins with a direction, of the cost of
    two gradients.
    """

    def __init__(self, shown: bool):
        self._shown = shown and sys.stderr.isatty()
        self._start = time.monotonic()
        self._last = self._start + PATIENCE - APART
        self._phase, self._products, self._written = "", 0, False

    def begin(self, phase: str) -> None:
        """Say what comes next."""
        self._phase = phase

    def count(self, products: int = 1) -> None:
        """Count products, and show them now and then."""
        self._products += products
        now = time.monotonic()
        if not self._shown or now - self._last < APART:
            return
        self._last, self._written = now, True
        rate = self._products / max(now - self._start, 1e-9)
        sys.stderr.write(
            f"\r\x1b[2Klimit: {self._phase}, {self._products} products with the "
            f"curvature, {rate:.0f}/s"
        )
        sys.stderr.flush()

    def close(self) -> None:
        """End the line, if there is one."""
        if self._written:
            sys.stderr.write("\n")
            sys.stderr.flush()
