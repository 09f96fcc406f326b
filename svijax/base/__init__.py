"""Errors, keys, noise, packing and safe numerics: what every other room stands on."""

from ._errors import ArgumentError as ArgumentError
from ._errors import DataError as DataError
from ._errors import MissingKeyError as MissingKeyError
from ._errors import ModelError as ModelError
from ._errors import NonFiniteError as NonFiniteError
from ._errors import ParameterError as ParameterError
from ._errors import ShapeError as ShapeError
from ._errors import StateError as StateError
from ._errors import SupportError as SupportError
from ._errors import SvijaxError as SvijaxError
from ._errors import UnknownNameError as UnknownNameError
from ._errors import check_names as check_names
from ._errors import message as message
from ._keys import as_key as as_key
from ._keys import is_threefry as is_threefry
from ._keys import name_hash as name_hash
from ._keys import site_key as site_key
from ._noise import NoiseSpec as NoiseSpec
from ._noise import draw_noise as draw_noise
