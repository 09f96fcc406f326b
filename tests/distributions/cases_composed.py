"""Rows: mixtures, truncation, censoring, zero inflation, hurdles."""

from __future__ import annotations

from distribution_case import DistCase

CASES: dict[str, DistCase] = {}
