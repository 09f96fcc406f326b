"""The loop: a run is its updates, splits of a run are the run, chains are single runs, states survive processes."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_models import (
    Y,
    keyed_guide,
    normal_guide,
    normal_model,
    rows_model,
    schools_model,
)

import svijax
import svijax.distributions as dist
from svijax.guides import AutoNormal

SVI = svijax.SVI(normal_model, normal_guide, optax.adam(0.05))
SCHOOLS = svijax.SVI(schools_model, AutoNormal(schools_model), optax.adam(0.02))
KEYED = svijax.SVI(rows_model, keyed_guide, optax.adam(0.02))


def run(svi, n, *args, key=0, **options):
    return svi.run(jax.random.key(key), n, *args, progress_bar=False, **options)


def assert_same(a, b):
    """Equal bit for bit, leaf by leaf."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def assert_close(a, b, rtol, atol=0.0):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=rtol, atol=atol)


@pytest.mark.parametrize("svi", [SVI, SCHOOLS, KEYED], ids=["normal", "schools", "keyed"])
def test_a_run_is_its_updates_to_rounding(svi, x64):
    y = np.asarray(Y, float)
    fit = run(svi, 1000, y)
    state = svi.init(jax.random.key(0), y)
    losses = []
    for _ in range(1000):
        state, loss = svi.update(state, y)
        losses.append(float(loss))
    np.testing.assert_allclose(fit.losses, losses, rtol=1e-12)
    assert_close(fit.state.free, state.free, rtol=1e-12)
    assert_close(fit.params, svi.get_params(state), rtol=1e-12)
    assert int(fit.state.step) == int(state.step) == 1000


@pytest.mark.parametrize("svi", [SVI, SCHOOLS, KEYED], ids=["normal", "schools", "keyed"])
@pytest.mark.parametrize(
    "first, second",
    [(1000, 3500), *(pytest.param(*c, marks=pytest.mark.slow) for c in [(1, 8), (4096, 404)])],
)
def test_a_split_run_is_the_run_bit_for_bit(svi, first, second):
    whole = run(svi, first + second, Y)
    head = run(svi, first, Y)
    tail = run(svi, second, Y, init_state=head.state)
    np.testing.assert_array_equal(whole.losses, np.concatenate([head.losses, tail.losses]))
    assert_same(whole.state, tail.state)
    assert_same(whole.params, tail.params)


def test_a_split_run_of_chains_is_the_run_bit_for_bit():
    whole = run(SCHOOLS, 700, Y, num_chains=3)
    head = run(SCHOOLS, 123, Y, num_chains=3)
    tail = run(SCHOOLS, 577, Y, init_state=head.state)
    np.testing.assert_array_equal(whole.losses, np.concatenate([head.losses, tail.losses], axis=-1))
    assert_same(whole.state, tail.state)


def test_an_updated_state_continues_in_a_run():
    state, loss = SVI.update(SVI.init(jax.random.key(0), Y), Y)
    tail = run(SVI, 9, Y, init_state=state)
    whole = run(SVI, 10, Y)
    np.testing.assert_allclose(np.append(loss, tail.losses), whole.losses, rtol=1e-5)


@pytest.mark.parametrize("svi", [SVI, SCHOOLS, KEYED], ids=["normal", "schools", "keyed"])
def test_evaluate_is_the_loss_of_the_next_update(svi):
    state = svi.init(jax.random.key(3), Y)
    for _ in range(3):
        loss = svi.evaluate(state, Y)
        state, stepped = svi.update(state, Y)
        assert float(loss) == pytest.approx(float(stepped), rel=1e-6)


def test_steps_draw_anew():
    losses = run(SVI, 50, Y).losses
    assert len(set(losses.tolist())) == 50
    assert not np.array_equal(losses, run(SVI, 50, Y, key=1).losses)
    np.testing.assert_array_equal(losses, run(SVI, 50, Y).losses)


def test_a_restored_state_continues_in_a_fresh_process(tmp_path: Path):
    script = textwrap.dedent(
        """
        import sys
        import jax, numpy as np, optax, svijax
        sys.path.insert(0, sys.argv[1])
        from small_models import Y, schools_model
        from svijax.guides import AutoNormal

        svi = svijax.SVI(schools_model, AutoNormal(schools_model), optax.adam(0.02))
        structure = jax.tree.structure(jax.eval_shape(lambda: svi.init(jax.random.key(9), Y)))
        leaves = [np.load(f"{sys.argv[2]}/{i}.npy") for i in range(structure.num_leaves)]
        state = jax.tree.unflatten(structure, leaves)
        fit = svi.run(jax.random.key(5), 60, Y, init_state=state, progress_bar=False)
        np.save(f"{sys.argv[2]}/losses.npy", fit.losses)
        for i, leaf in enumerate(jax.tree.leaves(fit.state)):
            np.save(f"{sys.argv[2]}/after_{i}.npy", leaf)
        """
    )
    head = run(SCHOOLS, 40, Y)
    for i, leaf in enumerate(jax.tree.leaves(head.state)):
        np.save(tmp_path / f"{i}.npy", leaf)
    folder = str(Path(__file__).parent)
    subprocess.run([sys.executable, "-c", script, folder, str(tmp_path)], check=True, timeout=120)
    here = run(SCHOOLS, 60, Y, init_state=head.state)
    np.testing.assert_array_equal(np.load(tmp_path / "losses.npy"), here.losses)
    for i, leaf in enumerate(jax.tree.leaves(here.state)):
        np.testing.assert_array_equal(np.load(tmp_path / f"after_{i}.npy"), leaf)


@pytest.mark.parametrize(
    "svi", [pytest.param(SVI, marks=pytest.mark.slow), SCHOOLS, KEYED], ids=["normal", "schools", "keyed"]
)
def test_a_chain_is_the_single_run_with_its_key(svi, x64):
    y = np.asarray(Y, float)
    fit = svi.run(jax.random.key(4), 300, y, num_chains=4, progress_bar=False)
    assert fit.losses.shape == (4, 300)
    assert fit.num_chains == 4
    for k, key in enumerate(jax.random.split(jax.random.key(4), 4)):
        alone = svi.run(key, 300, y, progress_bar=False)
        np.testing.assert_allclose(fit.losses[k], alone.losses, rtol=1e-10)
        chain = fit.chain(k)
        assert_close(chain.params, alone.params, rtol=1e-10)
        assert chain.status == svijax.Status.MAX_STEPS
        assert chain.num_chains is None
        assert int(chain.state.step) == 300


def test_best_is_the_chain_with_the_lowest_final_loss():
    fit = run(SCHOOLS, 500, Y, num_chains=3)
    final = fit.losses[:, -50:].mean(1)
    best = fit.best()
    np.testing.assert_array_equal(best.losses, fit.losses[int(final.argmin())])
    assert_same(best.params, jax.tree.map(lambda x: x[int(final.argmin())], fit.params))
    assert best.posterior.sample(5)["theta"].shape == (5, 5)
    with pytest.raises(svijax.base.ArgumentError, match="several chains"):
        _ = fit.posterior
    with pytest.raises(svijax.base.ArgumentError, match="chain 3 of 3"):
        fit.chain(3)
    with pytest.raises(svijax.base.ArgumentError, match="no chains"):
        best.chain(0)


def test_init_state_with_another_number_of_chains():
    fit = run(SVI, 5, Y, num_chains=2)
    with pytest.raises(svijax.base.ArgumentError, match="another number of chains"):
        run(SVI, 5, Y, init_state=fit.state, num_chains=3)
    with pytest.raises(svijax.base.ArgumentError, match="got:      a single state"):
        run(SVI, 5, Y, init_state=fit.chain(0).state, num_chains=3)


def test_vmap_of_run():
    keys = jax.random.split(jax.random.key(4), 3)
    many = jax.vmap(lambda k: SVI.run(k, 40, Y))(keys)
    chains = run(SVI, 40, Y, key=4, num_chains=3)
    np.testing.assert_allclose(many.losses, chains.losses, rtol=2e-5)
    assert_close(many.params, chains.params, rtol=2e-5)
    np.testing.assert_array_equal(many.status, [0, 0, 0])


def test_vmap_of_run_over_data():
    data = jnp.stack([Y, Y + 1.0])
    many = jax.vmap(lambda y: SVI.run(jax.random.key(0), 40, y))(data)
    for i in range(2):
        np.testing.assert_allclose(many.losses[i], run(SVI, 40, data[i]).losses, rtol=2e-5)


def test_jit_of_update_and_of_a_run():
    state = SVI.init(jax.random.key(0), Y)
    update = jax.jit(SVI.update)
    ours, theirs = SVI.update(state, Y), update(state, Y)
    assert_close(ours[0], theirs[0], rtol=1e-6)
    assert float(ours[1]) == pytest.approx(float(theirs[1]))
    fit = jax.jit(lambda k, y: SVI.run(k, 200, y))(jax.random.key(0), Y)
    plain = run(SVI, 200, Y)
    np.testing.assert_allclose(fit.losses, plain.losses, rtol=2e-5)
    assert int(fit.status) == svijax.Status.MAX_STEPS
    assert fit.call is None and fit.timings is None


def test_scan_over_update():
    state = SVI.init(jax.random.key(0), Y)
    end, losses = jax.lax.scan(lambda s, _: SVI.update(s, Y), state, length=30)
    fit = run(SVI, 30, Y)
    np.testing.assert_allclose(losses, fit.losses, rtol=2e-5)
    assert_close(end.free, fit.state.free, rtol=2e-5)


def test_chains_inside_jit():
    fit = jax.jit(lambda k: SVI.run(k, 30, Y, num_chains=2))(jax.random.key(4))
    np.testing.assert_allclose(fit.losses, run(SVI, 30, Y, key=4, num_chains=2).losses, rtol=2e-5)
    assert fit.status.shape == (2,)


def test_status_codes_inside_transformations():
    def model(scale):
        svijax.sample("mu", dist.Normal(0.0, scale))

    def guide(scale):
        svijax.sample("mu", dist.Normal(svijax.param("loc", 0.0), 1.0))

    svi = svijax.SVI(model, guide, 0.1)
    fit = jax.vmap(lambda s: svi.run(jax.random.key(0), 5, s))(jnp.array([1.0, -1.0, jnp.inf]))
    codes = [svijax.Status(int(s)) for s in fit.status]
    assert codes == [svijax.Status.MAX_STEPS, svijax.Status.BAD_VALUES, svijax.Status.BAD_VALUES]
    assert np.isfinite(fit.losses[0]).all()


def test_a_run_inside_jit_that_fails_keeps_the_last_finite_state():
    def loss(key, params, model, guide):
        return jnp.where(params["loc"] > 0.95, jnp.nan, -params["loc"])

    def guide():
        svijax.param("loc", 0.0)

    svi = svijax.SVI(lambda: None, guide, optax.sgd(0.1), loss)
    fit = jax.jit(lambda: svi.run(jax.random.key(0), 20))()
    assert int(fit.status) == svijax.Status.NONFINITE
    assert int(fit.state.step) == 10
    assert float(fit.params["loc"]) == pytest.approx(1.0)
    assert np.isfinite(fit.losses[:10]).all() and np.isnan(fit.losses[10:]).all()


def test_no_leaks():
    def build():
        return svijax.SVI(schools_model, AutoNormal(schools_model), optax.adam(0.0217))

    svi = build()
    with jax.checking_leaks():
        state = svi.init(jax.random.key(0), Y)
        svi.update(state, Y)
        svi.evaluate(state, Y)
        run(svi, 5, Y)
        jax.jit(svi.update)(state, Y)
        jax.vmap(lambda k: svi.run(k, 3, Y))(jax.random.split(jax.random.key(0), 2))


def test_raw_keys_are_typed_keys():
    typed, raw = run(SVI, 20, Y), SVI.run(jax.random.PRNGKey(0), 20, Y, progress_bar=False)
    np.testing.assert_array_equal(typed.losses, raw.losses)
    assert_same(typed.state, raw.state)


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_other_keys(impl):
    key = jax.random.key(0, impl=impl)
    fit = SVI.run(key, 30, Y, progress_bar=False)
    state, losses = SVI.init(key, Y), []
    for _ in range(30):
        state, loss = SVI.update(state, Y)
        losses.append(float(loss))
    np.testing.assert_allclose(fit.losses, losses, rtol=2e-5)
    head = SVI.run(key, 11, Y, progress_bar=False)
    tail = SVI.run(key, 19, Y, progress_bar=False, init_state=head.state)
    np.testing.assert_array_equal(fit.losses, np.concatenate([head.losses, tail.losses]))
    # Under vmap these generators draw other numbers than key by key, so chains are fits of their own here.
    chains = SVI.run(key, 30, Y, progress_bar=False, num_chains=2)
    assert len(set(chains.losses.ravel().tolist())) == 60


def test_double_precision_on_and_off(x64):
    double = run(SVI, 20, np.asarray(Y, float))
    assert double.losses.dtype == np.float64
    assert all(x.dtype == np.float64 for x in jax.tree.leaves(double.params))
    jax.config.update("jax_enable_x64", False)
    single = run(SVI, 20, Y)
    assert single.losses.dtype == np.float32
    assert all(x.dtype == np.float32 for x in jax.tree.leaves(single.params))


def test_losses_are_numpy():
    fit = run(SVI, 3, Y)
    assert type(fit.losses) is np.ndarray
    assert fit.status is svijax.Status.MAX_STEPS
    assert fit.skipped == 0
    assert fit.timings.steps_per_second > 0
    assert str(fit.status).startswith("max_steps")


def test_estimate_is_mean_and_standard_error():
    fit = run(SVI, 300, Y)
    loc, scale = (float(fit.params[k]) for k in ("loc", "scale"))
    mean, error = SVI.estimate(fit.state, Y, num_particles=4000)
    n = len(Y)
    kl = 0.5 * (scale**2 + loc**2 - 1 - 2 * np.log(scale))
    exact = kl + 0.5 * n * np.log(2 * np.pi) + 0.5 * ((Y - loc) ** 2).sum() + 0.5 * n * scale**2
    assert abs(mean - exact) < 4.5 * error
    assert 0 < error < 0.05
    again, _ = SVI.estimate(fit.state, Y, num_particles=4000)
    other, _ = SVI.estimate(fit.state, Y, num_particles=4000, key=jax.random.key(11))
    assert again == mean != other


def test_estimate_has_the_error_of_its_draws():
    state = SVI.init(jax.random.key(0), Y)
    means, errors = zip(*[SVI.estimate(state, Y, num_particles=50, key=jax.random.key(i)) for i in range(60)])
    assert np.std(means, ddof=1) == pytest.approx(np.mean(errors), rel=0.35)


def test_svi_loss_is_a_plain_function():
    state = SVI.init(jax.random.key(0), Y)
    free = {name: state.free[name] for name in state.free}
    value, gradient = jax.value_and_grad(SVI.loss)(free, jax.random.key(1), Y)
    eps = 1e-2
    up = SVI.loss({**free, "loc": free["loc"] + eps}, jax.random.key(1), Y)
    down = SVI.loss({**free, "loc": free["loc"] - eps}, jax.random.key(1), Y)
    assert float(gradient["loc"]) == pytest.approx(float(up - down) / (2 * eps), rel=1e-2)
    hessian = jax.hessian(SVI.loss)(free, jax.random.key(1), Y)
    # d² loss / d loc² = n + 1.
    assert float(hessian["loc"]["loc"]) == pytest.approx(6.0, rel=1e-4)
    many = jax.vmap(SVI.loss, (None, 0, None))(free, jax.random.split(jax.random.key(0), 4), Y)
    assert many.shape == (4,) and len(set(many.tolist())) == 4
    assert float(SVI.loss(state.free, jax.random.key(1), Y)) == pytest.approx(float(value))


@pytest.mark.parametrize("vectorize", [True, False])
def test_several_particles(vectorize):
    one = svijax.SVI(normal_model, normal_guide, 0.05)
    many = svijax.SVI(normal_model, normal_guide, 0.05, svijax.Trace_ELBO(64, vectorize_particles=vectorize))
    state = one.init(jax.random.key(0), Y)
    noisy = np.std([float(one.evaluate(s, Y)) for s in _states(one, 60)])
    calm = np.std([float(many.evaluate(s, Y)) for s in _states(many, 60)])
    assert calm < noisy / 4
    fit = run(many, 20, Y)
    assert fit.losses[0] == pytest.approx(float(many.evaluate(many.init(jax.random.key(0), Y), Y)), rel=1e-5)
    assert_same(state.free, many.init(jax.random.key(0), Y).free)


def _states(svi, count):
    return [svi.init(jax.random.key(i), Y) for i in range(count)]


def test_particles_share_one_minibatch():
    seen = []

    def model(y):
        mu = svijax.sample("mu", dist.Normal(0.0, 1.0))
        with svijax.plate("data", 100, subsample_size=4) as rows:
            jax.debug.callback(lambda r: seen.append(np.asarray(r)), rows)
            svijax.sample("y", dist.Normal(mu, 1.0), obs=y[rows])

    svi = svijax.SVI(model, AutoNormal(model), 0.05, svijax.Trace_ELBO(3, vectorize_particles=False))
    state = svi.init(jax.random.key(0), jnp.zeros(100))
    jax.effects_barrier()
    seen.clear()
    svi.evaluate(state, jnp.zeros(100))
    jax.effects_barrier()
    assert len(seen) >= 1 and all(np.array_equal(rows, seen[0]) for rows in seen)


def test_a_run_longer_than_its_buffer():
    from svijax.fitting import _chunk

    fit = run(SVI, 2 * _chunk.CAPACITY + 17, Y)
    assert fit.losses.shape == (2 * _chunk.CAPACITY + 17,)
    assert np.isfinite(fit.losses).all()
    assert float(fit.params["loc"]) == pytest.approx(Y.sum() / 6, abs=0.15)
