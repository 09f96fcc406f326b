"""KL divergences of vectors and wrappers; which pairs are known; the registry and its messages."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import svijax.distributions as dist
from svijax.base import ArgumentError, ShapeError
from svijax.distributions import has_kl, kl_divergence, register_kl
from svijax.distributions.transforms import AffineTransform, ExpTransform

pytestmark = pytest.mark.usefixtures("x64")

RNG = np.random.default_rng(3)
TRIL = np.tril(RNG.normal(size=(2, 3, 3)), -1) + np.eye(3) * RNG.uniform(0.5, 2.0, (2, 3, 1))
LOCS = RNG.normal(size=(2, 3))
SCALES = RNG.uniform(0.5, 2.0, (2, 3))


def gaussian(mean_p: Any, cov_p: Any, mean_q: Any, cov_q: Any) -> float:
    """The textbook formula, in numpy."""
    gap = mean_q - mean_p
    inverse = np.linalg.inv(cov_q)
    log_dets = np.linalg.slogdet(cov_q)[1] - np.linalg.slogdet(cov_p)[1]
    return 0.5 * (np.trace(inverse @ cov_p) + gap @ inverse @ gap - len(gap) + log_dets)


def normals(i: int) -> dict[str, tuple[Any, Any]]:
    """Normal vectors of each class, with their covariance."""
    factor = RNG.normal(size=(3, 2))
    row = np.array([2.0, 0.6, 0.6]) * (1 + i)
    return {
        "full": (dist.MultivariateNormal(LOCS[i], scale_tril=TRIL[i]), TRIL[i] @ TRIL[i].T),
        "independent": (dist.Normal(LOCS[i], SCALES[i]).to_event(1), np.diag(SCALES[i] ** 2)),
        "low rank": (
            dist.LowRankMultivariateNormal(LOCS[i], factor, SCALES[i]),
            factor @ factor.T + np.diag(SCALES[i]),
        ),
        "circulant": (
            dist.CirculantNormal(LOCS[i], covariance_row=row),
            np.stack([np.roll(row, k) for k in range(3)]),
        ),
    }


P, Q = normals(0), normals(1)
NORMAL_PAIRS = [(p, q) for p in P for q in Q if has_kl(P[p][0], Q[q][0])]


def test_which_normal_vectors_are_known() -> None:
    assert set(NORMAL_PAIRS) == {
        *[("full", q) for q in ("full", "independent", "low rank")],
        *[("independent", q) for q in ("full", "independent", "circulant")],
        *[("low rank", q) for q in ("full", "low rank")],
        ("circulant", "circulant"),
    }


@pytest.mark.parametrize(("p", "q"), NORMAL_PAIRS)
def test_normal_vectors(p: str, q: str) -> None:
    (d, cov_p), (e, cov_q) = normals(0)[p], normals(1)[q]
    np.testing.assert_allclose(kl_divergence(d, e), gaussian(LOCS[0], cov_p, LOCS[1], cov_q), rtol=1e-9)
    two = jax.tree.map(lambda x: np.stack([x, x]), e)
    np.testing.assert_allclose(kl_divergence(d, two), [kl_divergence(d, e)] * 2, rtol=1e-9)


def test_dirichlet_of_two_is_beta() -> None:
    p, q = np.array([2.0, 3.0]), np.array([[0.7, 4.0], [200.0, 300.0]])
    found = kl_divergence(dist.Dirichlet(p), dist.Dirichlet(q))
    np.testing.assert_allclose(found, kl_divergence(dist.Beta(*p), dist.Beta(q[:, 0], q[:, 1])), rtol=1e-12)


def test_categories() -> None:
    a, b = np.array([0.2, 0.3, 0.5]), np.array([[0.1, 0.1, 0.8], [1.0, 0.0, 0.0]])
    want = [np.sum(a * np.log(a / b[0])), np.inf]
    for kind in (dist.Categorical, dist.OneHotCategorical):
        np.testing.assert_allclose(kl_divergence(kind(a), kind(b)), want, rtol=1e-12)
        np.testing.assert_allclose(kl_divergence(kind(logits=np.log(a)), kind(b)), want, rtol=1e-12)
        assert kl_divergence(kind(b[1]), kind(a)) == pytest.approx(-np.log(0.2))
    with pytest.raises(ShapeError, match="unlike numbers of categories"):
        kl_divergence(dist.Categorical(a), dist.Categorical(np.array([0.5, 0.5])))
    multinomials = dist.Multinomial(7, a), dist.Multinomial(7, b[0])
    np.testing.assert_allclose(kl_divergence(*multinomials), 7 * want[0], rtol=1e-12)
    assert not has_kl(dist.Multinomial(7, a), dist.Multinomial(8, a))


def test_counts_that_are_not_the_same() -> None:
    assert kl_divergence(dist.Binomial(8, 0.3), dist.Binomial(7, 0.3)) == np.inf
    assert not has_kl(dist.Binomial(7, 0.3), dist.Binomial(8, 0.3))
    assert not has_kl(dist.NegativeBinomial(7.0, 0.3), dist.NegativeBinomial(8.0, 0.3))


def test_independent_axes() -> None:
    p, q = dist.Normal(LOCS, SCALES), dist.Normal(LOCS[::-1], 1.0)
    each = np.asarray(kl_divergence(p, q))
    np.testing.assert_allclose(kl_divergence(p.to_event(1), q.to_event(1)), each.sum(-1))
    np.testing.assert_allclose(kl_divergence(p.to_event(2), q.to_event(2)), each.sum())
    np.testing.assert_allclose(kl_divergence(p.to_event(1).to_event(1), q.to_event(2)), each.sum())
    np.testing.assert_allclose(kl_divergence(p.to_event(2), q.to_event(1).to_event(1)), each.sum())
    wide = dist.ExpandedDistribution(dist.Normal(0.0, 1.0), (2, 3)).to_event(2)
    np.testing.assert_allclose(kl_divergence(wide, wide), 0.0)
    np.testing.assert_allclose(
        kl_divergence(wide, q.to_event(2)), np.sum(kl_divergence(dist.Normal(0.0, 1.0), q))
    )
    full = dist.MultivariateNormal(LOCS, scale_tril=TRIL)
    total = kl_divergence(p.to_event(2), full.to_event(1))
    np.testing.assert_allclose(total, np.sum(kl_divergence(p.to_event(1), full)))
    assert not has_kl(p.to_event(1), dist.Cauchy(LOCS, 1.0).to_event(1))


def test_masks() -> None:
    p, q = dist.Normal(LOCS, SCALES), dist.Normal(0.0, 1.0).expand((2, 3))
    mask = RNG.uniform(size=(2, 3)) > 0.5
    each = np.asarray(kl_divergence(p, q))
    np.testing.assert_allclose(kl_divergence(p.mask(mask), q.mask(mask)), np.where(mask, each, 0.0))
    np.testing.assert_allclose(kl_divergence(p.mask(True), q), each)
    np.testing.assert_allclose(kl_divergence(p.mask(np.ones((2, 3), bool)), q), each)
    np.testing.assert_array_equal(kl_divergence(p.mask(False), q.mask(False)), np.zeros((2, 3)))
    assert not has_kl(p.mask(mask), q.mask(~mask))
    assert not has_kl(p.mask(mask), q)
    with pytest.raises(ArgumentError, match="the masks of the two have to be the same"):
        kl_divergence(p.mask(mask), q.mask(~mask))
    value = jax.jit(lambda m: kl_divergence(p.mask(m), q.mask(m)))(mask)
    np.testing.assert_allclose(value, np.where(mask, each, 0.0))
    assert not jax.eval_shape(lambda m, n: np.zeros(int(has_kl(p.mask(m), q.mask(n)))), mask, mask).shape[0]


def test_images_under_the_same_bijections() -> None:
    p, q = dist.Normal(LOCS, SCALES), dist.Normal(0.0, 1.0)
    chain = [AffineTransform(1.0, 2.0), ExpTransform()]
    images = [dist.TransformedDistribution(d, chain) for d in (p, q)]
    np.testing.assert_allclose(kl_divergence(*images), kl_divergence(p, q))
    other = dist.TransformedDistribution(q, [AffineTransform(1.0, 2.1), ExpTransform()])
    assert has_kl(images[0], dist.TransformedDistribution(q, [AffineTransform(1.0, 2.0), ExpTransform()]))
    assert not has_kl(images[0], other)


def test_point_masses() -> None:
    q = dist.Normal(1.0, 2.0)
    np.testing.assert_allclose(kl_divergence(dist.Delta(0.5, 0.25), q), 0.25 - q.log_prob(0.5))
    assert kl_divergence(dist.Delta(-0.5), dist.Gamma(1.0, 1.0)) == np.inf
    vector = dist.Delta(LOCS, event_dim=1)
    np.testing.assert_allclose(kl_divergence(vector, q.expand((2, 3)).to_event(1)), -q.log_prob(LOCS).sum(-1))
    slope = jax.grad(lambda v: kl_divergence(dist.Delta(v), q))(0.5)
    np.testing.assert_allclose(slope, (0.5 - 1.0) / 4.0)


def test_under_jit_and_vmap() -> None:
    p, q = dist.Gamma(np.array([2.0, 3.0]), 1.5), dist.LogNormal(np.array([0.1, 0.2]), 0.5)
    want = np.asarray(kl_divergence(p, q))
    np.testing.assert_allclose(jax.jit(kl_divergence)(p, q), want, rtol=1e-12)
    np.testing.assert_allclose(jax.vmap(kl_divergence)(p, q), want, rtol=1e-12)
    with jax.checking_leaks():
        jax.jit(kl_divergence)(p, q)


def test_dtypes_are_kept() -> None:
    for dtype in (np.float16, np.float32):
        p, q = dist.Gamma(dtype(2.0), dtype(1.5)), dist.LogNormal(dtype(0.1), dtype(0.5))
        value = kl_divergence(p, q)
        assert value.dtype == dtype
        assert not value.weak_type


def test_the_same_family_under_other_arguments() -> None:
    p, q = dist.BernoulliProbs(0.3), dist.BernoulliLogits(0.4)
    np.testing.assert_allclose(
        kl_divergence(p, q), kl_divergence(dist.Bernoulli(0.3), dist.Bernoulli(logits=0.4))
    )

    class Mine(dist.Normal):
        pass

    class Twin(dist.Normal):
        _kl_as = dist.Normal

    class Child(Twin):
        pass

    assert not has_kl(Mine(0.0, 1.0), dist.Normal(0.0, 1.0))
    assert has_kl(Twin(0.0, 1.0), dist.Normal(0.0, 1.0))
    assert not has_kl(Child(0.0, 1.0), dist.Normal(0.0, 1.0))


def test_rules_of_a_user() -> None:
    class Ours(dist.Normal):
        pass

    @register_kl(Ours, Ours, when=lambda p, q: p.loc is q.loc)
    def rule(p: Ours, q: Ours) -> Any:
        return jnp.zeros(()) + 7.0

    p = Ours(0.0, np.ones(3))
    assert kl_divergence(p, p).shape == (3,)
    assert kl_divergence(p.to_event(1), p.to_event(1)) == 21.0
    assert not has_kl(p, Ours(0.0, 1.0))
    with pytest.raises(ArgumentError, match=r"KL\(Ours \|\| Ours\) has a rule already"):
        register_kl(Ours, Ours)(rule)


def test_what_is_not_known_is_an_error_that_names_both() -> None:
    p, q = dist.StudentT(3.0).expand((2,)).to_event(1), dist.Normal(np.zeros(2), 1.0).to_event(1)
    with pytest.raises(ArgumentError) as caught:
        kl_divergence(p, q)
    assert str(caught.value) == (
        "KL(Independent(StudentT) || Independent(Normal)) is not known in closed form.\n"
        "  fix:      average p.log_prob(x) - q.log_prob(x) over draws x of p, or register a rule with "
        "@register_kl(StudentT, Normal)."
    )
    with pytest.raises(ShapeError, match="the two are not over the same events"):
        kl_divergence(p, dist.Normal(0.0, 1.0))
    with pytest.raises(ShapeError, match="the batch shapes do not broadcast"):
        kl_divergence(dist.Normal(np.zeros(2), 1.0), dist.Normal(np.zeros(3), 1.0))
