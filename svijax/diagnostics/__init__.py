"""What needs whole fits, or many gradients of one."""

from svijax.fitting import gelman_rubin as gelman_rubin
from svijax.fitting import split_gelman_rubin as split_gelman_rubin

from ._gradient_record import EstimatorGradients as EstimatorGradients
from ._gradient_record import Gradient as Gradient
from ._gradient_record import GradientReport as GradientReport
from ._gradient_report import gradient_report as gradient_report
