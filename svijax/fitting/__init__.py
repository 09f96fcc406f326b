"""SVI: state, step, loop, chains, and what a run gives back."""

from ._explain import Explanation as Explanation
from ._result import Status as Status
from ._result import SVIRunResult as SVIRunResult
from ._result import Timings as Timings
from ._state import SVIState as SVIState
from ._step import StepInfo as StepInfo
from ._step import apply_gradient as apply_gradient
from ._step import differentiate as differentiate
from ._step import draw_guide as draw_guide
from ._step import loss_at as loss_at
from ._step import one_step as one_step
from ._step import replay_model as replay_model
from ._svi import SVI as SVI
