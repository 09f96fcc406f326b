"""Bounds on the evidence and their gradient estimators."""

from ._baselines import VIMCO as VIMCO
from ._baselines import Baseline as Baseline
from ._baselines import Learned as Learned
from ._baselines import LeaveOneOut as LeaveOneOut
from ._baselines import NoBaseline as NoBaseline
from ._baselines import RunningMean as RunningMean
from ._dreg import DReG as DReG
from ._estimators import ClosedFormEntropy as ClosedFormEntropy
from ._estimators import Estimator as Estimator
from ._estimators import PathDerivative as PathDerivative
from ._estimators import Pathwise as Pathwise
from ._estimators import ScoreFunction as ScoreFunction
from ._evaluation import Evaluation as Evaluation
from ._evaluation import Objective as Objective
from ._particles import ParticleObjective as ParticleObjective
from ._particles import Run as Run
from ._particles import check_count as check_count
from ._renyi import ImportanceWeightedELBO as ImportanceWeightedELBO
from ._renyi import RenyiELBO as RenyiELBO
from ._trace_elbo import Trace_ELBO as Trace_ELBO
from ._trace_elbo import estimate as estimate
from ._trace_enum import TraceEnum_ELBO as TraceEnum_ELBO
from ._trace_graph import TraceGraph_ELBO as TraceGraph_ELBO
from ._trace_mean_field import KLReport as KLReport
from ._trace_mean_field import TraceMeanField_ELBO as TraceMeanField_ELBO
