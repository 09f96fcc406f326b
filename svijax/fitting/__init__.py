"""SVI: state, step, loop, chains, and what a run gives back."""

from ._averaging import Average as Average
from ._checkpoint import Checkpoint as Checkpoint
from ._explain import Explanation as Explanation
from ._files import read_metadata as read_metadata
from ._files import restore as restore
from ._files import save as save
from ._result import SVIRunResult as SVIRunResult
from ._result import Timings as Timings
from ._state import SVIState as SVIState
from ._state import from_view as from_view
from ._state import optim_view as optim_view
from ._status import Status as Status
from ._stop_elbo import RelativeELBO as RelativeELBO
from ._stop_patience import Patience as Patience
from ._stop_rhat import IterateRhat as IterateRhat
from ._stop_time import MaxTime as MaxTime
from ._substeps import apply_gradient as apply_gradient
from ._substeps import differentiate as differentiate
from ._substeps import draw_guide as draw_guide
from ._substeps import replay_model as replay_model
from ._svi import SVI as SVI
