"""The constraints under the name at which the field looks for them: ``svijax.distributions.constraints``."""

from typing import Any

from svijax.transforms import constraints as _constraints


def __getattr__(name: str) -> Any:
    return getattr(_constraints, name)


def __dir__() -> list[str]:
    return dir(_constraints)
