"""Posterior draws and summaries, predictions, importance weights and k-hat."""

from ._importance import importance_weights as importance_weights
from ._log_likelihood import LogLikelihood as LogLikelihood
from ._log_likelihood import log_likelihood as log_likelihood
from ._posterior import Posterior as Posterior
from ._predictive import Predictive as Predictive
from ._programs import guide_sites as guide_sites
from ._psis import effective_sample_size as effective_sample_size
from ._psis import khat_threshold as khat_threshold
from ._psis import khat_words as khat_words
from ._psis import psis_khat as psis_khat
from ._psis import psis_weights as psis_weights
from ._summary import Summary as Summary
