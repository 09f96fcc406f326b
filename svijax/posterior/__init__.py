"""Posterior draws and summaries, predictions, importance weights and k-hat."""

from ._posterior import Posterior as Posterior
from ._predictive import Predictive as Predictive
