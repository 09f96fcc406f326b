"""KL divergences against quadrature and sums of SciPy's densities."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kl_cases import FAMILIES, divergence

import svijax.distributions as dist
from svijax.distributions import has_kl, kl_divergence

pytestmark = pytest.mark.usefixtures("x64")

PAIRS = [
    (p, q) for p in FAMILIES for q in FAMILIES if has_kl(FAMILIES[p].batch((3, 1)), FAMILIES[q].batch((3,)))
]


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_scalar_pairs_against_quadrature(p: str, q: str) -> None:
    found = kl_divergence(FAMILIES[p].batch((3, 1)), FAMILIES[q].batch((3,)))
    exact = [[divergence(a, b) for b in FAMILIES[q].members()] for a in FAMILIES[p].members()]
    assert found.shape == (3, 3)
    np.testing.assert_allclose(found, exact, rtol=1e-8, atol=1e-10)
