"""Effect handlers: each changes what the statements of a program do, around a function or as a context."""

from ._batch import batch as batch
from ._block import block as block
from ._condition import condition as condition
from ._condition import uncondition as uncondition
from ._do import do as do
from ._enum import Standing as Standing
from ._enum import config_enumerate as config_enumerate
from ._enum import enum as enum
from ._enum import first_value as first_value
from ._enum import is_enumerated as is_enumerated
from ._enum import one_value as one_value
from ._estimator import estimator as estimator
from ._infer_config import infer_config as infer_config
from ._lift import lift as lift
from ._mask import both as both
from ._mask import mask as mask
from ._noise import noise as noise
from ._replay import replay as replay
from ._scale import scale as scale
from ._scope import scope as scope
from ._seed import seed as seed
from ._substitute import join as join
from ._substitute import substitute as substitute
from ._substitute import supply as supply
from ._trace import Trace as Trace
from ._trace import trace as trace
