"""Priors over weights: by pattern, by path, for all, by a function; their table; what is refused."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import svijax
import svijax.distributions as dist
from svijax import SVI
from svijax.base import ArgumentError, ModelError, ShapeError, UnknownNameError
from svijax.effects import Sample
from svijax.guides import AutoNormal, init_to_value
from svijax.handlers import seed, trace
from svijax.nn import get_module, initial_values, prior_table, random_functional_module

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (8, 3))
Normal, Cauchy, Laplace = dist.Normal(0.0, 1.0), dist.Cauchy(0.0, 1.0), dist.Laplace(0.0, 1.0)
WEIGHTS = {
    "layers": [
        {"kernel": jnp.full((3, 4), 0.1), "bias": jnp.zeros(4)},
        {"kernel": jnp.full((4, 1), 0.2), "bias": jnp.zeros(1)},
    ],
    "scale": jnp.ones(()),
}
PATHS = ["layers.0.bias", "layers.0.kernel", "layers.1.bias", "layers.1.kernel", "scale"]


def forward(params: Any, x: Any) -> Any:
    first, second = params["layers"]
    hidden = jnp.tanh(x @ first["kernel"] + first["bias"])
    return params["scale"] * (hidden @ second["kernel"] + second["bias"])[..., 0]


def sites_of(prior: Any, weights: Any = WEIGHTS) -> Any:
    return trace(seed(lambda: random_functional_module("net", weights, forward, prior)(X), KEY)).get_trace()


def families(prior: Any) -> dict[str, str]:
    """Family of the prior of each latent, by name."""
    found = {}
    for name, site in sites_of(prior).items():
        if isinstance(site, Sample):
            base = site.fn.base_dist if site.fn.event_dim else site.fn
            found[name] = type(base).__name__
    return found


EVERY = {f"net/{path}": "Normal" for path in PATHS}
KERNELS = {f"net/layers.{i}.kernel": "Normal" for i in (0, 1)}


@pytest.mark.parametrize(
    ("prior", "expected"),
    [
        (Normal, EVERY),
        ({"*": Normal}, EVERY),
        ({"*.kernel": Normal}, KERNELS),
        ({"layers.1.kernel": Cauchy, "*.kernel": Normal}, {**KERNELS, "net/layers.1.kernel": "Cauchy"}),
        ({"layers.0.*": Laplace}, {"net/layers.0.bias": "Laplace", "net/layers.0.kernel": "Laplace"}),
        ({"layers.?.kernel": Normal, "scale": Cauchy}, {**KERNELS, "net/scale": "Cauchy"}),
        ({"*.bias": None, "scale": None, "*": Normal}, KERNELS),
        (lambda path, shape: Normal if path.endswith("kernel") and len(shape) == 2 else None, KERNELS),
    ],
)
def test_which_weight_gets_which_prior(prior: Any, expected: dict[str, str]) -> None:
    assert families(prior) == expected


def test_the_others_stay_in_one_param() -> None:
    sites = sites_of({"*.kernel": Normal})
    left = sites["net$params"].value
    assert set(left) == {"layers", "scale"} and len(jax.tree.leaves(left)) == 3
    assert "net$params" not in sites_of(Normal)


def test_a_latent_is_one_event_of_the_weight_s_shape_and_dtype() -> None:
    weights = jax.tree.map(lambda x: x.astype(jnp.float16), WEIGHTS)
    seen = []

    def program() -> None:
        seen.append(random_functional_module("net", weights, forward, Normal).params)

    site = trace(seed(program, KEY)).get_trace()["net/layers.0.kernel"]
    assert (site.fn.batch_shape, site.fn.event_shape) == ((), (3, 4))
    assert site.value.dtype == jnp.float32
    np.testing.assert_array_equal(seen[0]["layers"][0]["kernel"], site.value.astype(jnp.float16))
    assert {leaf.dtype for leaf in jax.tree.leaves(seen[0])} == {jnp.dtype(jnp.float16)}


def test_priors_of_the_weight_s_own_shape_and_of_its_rows() -> None:
    sd = jnp.arange(1.0, 13.0).reshape(3, 4)
    rows = dist.MultivariateNormal(jnp.zeros(4), 2.0 * jnp.eye(4))
    prior = {"layers.0.kernel": rows, "layers.1.kernel": dist.Normal(jnp.zeros((4, 1)), sd[:1].T)}
    sites = sites_of(prior)
    drawn = sites["net/layers.0.kernel"]
    assert drawn.fn.event_shape == (3, 4)
    np.testing.assert_allclose(drawn.fn.log_prob(drawn.value), rows.log_prob(drawn.value).sum(), rtol=1e-5)
    assert sites["net/layers.1.kernel"].fn.event_shape == (4, 1)


def regression(x: Any, y: Any = None) -> None:
    net = random_functional_module("net", WEIGHTS, forward, {"*.kernel": Normal}, scope_divider=".")
    with svijax.plate("rows", len(x)):
        svijax.sample("y", dist.Normal(net(x), 0.3), obs=y)


def test_a_fit_starts_where_the_network_does_and_gives_it_back() -> None:
    start = initial_values("net", WEIGHTS, {"*.kernel": Normal}, scope_divider=".")
    assert list(start) == ["net.layers.0.kernel", "net.layers.1.kernel"]
    guide = AutoNormal(regression, init_loc_fn=init_to_value(values=start))
    svi = SVI(regression, guide, optax.adam(0.02))
    y = jnp.sin(X[:, 0])
    params = svi.init(KEY, X, y).params
    np.testing.assert_allclose(params["net.layers.0.kernel_auto_loc"], WEIGHTS["layers"][0]["kernel"])
    with jax.checking_leaks():
        fit = svi.run(KEY, 400, X, y, progress_bar=False)
    assert fit.losses[-50:].mean() < fit.losses[:50].mean() - 10
    mean = fit.posterior.mean(200)
    net = get_module("net", WEIGHTS, fit, latents=mean, scope_divider=".")
    np.testing.assert_array_equal(net["layers"][1]["kernel"], mean["net.layers.1.kernel"])
    np.testing.assert_array_equal(net["scale"], fit.params["net$params"]["scale"])
    assert fit.params["net$params"]["scale"] != 1
    with pytest.raises(ArgumentError, match=r"without \['layers.0.kernel', 'layers.1.kernel'\]"):
        get_module("net", WEIGHTS, fit)


def test_the_table() -> None:
    prior = {"layers.0.kernel": dist.Normal(0.0, jnp.arange(1.0, 5.0)), "*.kernel": dist.StudentT(3.0)}
    assert prior_table(WEIGHTS, prior) == (
        "weight           shape   prior              by\n"
        "----------------------------------------------\n"
        "layers.0.bias    (4,)    (parameter)\n"
        "layers.0.kernel  (3, 4)  Normal(0, ...)     layers.0.kernel\n"
        "layers.1.bias    (1,)    (parameter)\n"
        "layers.1.kernel  (4, 1)  StudentT(3, 0, 1)  *.kernel\n"
        "scale            ()      (parameter)\n"
        "\n"
        "16 of 22 weights have a prior."
    )


# Refused


REFUSED = {
    "no match": (
        {"layers.0.kernal": Normal},
        UnknownNameError,
        "program network 'net': the prior's pattern 'layers.0.kernal' matches no weight.\n"
        f"  expected: a pattern of some of {PATHS}\n"
        "  fix:      did you mean 'layers.0.kernel'?",
    ),
    "too late": (
        {"*": Normal, "*.bias": Cauchy},
        ArgumentError,
        "program network 'net': every weight that the prior's pattern '*.bias' matches has a prior already; "
        "the first pattern that matches a weight wins.\n"
        "  got:      ['layers.0.bias', 'layers.1.bias'], taken by ['*']\n"
        "  fix:      put '*.bias' before '*'.",
    ),
    "none": (
        lambda path, shape: None,
        ArgumentError,
        "program network 'net': the prior says nothing of any weight.\n"
        f"  expected: a prior for some of {PATHS}\n"
        "  fix:      use the module without a prior (nnx_module, flax_module, eqx_module), or give one.",
    ),
    "a number": (
        1.0,
        ArgumentError,
        "program network 'net': this is no prior.\n"
        "  expected: a distribution, a dictionary of them by path or pattern, or a function of (path, shape)\n"
        "  got:      1.0",
    ),
    "a number for a weight": (
        {"scale": 1.0},
        ArgumentError,
        "program network 'net': the prior of 'scale' is no distribution.\n"
        "  expected: a distribution, or None to leave the weight a parameter\n"
        "  got:      1.0\n"
        "  fix:      write Normal(0.0, 1.0), say.",
    ),
    "shape": (
        {"*.kernel": dist.Normal(jnp.zeros(3), 1.0)},
        ShapeError,
        "program network 'net': the prior does not fit the weight 'layers.0.kernel'.\n"
        "  expected: a shape that broadcasts to (3, 4)\n"
        "  got:      batch (3,) + event ()\n"
        "  fix:      give one for a single number, Normal(0.0, 1.0), or one of the weight's shape.",
    ),
    "event": (
        {"scale": dist.Dirichlet(jnp.ones(3))},
        ShapeError,
        "program network 'net': the prior does not fit the weight 'scale'.\n"
        "  expected: a shape that broadcasts to ()\n"
        "  got:      batch () + event (3,)\n"
        "  fix:      give one for a single number, Normal(0.0, 1.0), or one of the weight's shape.",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    prior, kind, text = REFUSED[case]
    with pytest.raises(kind) as error:
        sites_of(prior)
    assert str(error.value) == text


def test_weights_inside_a_plate_are_refused() -> None:
    def program() -> None:
        with svijax.plate("rows", 3):
            random_functional_module("net", WEIGHTS, forward, Normal)

    with pytest.raises(ModelError) as error:
        seed(program, KEY)()
    assert str(error.value) == (
        "program network 'net': weights with a prior are stated inside a plate.\n"
        "  fix:      state the module before the plate, and call it inside."
    )


def test_double_precision_leaves_the_weights_as_they_are(x64: None) -> None:
    weights = jax.tree.map(lambda x: x.astype(jnp.float32), WEIGHTS)
    with seed(rng_seed=KEY):
        net = random_functional_module("net", weights, forward, Normal)
    assert {leaf.dtype for leaf in jax.tree.leaves(net.params)} == {jnp.dtype(jnp.float32)}
