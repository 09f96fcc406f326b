"""``batch``: a plate over all the data, run on some rows of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import svijax
import svijax.distributions as dist
from svijax import Trace_ELBO
from svijax.base import ArgumentError, ModelError
from svijax.density import log_density
from svijax.guides import AutoDiagonalNormal, AutoNormal
from svijax.handlers import batch, block, mask, scale, seed, trace
from svijax.objectives import RenyiELBO, TraceMeanField_ELBO

N, ROWS = 10, np.array([3, 1, 8, 5])
Y = np.linspace(-1.0, 2.0, N, dtype=np.float32)
KEY = jax.random.key(0)


def stated_by_batch(y: Any) -> Any:
    with svijax.plate("data", y.shape[0]) as i:
        svijax.sample("y", dist.Normal(0.5, 1.0), obs=svijax.subsample(y))
    return i


def stated_by_all(y: Any) -> Any:
    with svijax.plate("data", N) as i:
        svijax.sample("y", dist.Normal(0.5, 1.0), obs=svijax.subsample(y))
    return i


def stated_as_a_subsample(y: Any) -> Any:
    with svijax.plate("data", N, subsample_size=4) as i:
        svijax.sample("y", dist.Normal(0.5, 1.0), obs=svijax.subsample(y))
    return i


STATED = (stated_by_batch, stated_by_all, stated_as_a_subsample)


def local_model(y: Any) -> None:
    mu = svijax.sample("mu", dist.Normal(0.0, 1.0))
    with svijax.plate("data", y.shape[0]):
        z = svijax.sample("z", dist.Normal(mu, 1.0))
        svijax.sample("y", dist.Normal(z, 1.0), obs=y)


def sites(program: Any, *args: Any) -> dict[str, Any]:
    return dict(trace(seed(program, KEY)).get_trace(*args))


def density(program: Any, *args: Any) -> float:
    return float(sum(log_density(trace(seed(program, KEY)).get_trace(*args)).values()))


@pytest.mark.parametrize("model", STATED)
def test_the_rows_in_play_are_those_of_the_batch_however_the_plate_is_stated(model):
    site = sites(batch(model, "data", N, jnp.array(ROWS)), Y[ROWS])["y"]
    (frame,) = site.plates
    assert (frame.size, frame.subsample_size, frame.dim) == (N, 4, -1)
    np.testing.assert_array_equal(frame.rows, ROWS)
    assert site.scale == N / 4
    assert site.mask is None
    want = dist.Normal(0.5, 1.0).log_prob(Y[ROWS]).sum() * N / 4
    np.testing.assert_allclose(density(batch(model, "data", N, jnp.array(ROWS)), Y[ROWS]), want, rtol=1e-6)


@pytest.mark.parametrize("model", STATED[1:])
def test_subsample_gathers_from_data_of_full_length(model):
    program = batch(model, "data", N, jnp.array(ROWS))
    np.testing.assert_array_equal(sites(program, Y)["y"].value, Y[ROWS])
    np.testing.assert_array_equal(sites(program, Y[ROWS])["y"].value, Y[ROWS])


def test_the_indices_that_a_program_sees_number_what_it_stated():
    ran = [np.asarray(seed(batch(m, "data", N, jnp.array(ROWS)), KEY)(Y[ROWS])) for m in STATED]
    np.testing.assert_array_equal(ran[0], np.arange(4))
    np.testing.assert_array_equal(ran[1], ROWS)
    np.testing.assert_array_equal(ran[2], ROWS)


def test_rows_that_fill_up_are_masked_and_the_others_make_up_for_all():
    program = batch(stated_by_batch, "data", N, jnp.array(ROWS), count=3)
    site = sites(program, Y[ROWS])["y"]
    np.testing.assert_array_equal(site.mask, [True, True, True, False])
    assert site.scale == pytest.approx(N / 3)
    want = dist.Normal(0.5, 1.0).log_prob(Y[ROWS[:3]]).sum() * N / 3
    np.testing.assert_allclose(density(program, Y[ROWS]), want, rtol=1e-6)
    # What fills up is not looked at.
    np.testing.assert_allclose(
        density(program, np.array([*Y[ROWS[:3]], np.nan], np.float32)), want, rtol=1e-6
    )


def test_rows_that_fill_up_the_end_of_each_shard_are_masked():
    program = batch(stated_by_batch, "data", N, jnp.array(ROWS), count=2, shards=2)
    site = sites(program, Y[ROWS])["y"]
    np.testing.assert_array_equal(site.mask, [True, False, True, False])
    assert site.scale == pytest.approx(N / 2)


def nested(y: Any) -> None:
    with svijax.plate("groups", 2, dim=-1):
        svijax.sample("m", dist.Normal(0.0, 1.0))
        with svijax.plate("data", y.shape[0], dim=-3), svijax.plate("inner", 3, subsample_size=2, dim=-2):
            svijax.sample("x", dist.Normal(0.0, 1.0))


def test_plates_nest_and_cross():
    found = sites(batch(nested, "data", N, jnp.array(ROWS), count=3), Y[ROWS])
    assert found["m"].scale is None and found["m"].mask is None
    x = found["x"]
    assert x.value.shape == (4, 2, 2)
    assert x.mask.shape == (4, 1, 1)
    assert x.scale == pytest.approx(N / 3 * 3 / 2)


def test_a_plate_far_to_the_left_has_its_mask_too():
    def program(y: Any) -> None:
        with svijax.plate("data", y.shape[0], dim=-6):
            svijax.sample("x", dist.Normal(0.0, 1.0))

    site = sites(batch(program, "data", N, jnp.array(ROWS), count=3), Y[ROWS])["x"]
    assert site.mask.shape == (4, 1, 1, 1, 1, 1)


def test_masks_and_scales_combine():
    kept = np.array([True, False, True, True])
    other = scale(mask(stated_by_batch, mask=jnp.array(kept)), scale=2.0)
    site = sites(batch(other, "data", N, jnp.array(ROWS), count=3), Y[ROWS])["y"]
    np.testing.assert_array_equal(site.mask, [True, False, True, False])
    assert site.scale == pytest.approx(2.0 * N / 3)


def test_partly_observed_rows_keep_their_mask():
    seen = np.array([True, False, True, False])

    def model(y: Any) -> None:
        with svijax.plate("data", y.shape[0]):
            svijax.sample("y", dist.Normal(0.5, 1.0), obs=y, obs_mask=jnp.array(seen))

    found = sites(batch(model, "data", N, jnp.array(ROWS), count=3), Y[ROWS])
    np.testing.assert_array_equal(found["y_observed"].mask, [True, False, True, False])
    np.testing.assert_array_equal(found["y_unobserved"].mask, [False, True, False, False])


def test_factors_and_masks_asked_for_are_of_the_batch():
    def model(y: Any) -> None:
        with svijax.plate("data", y.shape[0]):
            svijax.factor("f", jnp.asarray(y))
            svijax.deterministic("mask", svijax.get_mask())

    found = sites(batch(model, "data", N, jnp.array(ROWS), count=3), Y[ROWS])
    np.testing.assert_array_equal(found["mask"].value, [True, True, True, False])
    assert found["f"].scale == pytest.approx(N / 3)


def test_inside_a_scan_the_plate_is_the_batchs():
    def model(y: Any) -> None:
        def step(carry: Any, x: Any) -> Any:
            with svijax.plate("data", y.shape[0]):
                svijax.sample("y", dist.Normal(carry, 1.0), obs=x)
            return carry, None

        svijax.scan(step, jnp.zeros(()), jnp.stack([y, y]))

    program = batch(model, "data", N, jnp.array(ROWS), count=3)
    want = 2 * dist.Normal(0.0, 1.0).log_prob(Y[ROWS[:3]]).sum() * N / 3
    np.testing.assert_allclose(density(program, Y[ROWS]), want, rtol=1e-5)


def test_autoguides_have_tables_over_all_rows_and_read_those_in_play():
    guide = AutoNormal(local_model)
    bound = batch(guide, "data", N, jnp.array(ROWS), count=3)
    found = sites(bound, Y[ROWS])
    assert found["z_auto_loc"].value.shape == (N,)
    assert found["z"].value.shape == (4,)
    assert found["z"].scale == pytest.approx(N / 3)
    table = jnp.arange(float(N))
    ran = svijax.handlers.substitute(bound, {"z_auto_loc": table, "z_auto_scale": jnp.full(N, 1e-6)})
    np.testing.assert_allclose(sites(ran, Y[ROWS])["z"].value, ROWS, atol=1e-4)


def test_autoguides_without_tables_say_so():
    guide = batch(AutoDiagonalNormal(local_model), "data", N, jnp.array(ROWS))
    with pytest.raises(ModelError, match="'z' lies in a subsampled plate, which AutoDiagonalNormal"):
        sites(guide, Y[ROWS])


def test_a_parameter_over_the_plate_is_gathered():
    def guide(y: Any) -> Any:
        with svijax.plate("data", y.shape[0]):
            return svijax.param("loc", jnp.arange(float(N)), event_dim=0)

    np.testing.assert_array_equal(seed(batch(guide, "data", N, jnp.array(ROWS)), KEY)(Y[ROWS]), ROWS)


@pytest.mark.parametrize("count", (None, 3))
def test_closed_divergences_stay_closed(count):
    guide = AutoNormal(local_model)
    pair = [batch(p, "data", N, jnp.array(ROWS), count) for p in (local_model, guide)]

    @jax.jit
    def report(y: Any) -> Any:
        found.append(TraceMeanField_ELBO().report(*pair, y).closed)
        return TraceMeanField_ELBO().loss(KEY, {}, *pair, y)

    found: list[Any] = []
    report(Y[ROWS])
    assert found[0] == ("mu", "z")


def test_a_traced_count_keeps_the_closed_divergence():
    guide = AutoNormal(local_model)
    found: list[Any] = []

    @jax.jit
    def report(y: Any, rows: Any, count: Any) -> Any:
        pair = [batch(p, "data", N, rows, count) for p in (local_model, guide)]
        found.append(TraceMeanField_ELBO().report(*pair, y).closed)
        return count

    report(Y[ROWS], jnp.array(ROWS), 3)
    assert found[0] == ("mu", "z")


def test_works_under_jit_vmap_grad_and_without_leaks():
    guide = AutoNormal(local_model)

    def loss(loc: Any, rows: Any, count: Any) -> Any:
        pair = [batch(p, "data", N, rows, count) for p in (local_model, guide)]
        return Trace_ELBO().loss(KEY, {"z_auto_loc": loc}, *pair, jnp.asarray(Y)[rows])

    rows = jnp.stack([jnp.array(ROWS), jnp.array(ROWS[::-1].copy())])
    with jax.checking_leaks():
        gradient = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0)))(jnp.zeros(N), rows, jnp.array([3, 4]))
    touched = [set(np.flatnonzero(g)) for g in np.asarray(gradient)]
    assert touched == [set(ROWS[:3]), set(ROWS)]


def test_fixed_draws_are_not_refused():
    pair = [batch(p, "data", N, jnp.array(ROWS)) for p in (local_model, AutoNormal(local_model))]
    assert np.isfinite(Trace_ELBO(fixed_draws=2).loss(KEY, {}, *pair, Y[ROWS]))


def test_rows_without_numbers_scale_but_have_no_tables():
    program = batch(local_model, "data", N, length=4, count=3)
    assert sites(program, Y[ROWS])["y"].scale == pytest.approx(N / 3)
    with pytest.raises(ModelError) as error:
        sites(batch(AutoNormal(local_model), "data", N, length=4), Y[ROWS])
    assert "plate 'data': something reads which of its 10 rows are in play" in str(error.value)
    assert "Batches(loader, ..., rows=)" in str(error.value)


@pytest.mark.parametrize(
    "use", (lambda i: jnp.asarray(Y)[i], lambda i: Y[i], lambda i: i + 1, lambda i: i[0])
)
def test_numbers_that_nobody_knows_cannot_be_used(use):
    def model(y: Any) -> None:
        with svijax.plate("data", N) as i:
            svijax.sample("y", dist.Normal(0.0, 1.0), obs=use(i))

    with pytest.raises(ModelError, match="something reads which of its 10 rows"):
        sites(batch(model, "data", N, length=4), Y[ROWS])


def test_an_amortised_guide_needs_no_numbers():
    def guide(y: Any) -> None:
        svijax.sample("mu", dist.Normal(svijax.param("m", 0.0), 1.0))
        with svijax.plate("data", y.shape[0]):
            svijax.sample("z", dist.Normal(svijax.param("slope", 0.5) * y, 1.0))

    pair = [batch(p, "data", N, length=4, count=3) for p in (local_model, guide)]
    assert np.isfinite(Trace_ELBO().loss(KEY, {}, *pair, Y[ROWS]))
    assert TraceMeanField_ELBO().report(*pair, Y[ROWS]).closed == ("mu", "z")


def test_a_model_without_the_plate_is_an_error_that_names_those_it_has():
    with pytest.raises(ModelError) as error:
        sites(batch(nested, "rows", N, jnp.array(ROWS)), Y[ROWS])
    assert "no plate is named 'rows'" in str(error.value)
    assert "plates ['groups', 'data', 'inner']" in str(error.value)
    assert 'Batches(..., plate="groups")' in str(error.value)
    with pytest.raises(ModelError, match=r"got: +no plate at all"):
        sites(batch(lambda: svijax.sample("x", dist.Normal(0.0, 1.0)), "data", N, jnp.array(ROWS)))


def test_a_guide_need_not_have_the_plate():
    def guide(y: Any) -> None:
        svijax.sample("mu", dist.Normal(0.0, 1.0))

    def model(y: Any) -> None:
        mu = svijax.sample("mu", dist.Normal(0.0, 1.0))
        with svijax.plate("data", y.shape[0]):
            svijax.sample("y", dist.Normal(mu, 1.0), obs=y)

    pair = [batch(p, "data", N, jnp.array(ROWS)) for p in (model, guide)]
    assert np.isfinite(Trace_ELBO().loss(KEY, {}, *pair, Y[ROWS]))


def test_a_plate_of_another_length_is_an_error():
    def model(y: Any) -> None:
        with svijax.plate("data", 7):
            svijax.sample("x", dist.Normal(0.0, 1.0))

    with pytest.raises(ModelError) as error:
        sites(batch(model, "data", N, jnp.array(ROWS)), Y[ROWS])
    assert "plate 'data' has another number of elements than its batches" in str(error.value)
    assert "4, as the batches have, or 10" in str(error.value)
    assert "size 7" in str(error.value)


def test_a_plate_that_draws_rows_of_its_own_number_is_an_error():
    def model(y: Any) -> None:
        with svijax.plate("data", N, subsample_size=3):
            svijax.sample("x", dist.Normal(0.0, 1.0))

    with pytest.raises(ModelError, match="size 10, subsample_size 3"):
        sites(batch(model, "data", N, jnp.array(ROWS)), Y[ROWS])


def test_the_size_must_be_given():
    with pytest.raises(ArgumentError, match="how many elements does plate 'data' have"):
        batch(stated_by_batch, "data")


def test_weights_of_particles_need_the_plate_around_everything():
    pair = [batch(p, "data", N, jnp.array(ROWS), 3) for p in (local_model, AutoNormal(local_model))]
    with pytest.raises(ModelError, match="plate 'data' subsamples, and model site 'mu' does not stand in it"):
        RenyiELBO(num_particles=2).loss(KEY, {}, *pair, Y[ROWS])


def test_a_hidden_plate_of_another_name_is_left_alone():
    hidden = block(nested, hide_fn=lambda site: site.name == "groups")
    found = sites(batch(hidden, "data", N, jnp.array(ROWS)), Y[ROWS])
    assert [f.size for f in found["x"].plates] == [N, 2, 3] or {f.size for f in found["x"].plates} == {
        2,
        3,
        N,
    }
