"""The same programs in NumPyro and here: densities, objectives, guides and fits agree."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import svijax
import svijax.distributions
import svijax.guides
import svijax.handlers
from svijax.density import log_density
from svijax.effects import Param, Sample

pytestmark = pytest.mark.interop

numpyro = pytest.importorskip("numpyro")
numpyro_infer = pytest.importorskip("numpyro.infer")
numpyro_autoguide = pytest.importorskip("numpyro.infer.autoguide")
numpyro_util = pytest.importorskip("numpyro.infer.util")

OURS = SimpleNamespace(
    lib=svijax, dist=svijax.distributions, infer=svijax, guides=svijax.guides, handlers=svijax.handlers
)
THEIRS = SimpleNamespace(
    lib=numpyro,
    dist=numpyro.distributions,
    infer=numpyro_infer,
    guides=numpyro_autoguide,
    handlers=numpyro.handlers,
)

X = np.linspace(-1.0, 1.0, 12).astype(np.float32)
Y = (0.5 + 1.5 * X + 0.3 * np.cos(7.0 * X)).astype(np.float32)


def regression(peer: SimpleNamespace) -> Any:
    """One source, two libraries."""
    lib, dist = peer.lib, peer.dist

    def model(x: Any, y: Any = None) -> None:
        slope = lib.sample("slope", dist.Normal(0.0, 2.0))
        offset = lib.sample("offset", dist.Normal(0.0, 2.0))
        noise = lib.sample("noise", dist.LogNormal(-1.0, 0.5))
        with lib.plate("data", x.shape[0]):
            mean = lib.deterministic("mean", offset + slope * x)
            lib.sample("y", dist.Normal(mean, noise), obs=y)

    return model


def fitted(peer: SimpleNamespace, guide: str) -> tuple[Any, Any]:
    model = regression(peer)
    auto = getattr(peer.guides, guide)(model)
    svi = peer.infer.SVI(model, auto, optax.adam(2e-2), loss=peer.infer.Trace_ELBO())
    return auto, svi.run(jax.random.key(0), 4_000, X, Y, progress_bar=False)


def test_log_densities_agree_site_by_site() -> None:
    values = {"slope": jnp.float32(1.2), "offset": jnp.float32(0.1), "noise": jnp.float32(0.4)}
    ours = svijax.handlers.trace(svijax.handlers.substitute(regression(OURS), values)).get_trace(X, Y)
    total = sum(log_density(ours).values())
    theirs, _ = numpyro_util.log_density(regression(THEIRS), (X, Y), {}, values)
    np.testing.assert_allclose(total, theirs, rtol=1e-5)


@pytest.mark.parametrize("guide", ["AutoNormal", "AutoDiagonalNormal", "AutoMultivariateNormal", "AutoDelta"])
def test_fits_agree_and_parameters_have_the_same_names(guide: str) -> None:
    _, ours = fitted(OURS, guide)
    _, theirs = fitted(THEIRS, guide)
    assert set(ours.params) == set(theirs.params)
    for name, value in theirs.params.items():
        assert ours.params[name].shape == value.shape, name
        np.testing.assert_allclose(ours.params[name], value, atol=0.12, err_msg=name)
    np.testing.assert_allclose(ours.losses[-1_000:].mean(), np.mean(theirs.losses[-1_000:]), atol=0.15)


def test_objective_at_the_same_parameters_agrees_with_numpyro() -> None:
    _, theirs = fitted(THEIRS, "AutoNormal")
    guide = svijax.guides.AutoNormal(regression(OURS))
    keys = jax.random.split(jax.random.key(3), 2_000)
    objective = svijax.Trace_ELBO()

    def ours(key: Any) -> Any:
        return objective.loss(key, theirs.params, regression(OURS), guide, X, Y)

    rival_guide = numpyro_autoguide.AutoNormal(regression(THEIRS))
    numpyro.handlers.seed(rival_guide, jax.random.key(0))(X, Y)
    rival = numpyro_infer.Trace_ELBO()

    def other(key: Any) -> Any:
        return rival.loss(key, theirs.params, regression(THEIRS), rival_guide, X, Y)

    a, b = np.asarray(jax.vmap(ours)(keys)), np.asarray(jax.vmap(other)(keys))
    error = np.hypot(a.std(), b.std()) / np.sqrt(len(a))
    assert abs(a.mean() - b.mean()) < 4.5 * error


def test_traces_have_the_same_sites_and_shapes() -> None:
    ours = svijax.handlers.trace(svijax.handlers.seed(regression(OURS), 0)).get_trace(X)
    theirs = numpyro.handlers.trace(numpyro.handlers.seed(regression(THEIRS), 0)).get_trace(X)
    kinds = {"sample": Sample, "param": Param}
    for name, site in theirs.items():
        assert name in ours
        if site["type"] in kinds:
            assert isinstance(ours[name], kinds[site["type"]])
            assert jnp.shape(ours[name].value) == jnp.shape(site["value"])
