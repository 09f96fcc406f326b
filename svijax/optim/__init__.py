"""Thin helpers around optax: the peers' names, options by parameter, and what packs."""

from ._elementwise import is_elementwise as is_elementwise
from ._peers import SGD as SGD
from ._peers import Adagrad as Adagrad
from ._peers import Adam as Adam
from ._peers import ClippedAdam as ClippedAdam
from ._peers import Minimize as Minimize
from ._peers import Momentum as Momentum
from ._peers import RMSProp as RMSProp
from ._peers import RMSPropMomentum as RMSPropMomentum
from ._per_site import per_site as per_site
from ._rate import check_injected as check_injected
from ._rate import is_rate as is_rate
from ._transformation import as_transformation as as_transformation
