"""How fits are called: arguments, threads, compilations, memory, losses of one's own, substeps."""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
import textwrap
import threading
from functools import partial
from pathlib import Path

import jax
import jax.extend.backend
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_models import Y, normal_guide, normal_model, rows_model, schools_model

import svijax
import svijax.distributions as dist
from svijax.base import _table
from svijax.fitting import apply_gradient, differentiate, draw_guide, replay_model
from svijax.fitting._loop import next_draws
from svijax.guides import AutoDiagonalNormal, AutoNormal
from svijax.objectives import estimate


def run(svi, n, *args, key=0, **options):
    return svi.run(jax.random.key(key), n, *args, progress_bar=False, **options)


def point_svi(model, optim=0.1, **options):
    return svijax.SVI(model, lambda *args, **kwargs: None, optim, **options)


# Threads


def test_eight_threads_fit_eight_models():
    def fit(i, out):
        def model(y):
            mu = svijax.sample(f"mu_{i}", dist.Normal(float(i), 1.0))
            with svijax.plate("data", len(y)):
                svijax.sample("y", dist.Normal(mu, 1.0), obs=y)

        svi = svijax.SVI(model, AutoNormal(model), optax.adam(0.05))
        out[i] = run(svi, 300, Y)

    found: dict[int, svijax.SVIRunResult] = {}
    threads = [threading.Thread(target=fit, args=(i, found)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for i in range(8):
        assert list(found[i].params) == [f"mu_{i}_auto_loc", f"mu_{i}_auto_scale"]
        exact = (i + Y.sum()) / (len(Y) + 1)
        assert float(found[i].params[f"mu_{i}_auto_loc"]) == pytest.approx(exact, abs=0.2)


# Arguments


def test_static_arguments_are_static_and_floats_are_traced(count_compiles):
    def model(rate, size, name, flag, nothing):
        assert isinstance(rate, jax.core.Tracer)
        assert (name, nothing) == ("x", None) and type(flag) is bool and type(size) is int
        a = svijax.param("a", 0.0)
        with svijax.plate("rows", size):
            svijax.factor("f", -((a - rate) ** 2) * jnp.ones(size) * (1.0 if flag else 2.0))

    svi = point_svi(model, optax.sgd(0.1))
    one = run(svi, 3, 2.0, 4, "x", True, None)
    with count_compiles() as again:
        two = run(svi, 3, 3.0, 4, "x", True, None)
    assert again.count == 0
    assert one.losses[0] == pytest.approx(16.0) and two.losses[0] == pytest.approx(36.0)
    other = run(svi, 3, 2.0, 4, "x", False, None)
    assert other.losses[0] == pytest.approx(32.0)
    longer = run(svi, 3, 2.0, 5, "x", True, None)
    assert longer.losses[0] == pytest.approx(20.0)


def test_one_and_true_are_different_static_arguments():
    def model(n):
        svijax.factor("f", -((svijax.param("a", 0.0) - (5.0 if n is True else 1.0)) ** 2))

    svi = point_svi(model)
    assert run(svi, 1, 1).losses[0] == pytest.approx(1.0)
    assert run(svi, 1, True).losses[0] == pytest.approx(25.0)


def test_keywords_reach_model_and_guide():
    def model(y, shift=0.0, mode="plain"):
        svijax.factor("f", -((svijax.param("a", 0.0) - y - shift - (10.0 if mode == "far" else 0.0)) ** 2))

    svi = point_svi(model)
    assert run(svi, 1, 1.0, shift=2.0).losses[0] == pytest.approx(9.0)
    assert run(svi, 1, 1.0, mode="far", shift=2.0).losses[0] == pytest.approx(169.0)
    state = svi.init(jax.random.key(0), 1.0, shift=2.0)
    assert float(svi.evaluate(state, 1.0, shift=2.0)) == pytest.approx(9.0)
    assert float(svi.update(state, 1.0, shift=2.0)[1]) == pytest.approx(9.0)


def test_trees_of_arrays_are_arguments():
    def model(data):
        a = svijax.param("a", 0.0)
        svijax.factor("f", -jnp.sum((a - data["x"][0]) ** 2) * (2.0 if data["kind"] == "twice" else 1.0))

    svi = point_svi(model)
    assert run(svi, 1, {"x": [jnp.ones(3)], "kind": "twice"}).losses[0] == pytest.approx(6.0)


def test_jit_of_update_binds_static_arguments_with_partial():
    def model(y, flag):
        a = svijax.param("a", 0.0)
        svijax.factor("f", -((a - y) ** 2) * (2.0 if flag else 1.0))

    svi = point_svi(model)
    state = svi.init(jax.random.key(0), 1.0, True)
    _, loss = jax.jit(partial(svi.update, flag=True))(state, 1.0)
    assert float(loss) == pytest.approx(2.0)


def test_weak_types_are_stripped():
    def model(y):
        a = svijax.param("a", jnp.asarray(1.0) * 2.0)
        b = svijax.param("b", 2.0)
        c = svijax.param("c", jnp.full((), 3.0, dtype=None) + 1)
        svijax.factor("f", -(a**2) - b**2 - c**2 - y)

    state = point_svi(model).init(jax.random.key(0), 1.0)
    after, _ = point_svi(model).update(state, 1.0)
    for x, y in zip(jax.tree.leaves(state), jax.tree.leaves(after)):
        assert x.aval.weak_type is False and y.aval == x.aval


def test_weakly_and_strongly_typed_data_share_a_program(count_compiles):
    svi = svijax.SVI(normal_model, normal_guide, optax.adam(0.031))
    run(svi, 2, jnp.zeros(4))
    weak = jnp.broadcast_to(jnp.asarray(1.0), (4,))
    with count_compiles() as seen:
        run(svi, 2, np.zeros(4, np.float32))
    assert seen.count == 0
    assert weak.aval.weak_type or weak.dtype == jnp.float32


# Compilations


def test_two_compilations_from_the_key_to_the_first_step():
    """In a fresh process: ``init`` and the step. To make a key, JAX compiles two programs of its own."""
    script = textwrap.dedent(
        """
        import sys
        import jax, optax
        sys.path.insert(0, sys.argv[1])
        compiled = []
        jax.monitoring.register_event_duration_secs_listener(
            lambda event, s, **_: compiled.append(event) if event.endswith("backend_compile_duration") else None
        )
        key = jax.random.key(0)
        compiled.clear()
        import svijax
        from small_models import Y, schools_model
        from svijax.guides import AutoNormal

        svi = svijax.SVI(schools_model, AutoNormal(schools_model), optax.adam(0.02))
        if sys.argv[2] == "update":
            svi.update(svi.init(key, Y), Y)
        else:
            seen = []
            svi.run(key, 100, Y, progress_bar=False, callback=lambda report: seen.append(len(compiled)))
            compiled = compiled[: seen[0]]
        print(len(compiled))
        """
    )
    for entry in ("update", "run"):
        folder = str(Path(__file__).parent)
        out = subprocess.run(
            [sys.executable, "-c", script, folder, entry],
            check=True,
            timeout=120,
            capture_output=True,
            text=True,
        )
        assert int(out.stdout) <= 2, entry


def test_a_second_run_compiles_nothing(count_compiles, capsys):
    svi = svijax.SVI(schools_model, AutoNormal(schools_model), optax.adam(0.0201))
    run(svi, 100, Y)
    with count_compiles() as seen:
        run(svi, 257, Y, key=1)
        svi.run(jax.random.key(2), 33, Y + 1.0, progress_bar=True)
        run(svi, 10, Y, init_state=run(svi, 5, Y).state)
    assert seen.count == 0
    assert "ELBO" in capsys.readouterr().err


def test_a_second_run_of_chains_compiles_nothing(count_compiles):
    svi = svijax.SVI(schools_model, AutoNormal(schools_model), optax.adam(0.0202))
    run(svi, 10, Y, num_chains=3)
    with count_compiles() as seen:
        run(svi, 20, Y, key=1, num_chains=3)
    assert seen.count == 0


def test_equal_records_share_compiled_functions(count_compiles):
    def build():
        return svijax.SVI(schools_model, AutoNormal(schools_model), svijax.optim.Adam(1.7e-2))

    assert build() == build() and hash(build()) == hash(build())
    run(build(), 10, Y)
    with count_compiles() as seen:
        run(build(), 10, Y, key=1)
    assert seen.count == 0
    assert build() != svijax.SVI(
        schools_model, AutoNormal(schools_model, init_scale=0.2), svijax.optim.Adam(1.7e-2)
    )


def test_a_second_step_traces_nothing():
    traced = itertools.count()

    def model(y):
        next(traced)
        normal_model(y)

    svi = svijax.SVI(model, normal_guide, optax.adam(0.05))
    state = svi.init(jax.random.key(0), Y)
    state, _ = svi.update(state, Y)
    before = next(traced)
    for _ in range(5):
        state, _ = svi.update(state, Y)
    assert next(traced) == before + 1


def _executables():
    return len(jax.extend.backend.get_backend().live_executables())


def _growth(fit, before, after):
    """How many live executables and arrays ``after`` more fits leave, ``before`` fits having filled the table."""
    for _ in range(before):
        fit()
    gc.collect()
    executables, arrays = _executables(), len(jax.live_arrays())
    for _ in range(after):
        fit()
    gc.collect()
    return _executables() - executables, len(jax.live_arrays()) - arrays


def _fit_a_new_svi():
    shift = jnp.zeros(())

    def model():
        svijax.factor("f", -((svijax.param("a", 1.0) - shift) ** 2))

    run(point_svi(model, svijax.optim.SGD(0.01)), 2)


def test_two_hundred_fits_of_one_svi_leave_memory_flat():
    svi = svijax.SVI(normal_model, normal_guide, optax.adam(0.05))
    more, arrays = _growth(lambda: run(svi, 2, Y), 5, 195)
    assert more == 0 and arrays <= 0


def test_new_svis_leave_memory_flat():
    more, arrays = _growth(_fit_a_new_svi, 24, 8)
    assert more <= 2 and arrays <= 2


@pytest.mark.slow
def test_two_hundred_new_svis_leave_memory_flat():
    more, arrays = _growth(_fit_a_new_svi, 40, 160)
    assert more <= 2 and arrays <= 2


def test_clear_caches_releases_executables():
    svi = svijax.SVI(normal_model, normal_guide, optax.adam(0.0511))
    svijax.clear_caches()
    gc.collect()
    before = _executables()
    run(svi, 2, Y)
    assert _executables() > before
    svijax.clear_caches()
    gc.collect()
    assert len(_table._TABLE) == 0
    assert _executables() <= before + 1


TARGET = jnp.asarray(1.0)


def _reads_a_global():
    svijax.factor("f", -((svijax.param("a", 0.0) - TARGET) ** 2))


def test_a_rebound_global_array_is_seen():
    global TARGET
    svi = point_svi(_reads_a_global)
    state = svi.init(jax.random.key(0))
    assert float(svi.evaluate(state)) == pytest.approx(1.0)
    TARGET = jnp.asarray(3.0)
    assert float(svi.evaluate(state)) == pytest.approx(9.0)
    assert run(svi, 1).losses[0] == pytest.approx(9.0)
    TARGET = jnp.asarray(1.0)
    assert run(svi, 1).losses[0] == pytest.approx(1.0)


def test_a_rebound_closure_array_and_number_are_seen():
    target, power = jnp.asarray(2.0), 2

    def model():
        svijax.factor("f", -((svijax.param("a", 0.0) - target) ** power))

    svi = point_svi(model)
    assert run(svi, 1).losses[0] == pytest.approx(4.0)
    target = jnp.asarray(3.0)
    assert run(svi, 1).losses[0] == pytest.approx(9.0)
    power = 4
    assert run(svi, 1).losses[0] == pytest.approx(81.0)


# Losses of one's own


def test_a_function_can_be_the_loss():
    def loss(key, params, model, guide, y):
        return jnp.sum((params["a"] - y) ** 2) + 0.0 * jax.random.normal(key)

    svi = svijax.SVI(
        lambda y: None, lambda y: svijax.param("a", 0.5, constraint=dist.constraints.positive), 0.05, loss
    )
    fit = run(svi, 600, jnp.asarray([1.0, 2.0]))
    assert fit.losses[0] == pytest.approx(2.5)
    assert float(fit.params["a"]) == pytest.approx(1.5, abs=1e-2)


def test_an_objective_called_by_hand_is_the_objective():
    inner = svijax.Trace_ELBO(num_particles=2)

    def twice(key, params, model, guide, *args, **kwargs):
        return 2.0 * inner.loss(key, params, model, guide, *args, **kwargs)

    svi = svijax.SVI(normal_model, normal_guide, 0.05, twice)
    plain = svijax.SVI(normal_model, normal_guide, 0.05, inner)
    state = svi.init(jax.random.key(0), Y)
    losses = run(svi, 800, Y).losses
    reference = run(plain, 800, Y).losses
    assert losses[-200:].mean() == pytest.approx(2 * reference[-200:].mean(), rel=0.03)
    assert np.isfinite(float(svi.evaluate(state, Y)))


def test_an_object_with_a_loss_method():
    class Squared:
        def loss(self, key, params, model, guide, y):
            return (params["a"] - y) ** 2

    svi = svijax.SVI(lambda y: None, lambda y: svijax.param("a", 0.0), 0.05, loss=Squared())
    assert run(svi, 1, 3.0).losses[0] == pytest.approx(9.0)


# Substeps


@pytest.mark.parametrize("model", [normal_model, rows_model], ids=["whole", "rows"])
def test_the_substeps_compose_to_one_update(model, x64):
    y = np.asarray(Y, float)
    svi = svijax.SVI(model, normal_guide, optax.adam(0.05))
    state = svi.init(jax.random.key(0), y)
    result, gradient = differentiate(svi, state, y)
    after = apply_gradient(svi, state, result, gradient, y)
    updated, loss = svi.update(state, y)
    assert float(result.loss) == pytest.approx(float(loss), rel=1e-12)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(updated)):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_draws_and_densities_compose_to_the_loss(x64):
    y = np.asarray(Y, float)
    svi = svijax.SVI(normal_model, normal_guide, optax.adam(0.05))
    state = svi.init(jax.random.key(0), y)
    key = jax.random.key(7)

    def loss(free):
        guide_trace = draw_guide(normal_guide, free, key, y)
        model_trace = replay_model(normal_model, free, guide_trace, key, y)
        return estimate(model_trace, guide_trace).loss

    free = {name: state.free[name] for name in state.free}
    value, gradient = jax.value_and_grad(loss)(free)
    reference, expected = jax.value_and_grad(svi.loss)(free, key, y)
    assert float(value) == pytest.approx(float(reference), rel=1e-12)
    for name in free:
        assert float(gradient[name]) == pytest.approx(float(expected[name]), rel=1e-12)


def test_next_draws_are_those_of_update():
    svi = svijax.SVI(normal_model, normal_guide, optax.adam(0.05))
    state = svi.init(jax.random.key(0), Y)
    draws = next_draws(svi.problem().on(state, (Y,), {}), state)
    mu = 0.5 + 0.7 * float(draws.normal[0, 0])
    logp = dist.Normal(0.0, 1.0).log_prob(mu) + dist.Normal(mu, 1.0).log_prob(Y).sum()
    logq = dist.Normal(0.5, 0.7).log_prob(mu)
    assert float(svi.evaluate(state, Y)) == pytest.approx(float(logq - logp), rel=1e-5)


def test_guide_and_model_share_a_param_by_name():
    def model(y):
        a = svijax.param("a")
        svijax.sample("z", dist.Normal(a, 1.0))

    def guide(y):
        a = svijax.param("a", 2.0)
        svijax.sample("z", dist.Normal(a, svijax.param("s", 0.3, constraint=dist.constraints.positive)))

    svi = svijax.SVI(model, guide, 0.01)
    fit = run(svi, 5, 1.0)
    assert set(fit.params) == {"a", "s"}
    state = svi.init(jax.random.key(0), 1.0)
    assert float(svi.get_params(state)["a"]) == pytest.approx(2.0)
    # With one value for both, log p and log q move together: no gradient.
    _, gradient = differentiate(svi, state, 1.0)
    assert AutoDiagonalNormal(normal_model) == AutoDiagonalNormal(normal_model)
    assert float(gradient[0][list(state.free).index("a")]) == pytest.approx(0.0, abs=1e-5)
