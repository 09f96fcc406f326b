"""Bounds on the evidence and their gradient estimators."""

from ._evaluation import Evaluation as Evaluation
from ._evaluation import Objective as Objective
from ._trace_elbo import Trace_ELBO as Trace_ELBO
from ._trace_elbo import check_count as check_count
from ._trace_elbo import estimate as estimate
