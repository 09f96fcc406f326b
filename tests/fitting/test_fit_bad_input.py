"""Wrong programs, data and arguments: told with names, by an exception of the library, before the first step."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_models import Y, normal_guide, normal_model

import svijax
import svijax.distributions as dist
from svijax.base import (
    ArgumentError,
    DataError,
    MissingKeyError,
    ModelError,
    ParameterError,
    ShapeError,
    StateError,
    SupportError,
    SvijaxError,
    UnknownNameError,
)
from svijax.distributions import constraints
from svijax.guides import AutoNormal, init_to_value

GOOD = svijax.SVI(normal_model, normal_guide, 0.05)


def refused(error, model, guide, *args, **options):
    """The message with which ``init`` and ``run`` both refuse; no step is taken."""
    svi = svijax.SVI(model, guide, 0.05)
    with pytest.raises(error) as at_init:
        svi.init(jax.random.key(0), *args, **options)
    with pytest.raises(error) as at_run:
        svi.run(jax.random.key(0), 3, *args, progress_bar=False, callback=_no_step, **options)
    assert isinstance(at_init.value, SvijaxError)
    assert str(at_init.value) == str(at_run.value)
    return str(at_init.value)


def _no_step(state, losses):
    raise AssertionError("a step was taken")


def has(text, *parts):
    for part in parts:
        assert part in text, text


def auto(model):
    return AutoNormal(model)


# Model and guide


def test_a_latent_missing_from_the_guide():
    def model():
        with svijax.plate("p", 3):
            svijax.sample("theta", dist.Normal(0.0, 1.0))

    def guide():
        with svijax.plate("p", 3):
            svijax.sample("theta_", dist.Normal(svijax.param("a", 0.0), 1.0))

    text = refused(ModelError, model, guide)
    has(text, "model site 'theta' is latent, and the guide has no site of that name", "'theta_'")
    has(text, "plates:", "expected:", "(3,)", "got:", "fix:")


def test_a_guide_site_that_the_model_lacks():
    def guide(y):
        normal_guide(y)
        svijax.sample("nu", dist.Normal(0.0, 1.0))

    text = refused(ModelError, normal_model, guide, Y)
    has(text, "guide site 'nu' is no site of the model", "expected:", "['mu']", "is_auxiliary")


def test_a_guide_site_that_the_model_observes():
    def guide(y):
        normal_guide(y)
        with svijax.plate("data", 5):
            svijax.sample("y", dist.Normal(0.0, 1.0))

    has(refused(ModelError, normal_model, guide, Y), "guide site 'y' is observed in the model")


def test_a_guide_that_observes():
    def guide(y):
        svijax.sample("mu", dist.Normal(0.0, 1.0), obs=jnp.zeros(()))

    has(refused(ModelError, normal_model, guide, Y), "guide site 'mu' is observed", "fix:")


def test_the_shape_of_a_guide_site():
    def guide(y):
        svijax.sample("mu", dist.Normal(jnp.zeros(3), 1.0))

    text = refused(ModelError, normal_model, guide, Y)
    has(text, "site 'mu'", "expected:", "()", "got:", "(3,)")


def test_the_event_of_a_guide_site():
    def model():
        svijax.sample("w", dist.Normal(jnp.zeros(3), 1.0).to_event(1))

    def guide():
        svijax.sample("w", dist.Normal(jnp.zeros(3), 1.0))

    has(refused(ShapeError, model, guide), "guide site 'w'", "event shape (3,)", ".to_event(1)")


def test_the_shape_of_a_site_against_its_plates():
    def model():
        with svijax.plate("p", 3):
            svijax.sample("z", dist.Normal(jnp.zeros(4), 1.0))

    text = refused(ShapeError, model, auto(model))
    has(text, "model site 'z' does not fit its plate 'p'", "3 (or 1) at dim -1", "(4,)", "fix:")


def test_one_plate_name_with_two_sizes():
    def model():
        with svijax.plate("p", 3):
            svijax.sample("a", dist.Normal(0.0, 1.0))
        with svijax.plate("p", 4):
            svijax.sample("b", dist.Normal(0.0, 1.0))

    text = refused(ModelError, model, auto(model))
    has(text, "'p'", "3", "4")


def test_one_plate_name_with_two_sizes_in_model_and_guide():
    def model():
        with svijax.plate("p", 3):
            svijax.sample("a", dist.Normal(0.0, 1.0))

    def guide():
        with svijax.plate("p", 4):
            svijax.sample("a", dist.Normal(0.0, 1.0))

    text = refused(ModelError, model, guide)
    has(text, "'p'", "3", "4")


def test_a_subsampled_plate_in_the_model_only():
    def model():
        with svijax.plate("p", 6, subsample_size=2):
            svijax.sample("a", dist.Normal(0.0, 1.0))

    def guide():
        svijax.sample("a", dist.Normal(jnp.zeros(2), 1.0))

    has(
        refused(ModelError, model, guide), "plate 'p' subsamples, and the guide does not have it here", "6, 2"
    )


def test_plate_size_against_the_length_of_the_data():
    def model(y):
        mu = svijax.sample("mu", dist.Normal(0.0, 1.0))
        with svijax.plate("data", 4):
            svijax.sample("y", dist.Normal(mu, 1.0), obs=y)

    text = refused(ShapeError, model, auto(model), Y)
    has(text, "model site 'y'", "expected:", "(4,)", "got:", "(5,)", "data")


def test_an_observation_that_would_broadcast():
    def model(y):
        mu = svijax.sample("mu", dist.Normal(0.0, 1.0))
        with svijax.plate("data", 5):
            svijax.sample("y", dist.Normal(mu, 1.0), obs=y)

    text = refused(ShapeError, model, auto(model), Y[:, None])
    has(text, "model site 'y'", "expected: (5,)", "got:      (5, 1)", "reshape the observation")


def test_a_guide_that_can_leave_the_support():
    def model():
        svijax.sample("tau", dist.HalfNormal(1.0))

    def guide():
        svijax.sample("tau", dist.Normal(svijax.param("a", 1.0), 1.0))

    text = refused(SupportError, model, guide)
    has(text, "guide site 'tau' can leave the support of its prior", "Normal", "fix:")


# Values


def test_a_traced_parameter_of_a_distribution():
    def model(scale, y):
        mu = svijax.sample("mu", dist.Normal(0.0, 1.0))
        with svijax.plate("data", 5):
            svijax.sample("y", dist.Normal(mu, scale), obs=y)

    scale = np.array([1.0, 1.0, -2.0, 1.0, 1.0], np.float32)
    text = refused(ParameterError, model, auto(model), scale, Y)
    has(text, "argument 'scale' of Normal" if "argument" in text else "'scale'", "-2.0", "(2,)")


def test_a_traced_parameter_of_a_distribution_names_its_site():
    def model(scale):
        svijax.sample("mu", dist.Normal(0.0, scale))

    has(
        refused(ParameterError, model, lambda scale: svijax.sample("mu", dist.Normal(0.0, 1.0)), -1.0),
        "scale",
    )


def test_an_observation_outside_the_support():
    def model(k):
        rate = svijax.sample("rate", dist.Gamma(1.0, 1.0))
        with svijax.plate("data", 4):
            svijax.sample("k", dist.Poisson(rate), obs=k)

    text = refused(DataError, model, auto(model), np.array([1, 2, -3, -4]))
    has(
        text,
        "model site 'k': the observation is outside the support of Poisson",
        "-3 at index (2,)",
        "plates:",
    )


def test_nan_in_the_data():
    text = refused(DataError, normal_model, normal_guide, np.where(np.arange(5) == 3, np.nan, Y))
    has(text, "model site 'y': the observation is NaN", "nan at index (3,)", "obs_mask")


def test_masked_nan_is_legal():
    def model(y, seen):
        mu = svijax.sample("mu", dist.Normal(0.0, 1.0))
        with svijax.plate("data", 5), svijax.handlers.mask(mask=seen):
            svijax.sample("y", dist.Normal(mu, 1.0), obs=y)

    y = np.where(np.arange(5) == 3, np.nan, Y).astype(np.float32)
    svi = svijax.SVI(model, auto(model), 0.05)
    fit = svi.run(jax.random.key(0), 50, y, np.arange(5) != 3, progress_bar=False)
    assert fit.status is svijax.Status.MAX_STEPS
    without = np.delete(Y, 3)
    clean = svijax.SVI(normal_model, auto(normal_model), 0.05).run(
        jax.random.key(0), 50, without, progress_bar=False
    )
    np.testing.assert_allclose(fit.losses, clean.losses, rtol=1e-4)
    with pytest.raises(DataError, match="index"):
        svi.init(jax.random.key(0), y, np.arange(5) != 2)


def test_an_infinite_observation_is_no_number_of_a_normal():
    text = refused(SvijaxError, normal_model, normal_guide, np.where(np.arange(5) == 1, np.inf, Y))
    has(text, "model site 'y'", "(1,)")


def test_a_param_that_starts_outside_its_constraint():
    def guide(y):
        scale = svijax.param("s", jnp.array([1.0, -2.0]), constraint=constraints.positive)
        svijax.sample("mu", dist.Normal(0.0, scale.sum() ** 2 + 1.0))

    text = refused(ParameterError, normal_model, guide, Y)
    has(text, "guide param 's' starts outside its constraint", "-2.0 at index (1,)", "fix:")


def test_init_params_outside_the_constraint():
    text = refused(ParameterError, normal_model, normal_guide, Y, init_params={"scale": -1.0})
    has(text, "param 'scale' starts outside its constraint", "-1.0")
    text = refused(ParameterError, normal_model, auto(normal_model), Y, init_params={"mu_auto_scale": -1.0})
    has(text, "param 'mu_auto_scale' starts outside its constraint", "-1.0")


def test_a_param_without_a_start():
    def guide(y):
        svijax.sample("mu", dist.Normal(svijax.param("a") or 0.0, 1.0))

    has(
        refused(ParameterError, normal_model, guide, Y),
        "guide param 'a' has no starting value",
        "init_params",
    )


def test_an_infinite_log_density_at_the_start():
    def model():
        svijax.sample("mu", dist.Normal(0.0, 1.0))
        svijax.factor("wall", -jnp.inf)

    text = refused(ModelError, model, auto(model))
    has(text, "model site 'wall': its log density is not finite at the start", "-inf", "fix:")


# Names


@pytest.mark.parametrize("kind", ["latents", "param and latent", "latent and factor"])
def test_duplicate_names(kind):
    def model():
        svijax.sample("a", dist.Normal(0.0, 1.0))
        if kind == "latents":
            svijax.sample("a", dist.Normal(0.0, 1.0))
        elif kind == "param and latent":
            svijax.param("a", 0.0)
        else:
            svijax.factor("a", 0.0)

    def guide():
        svijax.sample("a", dist.Normal(svijax.param("loc", 0.0), 1.0))

    has(refused(ModelError, model, guide), "'a'", "model")


def test_unknown_names_in_init_params():
    text = refused(UnknownNameError, normal_model, normal_guide, Y, init_params={"lok": 1.0})
    has(text, "init_params: no site is named 'lok'", "did you mean 'loc'?")


def test_unknown_names_in_init_to_value():
    guide = AutoNormal(normal_model, init_loc_fn=init_to_value({"mo": 1.0}))
    has(refused(UnknownNameError, normal_model, guide, Y), "init_to_value: no site is named 'mo'", "'mu'")


@pytest.mark.parametrize("handler", [svijax.handlers.condition, svijax.handlers.substitute])
def test_unknown_names_in_handlers_within_a_fit(handler):
    model = handler(normal_model, data={"muu": jnp.zeros(())})
    has(refused(UnknownNameError, model, normal_guide, Y), "'muu'", "did you mean 'mu'?")


# Keys and arguments


@pytest.mark.parametrize("key", [None, 0, "key", jnp.zeros(2)])
def test_what_is_no_key(key):
    for call in (lambda: GOOD.init(key, Y), lambda: GOOD.run(key, 3, Y, progress_bar=False)):
        with pytest.raises(ArgumentError, match="a random key is needed") as error:
            call()
        has(str(error.value), "jax.random.key(0)")


def test_a_missing_key():
    with pytest.raises(MissingKeyError, match="site 'mu' needs a random key") as error:
        normal_model(Y)
    has(str(error.value), "seed")


def test_an_unhashable_argument():
    svi = svijax.SVI(lambda y, s: normal_model(y), lambda y, s: normal_guide(y), 0.05)
    with pytest.raises(ArgumentError, match="neither an array nor hashable") as error:
        svi.init(jax.random.key(0), Y, {1, 2})
    has(str(error.value), "argument [1]", "set", "fix:")
    with pytest.raises(ArgumentError, match="keyword"):
        svi.init(jax.random.key(0), Y, s={1, 2})


@pytest.mark.parametrize("wrong", [0, -1, 2.0, True, None])
def test_counts_below_one_and_no_ints(wrong):
    with pytest.raises(ArgumentError, match="num_steps must be an int of at least 1"):
        GOOD.run(jax.random.key(0), wrong, Y)
    with pytest.raises(ArgumentError, match="num_particles must be an int of at least 1"):
        svijax.Trace_ELBO(num_particles=wrong)
    if wrong is not None:
        with pytest.raises(ArgumentError, match="num_chains must be an int of at least 1"):
            GOOD.run(jax.random.key(0), 3, Y, num_chains=wrong)


def test_counts_of_numpy_are_ints():
    assert GOOD.run(jax.random.key(0), np.int64(3), Y, progress_bar=False).losses.shape == (3,)


def test_a_traced_number_of_steps():
    with pytest.raises(ArgumentError, match="num_steps must be known") as error:
        jax.jit(lambda n: GOOD.run(jax.random.key(0), n, Y))(3)
    has(str(error.value), "pass num_steps as a Python int")


def test_a_traced_plate_size():
    def model(n):
        with svijax.plate("p", n):
            svijax.sample("a", dist.Normal(0.0, 1.0))

    with pytest.raises(ArgumentError, match="plate 'p': size must be") as error:
        svijax.SVI(model, auto(model), 0.1).init(jax.random.key(0), jnp.asarray(3))
    has(str(error.value), "pass it to the model as a Python int", "model")


def test_a_bar_or_callback_inside_transformations():
    for options in ({"progress_bar": True}, {"callback": print}):
        with pytest.raises(ArgumentError, match="needs the host") as error:
            jax.jit(lambda k, o=options: GOOD.run(k, 3, Y, **o))(jax.random.key(0))
        has(str(error.value), next(iter(options)))
        with pytest.raises(ArgumentError, match="needs the host"):
            jax.vmap(lambda k, o=options: GOOD.run(k, 3, Y, **o).losses)(
                jax.random.split(jax.random.key(0), 2)
            )
    with pytest.raises(ArgumentError, match="on_nonfinite='raise' needs the host"):
        jax.jit(lambda k: GOOD.run(k, 3, Y, on_nonfinite="raise"))(jax.random.key(0))


def test_a_result_of_transformations_has_no_posterior():
    fit = jax.jit(lambda k: GOOD.run(k, 3, Y))(jax.random.key(0))
    with pytest.raises(ArgumentError, match="posterior needs the programs"):
        _ = fit.posterior
    with pytest.raises(ArgumentError, match=r"explain\(\) needs the programs"):
        fit.explain()


def test_an_unknown_choice():
    with pytest.raises(ArgumentError, match="on_nonfinite is none of its choices") as error:
        GOOD.run(jax.random.key(0), 3, Y, on_nonfinite="ignore")
    has(str(error.value), "'stop', 'skip', 'raise'", "'ignore'")


def test_two_starts():
    state = GOOD.init(jax.random.key(0), Y)
    with pytest.raises(ArgumentError, match="init_params and init_state are two different starts"):
        GOOD.run(jax.random.key(0), 3, Y, init_state=state, init_params={"loc": 1.0})


@pytest.mark.parametrize("name", ["num_chains", "callback", "init_state"])
def test_a_model_keyword_that_is_an_option_of_run(name):
    scope: dict = {"normal_model": normal_model}
    exec(f"def model(y, {name}=None): normal_model(y)", scope)
    svi = svijax.SVI(scope["model"], lambda y, **kw: normal_guide(y), 0.05)
    with pytest.raises(ArgumentError, match="an argument that is an option of run too") as error:
        svi.run(jax.random.key(0), 3, Y)
    has(str(error.value), name, "rename it in the model")


# States


def other_guide(y):
    svijax.sample("mu", dist.Normal(svijax.param("location", 0.0), 1.0))


def wide_guide(y):
    svijax.sample("mu", dist.Normal(svijax.param("loc", jnp.zeros(3)).sum(), svijax.param("scale", 1.0)))


@pytest.mark.parametrize("guide", [other_guide, wide_guide])
def test_a_state_of_another_svi(guide):
    state = svijax.SVI(normal_model, guide, 0.05).init(jax.random.key(0), Y)
    for call in (
        lambda: GOOD.update(state, Y),
        lambda: GOOD.evaluate(state, Y),
        lambda: GOOD.run(jax.random.key(0), 3, Y, init_state=state, progress_bar=False),
        lambda: GOOD.estimate(state, Y),
    ):
        with pytest.raises(StateError, match="the state belongs to another SVI") as error:
            call()
        has(str(error.value), "loc ()", "location" if guide is other_guide else "loc (3,)")


def test_a_state_of_another_optimiser():
    state = svijax.SVI(normal_model, normal_guide, optax.sgd(0.1)).init(jax.random.key(0), Y)
    with pytest.raises(StateError, match="its optimiser state or mutable state has another structure"):
        GOOD.update(state, Y)


def test_a_state_of_other_data():
    def model(x):
        svijax.sample("w", dist.Normal(jnp.zeros(x.shape[1]), 1.0).to_event(1))

    svi = svijax.SVI(model, auto(model), 0.05)
    state = svi.init(jax.random.key(0), np.zeros((4, 3), np.float32))
    svi.update(state, np.zeros((7, 3), np.float32))
    with pytest.raises(StateError, match="belongs to another SVI") as error:
        svi.update(state, np.zeros((4, 2), np.float32))
    has(str(error.value), "w_auto_loc (2,)", "w_auto_loc (3,)")


def test_what_is_no_state():
    with pytest.raises(StateError, match=r"a state made by SVI\.init or SVI\.run is needed"):
        GOOD.update({"loc": 1.0}, Y)
    with pytest.raises(StateError, match="got:      dict"):
        GOOD.run(jax.random.key(0), 3, Y, init_state={"loc": 1.0}, progress_bar=False)


def test_a_state_with_chains_in_update():
    fit = GOOD.run(jax.random.key(0), 3, Y, num_chains=2, progress_bar=False)
    with pytest.raises(StateError, match="chain"):
        GOOD.update(fit.state, Y)


# The record


@pytest.mark.parametrize("optim", ["adam", None, optax.adam, {"a": 1.0}, True, -1.0])
def test_what_is_no_optimiser(optim):
    with pytest.raises(ArgumentError):
        svijax.SVI(normal_model, normal_guide, optim)


def test_no_optimiser_in_words():
    with pytest.raises(ArgumentError, match="optim is no optimiser") as error:
        svijax.SVI(normal_model, normal_guide, optax.adam)
    has(str(error.value), "expected:", "optax.adam(1e-2)", "fix:")


@pytest.mark.parametrize("objective", [svijax.Trace_ELBO, 3, "elbo"])
def test_what_is_no_objective(objective):
    with pytest.raises(ArgumentError, match="the objective must be") as error:
        svijax.SVI(normal_model, normal_guide, 0.1, objective)
    has(str(error.value), "Trace_ELBO()")


def test_two_objectives():
    with pytest.raises(ArgumentError, match="two words for one thing"):
        svijax.SVI(normal_model, normal_guide, 0.1, svijax.Trace_ELBO(), loss=svijax.Trace_ELBO())


@pytest.mark.parametrize("which", ["model", "guide"])
@pytest.mark.parametrize("program", [None, 3, AutoNormal])
def test_what_is_no_program(which, program):
    programs = {"model": normal_model, "guide": normal_guide, which: program}
    with pytest.raises(ArgumentError, match=f"the {which} must be a function"):
        svijax.SVI(programs["model"], programs["guide"], 0.1)


def test_a_loss_of_ones_own_in_svi_loss():
    svi = svijax.SVI(normal_model, normal_guide, 0.1, lambda key, params, model, guide, y: 0.0)
    with pytest.raises(ArgumentError, match=r"svi\.loss takes one of the library's objectives"):
        svi.loss({}, jax.random.key(0), Y)


# Programs that change


def test_a_model_that_states_other_sites_on_other_calls():
    calls = itertools.count()

    def model():
        svijax.sample("a", dist.Normal(0.0, 1.0))
        if next(calls) % 2:
            svijax.factor("b", 0.0)

    def guide():
        svijax.sample("a", dist.Normal(svijax.param("loc", 0.0), 1.0))

    text = refused(ModelError, model, guide)
    has(text, "the model states different sites on different calls", "'b'", "fix:")
