"""A guide is checked against its model: what is wrong, with site, plates, expected, got, and the edit that mends it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import svijax
import svijax.distributions as dist
from svijax.base import ModelError, ShapeError, SupportError
from svijax.density import abstractly, check_pair, run_guide, run_model
from svijax.guides import AutoDelta, AutoNormal
from svijax.handlers import substitute

sample, plate = svijax.sample, svijax.plate
N01 = dist.Normal(0.0, 1.0)


def pair(model: Any, guide: Any) -> None:
    """Run and check abstractly, as ``init`` does."""

    def facts(key: jax.Array) -> None:
        guide_trace = run_guide(guide, (), {}, key=key)
        check_pair(run_model(model, (), {}, guide_trace, key=key), guide_trace)

    abstractly(facts)


def failure(error: type[Exception], model: Any, guide: Any) -> str:
    with pytest.raises(error) as caught:
        pair(model, guide)
    return str(caught.value)


def test_a_latent_missing_from_the_guide() -> None:
    def model() -> None:
        with plate("data", 3):
            sample("weight", N01)
        sample("other", N01)

    assert failure(ModelError, model, lambda: sample("other", N01)) == (
        "model site 'weight' is latent, and the guide has no site of that name.\n"
        "  plates:   data (size 3, dim -1)\n"
        "  expected: a guide site 'weight' of shape (3,)\n"
        "  got:      none\n"
        "  fix:      add svijax.sample('weight', ...) to the guide, observe it with obs=, or use "
        "svijax.guides.AutoNormal(model)."
    )

    def misspelt() -> None:
        sample("wieght", N01.expand([3]))
        sample("other", N01)

    text = failure(ModelError, model, misspelt)
    assert text.startswith(
        "model site 'weight' is latent, and the guide has no site of that name; "
        "did you mean it by the guide's 'wieght'?"
    )
    assert "  got:      guide sites ['wieght']" in text


def test_a_guide_site_that_the_model_lacks() -> None:
    def guide() -> None:
        sample("z", N01)
        with plate("p", 2):
            sample("extra", N01)

    assert failure(ModelError, lambda: sample("z", N01), guide) == (
        "guide site 'extra' is no site of the model.\n"
        "  plates:   p (size 2, dim -1)\n"
        "  expected: one of the model's latents ['z']\n"
        "  got:      'extra'\n"
        "  fix:      remove it, or mark a variable that only the guide has with infer={'is_auxiliary': True}."
    )
    pair(lambda: sample("z", N01), lambda: (sample("z", N01), sample("h", N01, infer={"is_auxiliary": True})))


def test_a_guide_site_that_the_model_observes() -> None:
    model = lambda: (sample("z", N01), sample("y", N01, obs=0.5))  # noqa: E731
    text = failure(ModelError, model, lambda: (sample("z", N01), sample("y", N01)))
    assert text.startswith(
        "guide site 'y' is observed in the model.\n  expected: one of the model's latents ['z']"
    )
    flagged = lambda: (sample("z", N01), sample("y", N01, infer={"is_auxiliary": True}))  # noqa: E731
    assert failure(ModelError, model, flagged).startswith("guide site 'y' is observed in the model.")


def test_an_observed_guide_site() -> None:
    assert failure(ModelError, lambda: sample("z", N01), lambda: sample("z", N01, obs=1.0)) == (
        "guide site 'z' is observed.\n"
        "  expected: draws of latents only\n"
        "  got:      an observation of shape ()\n"
        "  fix:      observe it in the model; a term of log q is stated with svijax.factor."
    )


def test_a_shape_that_is_not_the_plates() -> None:
    def model() -> None:
        with plate("data", 3):
            sample("z", N01)

    assert failure(ShapeError, model, lambda: sample("z", N01)) == (
        "model site 'z': its draw, which comes from a guide or another trace, has a shape that is not the site's.\n"
        "  plates:   data (size 3, dim -1)\n"
        "  expected: (3,) = batch (3,) + event ()\n"
        "  got:      (), drawn inside plates []\n"
        "  fix:      draw it inside the same plates in the guide, or match the shapes with .expand and .to_event."
    )
    # Without subsampling a batch of the right shape will do.
    pair(model, lambda: sample("z", N01.expand([3])))


@pytest.mark.parametrize("swap", [False, True])
def test_event_dims(swap: bool) -> None:
    flat, event = (lambda: sample("z", N01.expand([3]))), (lambda: sample("z", N01.expand([3]).to_event(1)))
    model, guide = (flat, event) if swap else (event, flat)
    expected, got = ("()", "(3,)") if swap else ("(3,)", "()")
    fix = (
        "add .to_event(1) in the model, or leave it out in the guide."
        if swap
        else "add .to_event(1) in the guide."
    )
    assert failure(ShapeError, model, guide) == (
        "guide site 'z': its event has another number of dims than in the model.\n"
        f"  expected: event shape {expected}\n"
        f"  got:      event shape {got}\n"
        f"  fix:      {fix}"
    )


def test_a_support_that_is_left() -> None:
    def model() -> None:
        with plate("data", 3):
            sample("z", dist.HalfNormal(1.0))

    def guide() -> None:
        with plate("data", 3):
            sample("z", N01)

    assert failure(SupportError, model, guide) == (
        "guide site 'z' can leave the support of its prior.\n"
        "  plates:   data (size 3, dim -1)\n"
        "  expected: support inside nonnegative\n"
        "  got:      Normal with support real\n"
        "  fix:      use a distribution with that support, or "
        "dist.TransformedDistribution(dist.Normal(loc, scale), dist.transforms.biject_to(prior.support))."
    )


@pytest.mark.parametrize(
    ("prior", "guide"),
    [
        (dist.Bernoulli(0.5), N01),
        (N01, dist.Bernoulli(0.5)),
        (N01, dist.Poisson(2.0)),
        (dist.Gamma(2.0, 1.0), dist.Binomial(3, 0.5)),
        (dist.Beta(2.0, 2.0), dist.HalfNormal(1.0)),
        (dist.Categorical(probs=np.ones(3) / 3), dist.Categorical(probs=np.ones(4) / 4)),
        (dist.Uniform(0.0, 1.0), dist.Uniform(0.0, 2.0)),
    ],
    ids=lambda d: type(d).__name__,
)
def test_supports_that_do_not_fit(prior: Any, guide: Any) -> None:
    text = failure(SupportError, lambda: sample("z", prior), lambda: sample("z", guide))
    assert text.startswith("guide site 'z' can leave the support of its prior.\n  expected: support inside ")
    assert f"got:      {type(guide).__name__} with support" in text
    if prior.support.is_discrete:
        assert text.endswith("fix:      use a discrete distribution with the same support in the guide.")


@pytest.mark.parametrize(
    ("prior", "guide"),
    [
        (dist.HalfNormal(1.0), dist.LogNormal(0.0, 1.0)),
        (dist.Uniform(0.0, 2.0), dist.Beta(1.0, 1.0)),
        (dist.Poisson(1.0), dist.Binomial(3, 0.5)),
        (dist.HalfNormal(1.0), dist.Delta(1.0)),
        (dist.HalfNormal(1.0), dist.Delta(1.0).expand([])),
        (dist.Bernoulli(0.5), dist.Delta(1)),
    ],
    ids=lambda d: type(d).__name__,
)
def test_supports_that_fit(prior: Any, guide: Any) -> None:
    pair(lambda: sample("z", prior), lambda: sample("z", guide))


@pytest.mark.parametrize("guide_has_it", [False, True])
def test_a_subsampled_plate_on_one_side_only(guide_has_it: bool) -> None:
    def inside() -> None:
        with plate("data", 10, 4):
            sample("z", N01)

    def outside() -> None:
        sample("z", N01.expand([4]))

    model, guide = (outside, inside) if guide_has_it else (inside, outside)
    lacking = "model" if guide_has_it else "guide"
    plates, one = "data (size 10, subsample 4, dim -1)", "[data (size 10, subsample 4, dim -1)]"
    assert failure(ModelError, model, guide) == (
        f"guide site 'z': plate 'data' subsamples, and the {lacking} does not have it here.\n"
        + ("" if guide_has_it else f"  plates:   {plates}\n")
        + f"  expected: plates {'[]' if guide_has_it else one}\n"
        f"  got:      plates {one if guide_has_it else '[]'}\n"
        f"  fix:      enter svijax.plate('data', 10, 4) in the {lacking} too."
    )


def test_one_plate_with_two_sizes_or_dims_in_the_pair() -> None:
    def program(size: int, batch: int, dim: int = -1) -> Any:
        def run() -> None:
            with plate("data", size, batch, dim=dim):
                sample("z", N01.expand([batch, 1]) if dim == -2 else N01.expand([1] * (-dim - 1) + [batch]))

        return run

    assert failure(ModelError, program(10, 4), program(12, 4)) == (
        "model: plate 'data' has one size here and another where its draws come from.\n"
        "  expected: size 12, subsample_size 4\n"
        "  got:      size 10, subsample_size 4\n"
        "  fix:      give the plate the same sizes in model and guide."
    )

    def square(dim: int) -> Any:
        def run() -> None:
            with plate("data", 10, 4, dim=dim), plate("other", 4, dim=-3 - dim):
                sample("z", N01)

        return run

    assert failure(ModelError, square(-1), square(-2)) == (
        "guide site 'z': plate 'data' lies at another dim than in the model.\n"
        "  plates:   data (size 10, subsample 4, dim -1), other (size 4, dim -2)\n"
        "  expected: dim -1\n"
        "  got:      dim -2\n"
        "  fix:      give the plate dim=-1 in the guide."
    )


def test_autoguides_fit_models_with_masks_plates_and_constraints() -> None:
    def model() -> None:
        scale = sample("scale", dist.HalfNormal(1.0))
        with plate("data", 6, 3):
            z = sample("z", dist.Normal(0.0, scale))
            sample("y", dist.Normal(z, 1.0), obs=np.zeros(3), obs_mask=np.array([True, False, True]))

    for guide in (AutoNormal(model), AutoDelta(model)):
        pair(model, guide)


def test_a_pair_is_checked_on_concrete_values_too() -> None:
    guide_trace = run_guide(
        substitute(lambda: sample("z", N01), {"z": jnp.array(1.0)}), (), {}, key=jax.random.key(0)
    )
    check_pair(run_model(lambda: sample("z", N01), (), {}, guide_trace, key=jax.random.key(0)), guide_trace)
