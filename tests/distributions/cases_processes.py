"""Rows: processes in time, copulas and directions."""

from __future__ import annotations

from distribution_case import DistCase

CASES: dict[str, DistCase] = {}
