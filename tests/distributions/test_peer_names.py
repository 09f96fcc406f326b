"""Programs port by changing imports: NumPyro's families are here, with their parameters in their order."""

from __future__ import annotations

import inspect
from typing import Any

import numpyro.distributions as peer
import pytest

import svijax.distributions as dist

NAMES = sorted(
    name
    for name in peer.__all__
    if callable(getattr(peer, name)) and name not in {"Distribution", "kl_divergence", "biject_to"}
)
# What a call may not say, or says in another way.
OTHER: dict[str, str] = {}


def _parameters(made_by: Any) -> list[tuple[str, Any]]:
    call = made_by.__init__ if inspect.isclass(made_by) else made_by
    skipped = {"self", "validate_args"}
    return [(p.name, p.default) for p in inspect.signature(call).parameters.values() if p.name not in skipped]


@pytest.mark.parametrize("name", NAMES)
def test_family_and_parameters(name: str) -> None:
    theirs, ours = _parameters(getattr(peer, name)), _parameters(getattr(dist, name))
    if name in OTHER:
        return
    assert [n for n, _ in ours][: len(theirs)] == [n for n, _ in theirs]
    for (parameter, default), (_, expected) in zip(ours, theirs):
        # A parameter that NumPyro demands may have a default here, not the other way round.
        if expected is not inspect.Parameter.empty:
            assert default == expected or default is None, parameter
