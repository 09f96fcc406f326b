"""``check`` passes what is right, and finds each kind of fault and says so in the right words."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import svijax.distributions as dist
from svijax.base import ArgumentError
from svijax.distributions import Distribution, check, constraints
from svijax.distributions._parameters import parameters


class Logistic(Distribution):
    """p(x) = exp(-z) / (scale (1 + exp(-z))^2), z = (x - loc) / scale: what a user may write."""

    arg_constraints = parameters(loc=constraints.real, scale=constraints.positive)
    support = constraints.real
    _noise_kind = "uniform"
    loc: Any
    scale: Any

    def __init__(self, loc: Any, scale: Any, *, validate_args: bool | None = None) -> None:
        self._init(validate_args, loc=loc, scale=scale)

    def from_noise(self, noise: Any) -> Any:
        return self.loc + self.scale * (jnp.log(noise) - jnp.log1p(-noise))

    def log_prob(self, value: Any) -> Any:
        z = (value - self.loc) / self.scale
        return -z - 2 * jax.nn.softplus(-z) - jnp.log(self.scale)


class WrongMass(Logistic):
    def log_prob(self, value: Any) -> Any:
        return super().log_prob(value) + math.log(1.02)


class WrongScale(Logistic):
    def from_noise(self, noise: Any) -> Any:
        return self.loc + 1.02 * self.scale * (jnp.log(noise) - jnp.log1p(-noise))


class WrongShape(Logistic):
    def from_noise(self, noise: Any) -> Any:
        return super().from_noise(noise)[..., None]


class Stored(Logistic):
    _static = ("_stored", "_detached")

    def __init__(self, loc: Any, scale: Any) -> None:
        super().__init__(loc, scale)
        self._assign(_stored=super().batch_shape)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return self._stored


class Drifting(Logistic):
    def log_prob(self, value: Any) -> Any:
        return super().log_prob(value) + jnp.zeros((), jnp.float32)


class Outside(Logistic):
    support = constraints.positive


class Detached(Logistic):
    def from_noise(self, noise: Any) -> Any:
        return jax.lax.stop_gradient(super().from_noise(noise))


class DetachedGamma(dist.Gamma):
    def _sample(self, key: Any, sample_shape: Any) -> Any:
        return jax.lax.stop_gradient(super()._sample(key, sample_shape))


class Gradientless(Logistic):
    def log_prob(self, value: Any) -> Any:
        return Logistic(self.loc, jax.lax.stop_gradient(self.scale)).log_prob(value)


class Vector(Distribution):
    """Independent normal entries of one event."""

    arg_constraints = parameters(loc=constraints.real_vector)
    support = constraints.real_vector
    _noise_kind = "normal"
    spread = 1.0
    loc: Any

    def __init__(self, loc: Any) -> None:
        self._init(None, loc=loc)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return np.shape(self.loc)[-1:]

    def from_noise(self, noise: Any) -> Any:
        return self.loc + self.spread * noise

    def log_prob(self, value: Any) -> Any:
        return jnp.sum(-0.5 * (value - self.loc) ** 2 - 0.5 * math.log(2 * math.pi), axis=-1)


class NotSummed(Vector):
    def log_prob(self, value: Any) -> Any:
        return -0.5 * (value - self.loc) ** 2 - 0.5 * math.log(2 * math.pi)


class VectorOfWrongScale(Vector):
    spread = 1.02


class VectorOfWrongMass(Vector):
    def log_prob(self, value: Any) -> Any:
        return super().log_prob(value) + math.log(1.02)


class Dice(Distribution):
    """p(k) = weight_k / 3 for k = 0, 1, 2."""

    arg_constraints = parameters(weights=constraints.simplex)
    support = constraints.integer_interval(0, 2)
    bias = 0.0
    weights: Any

    def __init__(self, weights: Any) -> None:
        self._init(None, weights=weights)

    def _sample(self, key: Any, sample_shape: Any) -> Any:
        logits = jnp.log(self.weights) + self.bias * jnp.arange(3)
        return jax.random.categorical(key, logits, shape=self.shape(sample_shape)).astype(self.dtype)

    def log_prob(self, value: Any) -> Any:
        return dist.Categorical(self.weights, validate_args=False).log_prob(value)


class LoadedDice(Dice):
    bias = 0.04


WEIGHTS = np.array([0.2, 0.3, 0.5])
RIGHT = {
    "one of a user": Logistic(1.0, np.array([0.5, 2.0])),
    "vector of a user": Vector(np.array([0.0, 1.0, 5.0])),
    "discrete one of a user": Dice(WEIGHTS),
    "heavy tails": dist.Cauchy(100.0, 0.01),
    "by a key": dist.Gamma(0.7, 3.0),
    "bounded": dist.Beta(np.array([0.8, 4.0]), 2.0),
    "simplex": dist.Dirichlet(np.array([0.8, 2.0, 3.0])),
    "counts": dist.Poisson(20.0),
    "wrapped": dist.Normal(np.zeros((2, 2)), 1.0).to_event(1),
}


SLOW = ("heavy tails", "bounded", "simplex", "counts", "wrapped")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in RIGHT])
def test_what_is_right_passes(name: str) -> None:
    report = check(RIGHT[name])
    assert report.ok
    assert report.failed == ()
    assert [row.name for row in report.checks][:3] == ["shapes", "support", "dtypes"]
    made = {row.name for row in report.checks if row.ok}
    assert {"shapes", "support", "pytree", "jit", "vmap", "copies", "log_prob", "mass", "draws"} <= made


WRONG = {
    "mass": (WrongMass(0.0, 2.0), "mass", ["a density of mass 1", "1.0200", "normalising constant"]),
    "scale": (WrongScale(0.0, 2.0), "draws", ["correct the sampler or the density"]),
    "shape": (
        WrongShape(0.0, 2.0),
        "shapes",
        ["sample(key, ()) of shape ()", "(1,)", "self.shape(sample_shape)"],
    ),
    "sum": (
        NotSummed(np.zeros(3)),
        "shapes",
        ["log_prob of a value of shape (3,) of shape ()", "(3,)", "sum the log density over the event axes"],
    ),
    "stored": (Stored(0.0, 2.0), "vmap", ["batch_shape (2,)", "()", "store no shapes"]),
    "dtype": (
        Drifting(0.0, 2.0),
        "dtypes",
        ["log_prob in float16", "float32", "cast constants to self.dtype"],
    ),
    "support": (
        Outside(0.0, 2.0),
        "support",
        ["draws in positive", "of the draws outside", "correct the sampler"],
    ),
    "pathwise": (
        Detached(0.0, 2.0),
        "pathwise",
        ["derivatives of draws in loc", "by differences", "0\n", "has_rsample only if all parameters"],
    ),
    "pathwise by a key": (
        DetachedGamma(2.0, 2.0),
        "pathwise",
        ["derivatives of draws in concentration", "by the score", "set has_rsample False"],
    ),
    "gradient": (Gradientless(0.0, 2.0), "log_prob", ["derivatives in scale", "without stop_gradient"]),
    "vector scale": (VectorOfWrongScale(np.zeros(2)), "draws", ["correct the sampler or the density"]),
    "vector mass": (
        VectorOfWrongMass(np.zeros(2)),
        "mass",
        ["a density of mass 1", "1.0", "normalising constant"],
    ),
    "discrete": (LoadedDice(WEIGHTS), "draws", ["draws of [", "correct the sampler or the density"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_each_fault_is_found_and_named(name: str) -> None:
    d, row, words = WRONG[name]
    report = check(d, raise_if_failed=False)
    with pytest.raises(ArgumentError) as caught:
        report.raise_if_failed()
    text = str(caught.value)
    assert text.startswith(f"check of {type(d).__name__}(")
    assert f"  {row} " in text
    for word in words:
        assert word in text, text
    assert row in [failed.name for failed in report.failed]
    assert f"{row:<14}WRONG" in str(report)


def test_the_report_is_a_table() -> None:
    report = check(WrongMass(0.0, 2.0), jax.random.key(3), raise_if_failed=False)
    lines = str(report).splitlines()
    assert lines[0] == "check of WrongMass(batch_shape=(), event_shape=())"
    assert lines[1] == "  shapes        ok"
    assert lines[2] == "  support       ok     200,000 draws"
    start = lines.index("  mass          WRONG")
    assert lines[start + 1 : start + 4] == [
        "                expected: a density of mass 1",
        "                got:      1.0200 ± 0.0010",
        "                fix:      correct the normalising constant of log_prob.",
    ]


def test_shapes_that_are_wrong_stop_the_numbers() -> None:
    report = check(NotSummed(np.zeros(3)), raise_if_failed=False)
    notes = {row.name: row.note for row in report.checks}
    assert notes["mass"] == notes["draws"] == "not made: the shapes are wrong"


def test_an_error_inside_the_distribution_is_a_row() -> None:
    class Broken(Logistic):
        def log_prob(self, value: Any) -> Any:
            raise ZeroDivisionError("by nothing")

    report = check(Broken(0.0, 1.0), raise_if_failed=False)
    row = report.failed[0]
    assert str(row).splitlines() == [
        "shapes        WRONG",
        "              expected: no error",
        "              got:      ZeroDivisionError: by nothing",
        "              fix:      make this call work, then check again.",
    ]
    with pytest.raises(ArgumentError, match="ZeroDivisionError: by nothing") as caught:
        report.raise_if_failed()
    errors = [failed.error for failed in report.failed]
    assert all(isinstance(error, ZeroDivisionError) and error.__traceback__ for error in errors)
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert list(caught.value.__cause__.exceptions) == errors


def test_the_only_error_inside_is_the_cause() -> None:
    class Broken(Logistic):
        def mask(self, mask: Any) -> Any:
            raise ZeroDivisionError("by nothing")

    report = check(Broken(0.0, 1.0), raise_if_failed=False)
    with pytest.raises(ArgumentError, match="ZeroDivisionError: by nothing") as caught:
        report.raise_if_failed()
    assert [row.name for row in report.failed] == ["copies"]
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_what_cannot_be_checked() -> None:
    with pytest.raises(ArgumentError, match="check: this is no distribution"):
        check(dist.Normal)
    with pytest.raises(ArgumentError, match="the parameters are traced"):
        jax.jit(lambda x: check(dist.Normal(x, 1.0)).ok)(1.0)
