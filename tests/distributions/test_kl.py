"""KL divergences against quadrature and sums of SciPy's densities."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kl_cases import FAMILIES, divergence
from thinning import thinned

import svijax.distributions as dist
from svijax.distributions import has_kl, kl_divergence

pytestmark = pytest.mark.usefixtures("x64")

PAIRS = [
    (p, q) for p in FAMILIES for q in FAMILIES if has_kl(FAMILIES[p].batch((3, 1)), FAMILIES[q].batch((3,)))
]


@pytest.mark.parametrize("names_of_pair", thinned([("-".join(pair), pair) for pair in PAIRS]))
def test_scalar_pairs_against_quadrature(names_of_pair: tuple[str, str]) -> None:
    p, q = names_of_pair
    found = kl_divergence(FAMILIES[p].batch((3, 1)), FAMILIES[q].batch((3,)))
    exact = [[divergence(a, b) for b in FAMILIES[q].members()] for a in FAMILIES[p].members()]
    assert found.shape == (3, 3)
    np.testing.assert_allclose(found, exact, rtol=1e-8, atol=1e-10)


# The pairs of PyTorch and Pyro, of which none may go missing.
LINES = {
    "bernoulli": "bernoulli poisson",
    "beta": "beta continuous_bernoulli exponential gamma normal pareto uniform",
    "binomial": "binomial",
    "cauchy": "cauchy",
    "continuous_bernoulli": "continuous_bernoulli exponential normal pareto uniform",
    "exponential": "beta continuous_bernoulli exponential gamma gumbel normal pareto uniform",
    "gamma": "beta continuous_bernoulli exponential gamma gumbel normal pareto uniform",
    "geometric": "geometric",
    "gumbel": "beta continuous_bernoulli exponential gamma gumbel normal pareto uniform",
    "half_normal": "half_normal",
    "kumaraswamy": "beta",
    "laplace": "beta continuous_bernoulli exponential gamma laplace normal pareto uniform",
    "normal": "beta continuous_bernoulli exponential gamma gumbel laplace normal pareto uniform",
    "pareto": "beta continuous_bernoulli exponential gamma normal pareto uniform",
    "poisson": "bernoulli binomial poisson",
    "uniform": "beta continuous_bernoulli exponential gamma gumbel normal pareto uniform",
    "weibull": "gamma weibull",
}


def test_the_list_of_pairs_is_complete() -> None:
    assert {(p, q) for p, line in LINES.items() for q in line.split()} - set(PAIRS) == set()


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_equal_parameters_give_zero_and_gradient_zero(name: str) -> None:
    if (name, name) not in PAIRS:
        pytest.skip("no closed form")
    q = FAMILIES[name].batch((3,))
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 2e-6)):
        same = jax.tree.map(lambda x, dtype=dtype: x.astype(dtype) if x.dtype.kind == "f" else x, q)
        value = kl_divergence(same, same)
        np.testing.assert_allclose(value, 0.0, atol=tolerance)
        if name == "negative_binomial":
            continue  # its counts have to be known to be the same
        slopes = jax.grad(lambda p, same=same: kl_divergence(p, same).sum(), allow_int=True)(same)
        if name in ("uniform", "pareto"):
            continue  # at the edge of the support the divergence rises on one side only
        for slope in jax.tree.leaves(slopes):
            if slope.dtype != jax.dtypes.float0:
                np.testing.assert_allclose(slope, 0.0, atol=100 * tolerance)


@pytest.mark.parametrize("names_of_pair", thinned([("-".join(pair), pair) for pair in PAIRS]))
def test_gradients_against_differences(names_of_pair: tuple[str, str]) -> None:
    p, q = names_of_pair
    pair = (FAMILIES[p].batch((3, 1)), FAMILIES[q].batch((3,)))
    value = np.asarray(kl_divergence(*pair))
    leaves, tree = jax.tree.flatten(pair)
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(pair)[0]]
    # Counts have to be known to be the same.
    floating = [i for i, x in enumerate(leaves) if x.dtype.kind == "f" and "total_count" not in names[i]]
    rng = np.random.default_rng(0)
    moves = [
        rng.uniform(0.2, 1.0, x.shape) * np.abs(x) if i in floating else None for i, x in enumerate(leaves)
    ]
    finite = np.isfinite(value)

    def along(t: Any) -> Any:
        moved = [x if move is None else x + t * move for x, move in zip(leaves, moves)]
        out = kl_divergence(*jax.tree.unflatten(tree, moved))
        return jnp.where(finite, out, 0.0)

    slope = jax.jvp(along, (0.0,), (1.0,))[1]
    one_sided = {"uniform", "pareto", "discrete_uniform"} & {p, q}
    if one_sided:  # a step may leave the support
        assert np.isfinite(slope).all()
        return
    np.testing.assert_allclose(slope, (along(1e-6) - along(-1e-6)) / 2e-6, rtol=1e-5, atol=1e-6)


FAR = {
    "gamma": lambda: (dist.Gamma(1e6, 1e3), dist.Gamma(1.0001e6, 1e3), 0.0049998358415),
    "beta": lambda: (dist.Beta(1e5, 2e5), dist.Beta(1.001e5, 2.001e5), None),
    "normal": lambda: (dist.Normal(0.0, 1.0), dist.Normal(1e-4, 1.0001), None),
    "bernoulli": lambda: (dist.Bernoulli(logits=-200.0), dist.Bernoulli(logits=200.0), 200.0),
    "categorical": lambda: (
        dist.Categorical(logits=np.array([0.0, -200.0])),
        dist.Categorical(logits=np.array([-200.0, 0.0])),
        200.0,
    ),
    "poisson": lambda: (dist.Poisson(1e6), dist.Poisson(1.00001e6), None),
    "cauchy": lambda: (dist.Cauchy(0.0, 1.0), dist.Cauchy(1e30, 1.0), 2 * 30 * np.log(10) - 2 * np.log(2)),
}


@pytest.mark.parametrize("name", FAR)
def test_single_precision_at_near_and_far_parameters(name: str) -> None:
    p, q, known = FAR[name]()
    exact = kl_divergence(p, q) if known is None else known
    cast = [jax.tree.map(lambda x: x.astype(np.float32), d) for d in (p, q)]
    # Of the rounded parameters.
    wide = [jax.tree.map(lambda x: x.astype(np.float64), d) for d in cast]
    value = kl_divergence(*cast)
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, kl_divergence(*wide), rtol=2e-3)
    np.testing.assert_allclose(kl_divergence(p, q), exact, rtol=1e-4)
    slopes = jax.grad(lambda pair: kl_divergence(*pair).sum())(tuple(cast))
    assert all(np.isfinite(slope).all() for slope in jax.tree.leaves(slopes))


def test_divergences_that_are_infinite_though_the_supports_agree() -> None:
    for p, q in [
        (dist.Laplace(0.0, 3.0), dist.Gumbel(0.0, 2.0)),
        (dist.Pareto(1.0, 2.0), dist.Weibull(1.0, 2.0)),
        (dist.Pareto(1.0, 1.0), dist.Exponential(1.0)),
        (dist.Pareto(1.0, 2.0), dist.Normal(0.0, 1.0)),
    ]:
        assert kl_divergence(p, q) == np.inf
