"""Oracles: answers known without following any flow, for tests and comparisons."""

from ._hard_margin import HardMargin as HardMargin, hard_margin as hard_margin
