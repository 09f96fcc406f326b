"""Log densities of sites, programs bound to parameters and randomness, and the checks of a pair of programs."""

from ._abstract import abstractly as abstractly
from ._abstract import noise_layout as noise_layout
from ._bind import bind as bind
from ._bind import constrain as constrain
from ._bind import unconstrain as unconstrain
from ._draws import Draws as Draws
from ._draws import NoiseLayout as NoiseLayout
from ._draws import draw as draw
from ._draws import draw_ahead as draw_ahead
from ._draws import epoch_length as epoch_length
from ._log_prob import cost as cost
from ._log_prob import log_density as log_density
from ._log_prob import log_prob as log_prob
from ._log_prob import scored_sites as scored_sites
from ._log_prob import total as total
from ._pairing import check_pair as check_pair
from ._run import Program as Program
from ._run import has_pathwise_gradient as has_pathwise_gradient
from ._run import mutable_state as mutable_state
from ._run import run_guide as run_guide
from ._run import run_model as run_model
from ._values import Check as Check
from ._values import check_values as check_values
from ._values import first_failure as first_failure
