"""Draws of what a model predicts."""

from __future__ import annotations


class Predictive:
    """Draws from a model, its latents from a posterior."""
