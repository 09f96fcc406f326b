"""The models and data behind ``python -m svijax``, ready to be used in other programs too."""

from ._data import Classification as Classification
from ._data import Images as Images
from ._data import breast_cancer as breast_cancer
from ._data import digits as digits
from ._data import intensities as intensities
from ._data import mnist as mnist
from ._eight_schools import EFFECTS as EFFECTS
from ._eight_schools import STANDARD_ERRORS as STANDARD_ERRORS
from ._eight_schools import eight_schools as eight_schools
from ._eight_schools import exact_posterior as exact_posterior
from ._logistic import HeldOut as HeldOut
from ._logistic import held_out as held_out
from ._logistic import logistic_regression as logistic_regression
from ._main import main as main
from ._main import run as run
from ._options import Options as Options
from ._vae import VAE as VAE
from ._vae import codes as codes
from ._vae import decode as decode
from ._vae import encode as encode
from ._vae import prior_draws as prior_draws
from ._vae import reconstructions as reconstructions
