"""Rows: processes in time, copulas and directions."""

from __future__ import annotations

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
from distribution_case import DistCase, Reference
from scipy import special, stats

import svijax.distributions as dist

TIMES = np.array([0.0, 0.1, 0.3, 0.35])


def law_of(values: Any, weights: Any) -> Reference:
    """The law of a statistic, from its values on a fine grid and the weights of the points."""
    order = np.argsort(values, axis=None)
    x = np.ravel(values)[order]
    q = np.cumsum(np.ravel(weights)[order])
    q /= q[-1]
    return Reference(cdf=lambda v: np.interp(v, x, q), icdf=lambda p: np.interp(p, q, x))


def dense(loc: Any, covariance: Any, **known: Any) -> Reference:
    """A normal law of matrices (T, o), whose entries are taken row by row."""
    d = stats.multivariate_normal(np.ravel(loc), covariance)
    shape = np.shape(loc)
    flat = lambda x: np.reshape(x, (*np.shape(x)[: np.ndim(x) - len(shape)], -1))  # noqa: E731
    return Reference(lambda x: d.logpdf(flat(x)), mean=np.asarray(loc), **known)


def entry(loc: Any, covariance: Any, at: int) -> Any:
    return stats.norm(np.ravel(loc)[at], np.sqrt(covariance[at, at]))


# Walks


def walk(scale: Any, num_steps: int) -> tuple[Any, Any]:
    steps = np.arange(1, num_steps + 1)
    return np.zeros(num_steps), scale**2 * np.minimum(steps[:, None], steps)


def walk_reference(scale: Any, num_steps: int) -> Reference:
    loc, covariance = walk(scale, num_steps)
    entropy = stats.multivariate_normal(loc, covariance).entropy()
    return dense(loc, covariance, variance=np.diag(covariance), entropy=entropy)


def space(transition_matrix: Any, scale_tril: Any, initial_value: Any, num_steps: int) -> tuple[Any, Any]:
    a, n = np.asarray(transition_matrix), len(scale_tril)
    blocks = [
        [
            np.linalg.matrix_power(a, i - j) @ scale_tril if j <= i else np.zeros((n, n))
            for j in range(num_steps)
        ]
        for i in range(num_steps)
    ]
    root = np.block(blocks)
    loc = np.array([np.linalg.matrix_power(a, i + 1) @ initial_value for i in range(num_steps)])
    return loc, root @ root.T


def space_reference(**params: Any) -> Reference:
    loc, covariance = space(**params)
    entropy = stats.multivariate_normal(loc.ravel(), covariance).entropy()
    return dense(loc, covariance, variance=np.diag(covariance).reshape(loc.shape), entropy=entropy)


def ornstein(drift: Any, diffusion: Any, start: Any, validate_args: Any = None) -> Any:
    """dx = -drift x dt + diffusion dw."""
    return dist.EulerMaruyama(
        TIMES, lambda x, t: (-drift * x, diffusion), dist.Normal(0.0, start), validate_args=validate_args
    )


def ornstein_covariance(drift: Any, diffusion: Any, start: Any) -> tuple[Any, Any]:
    rows = [np.array([start, 0.0, 0.0, 0.0])]
    for i, gap in enumerate(np.diff(TIMES)):
        rows.append((1 - gap * drift) * rows[-1] + np.sqrt(gap) * diffusion * np.eye(4)[i + 1])
    root = np.array(rows)
    return np.zeros(4), root @ root.T


# Hidden Markov models


def paths(initial_logits: Any, transition_logits: Any, emit: Any, steps: int) -> Any:
    """log p(y) by enumeration of all paths; ``emit(t, s)`` is log p(y_t | s)."""
    initial = special.log_softmax(initial_logits)
    transition = np.broadcast_to(
        special.log_softmax(transition_logits, axis=-1), (steps, len(initial), len(initial))
    )
    terms = []
    for path in itertools.product(range(len(initial)), repeat=steps + 1):
        log_p = initial[path[0]]
        for t in range(steps):
            log_p = log_p + transition[t, path[t], path[t + 1]] + emit(t, path[t + 1])
        terms.append(log_p)
    return special.logsumexp(terms, axis=0)


def last_state(initial_logits: Any, transition_logits: Any, steps: int) -> Any:
    probs = special.softmax(initial_logits)
    matrices = special.softmax(transition_logits, axis=-1)
    for matrix in np.broadcast_to(matrices, (steps, len(probs), len(probs))):
        probs = probs @ matrix
    return probs


def switching(initial_logits: Any, transition_logits: Any, loc: Any, validate_args: Any = None) -> Any:
    return dist.DiscreteHMM(
        initial_logits, transition_logits, dist.Normal(loc, 0.7), duration=3, validate_args=validate_args
    )


def switching_reference(initial_logits: Any, transition_logits: Any, loc: Any) -> Reference:
    def log_prob(x: Any) -> Any:
        return paths(
            initial_logits, transition_logits, lambda t, s: stats.norm(loc[s], 0.7).logpdf(x[..., t]), 3
        )

    return Reference(log_prob)


def switching_laws(initial_logits: Any, transition_logits: Any, loc: Any) -> Any:
    grid = np.linspace(-6.0, 7.0, 200_001)
    probs = last_state(initial_logits, transition_logits, 3)
    density = sum(p * stats.norm(m, 0.7).pdf(grid) for p, m in zip(probs, loc))
    return [(lambda x: x[..., -1], law_of(grid, density))]


def counting(initial_logits: Any, transition_logits: Any, rate: Any, validate_args: Any = None) -> Any:
    return dist.DiscreteHMM(
        initial_logits, transition_logits, dist.Poisson(rate), validate_args=validate_args
    )


def counting_reference(initial_logits: Any, transition_logits: Any, rate: Any) -> Reference:
    def log_prob(x: Any) -> Any:
        return paths(
            initial_logits, transition_logits, lambda t, s: stats.poisson(rate[s]).logpmf(x[..., t]), 3
        )

    return Reference(log_prob)


def counting_laws(initial_logits: Any, transition_logits: Any, rate: Any) -> Any:
    probs = last_state(initial_logits, transition_logits, 3)
    counts = np.arange(60)
    masses = sum(p * stats.poisson(r).pmf(counts) for p, r in zip(probs, rate))
    return [(lambda x: x[..., -1], stats.rv_discrete(values=(counts, masses / masses.sum())))]


def tracking(initial: Any, matrix: Any, step: Any, seen: Any, noise: Any, validate_args: Any = None) -> Any:
    return dist.GaussianHMM(
        *parts(initial, matrix, step, seen, noise), duration=3, validate_args=validate_args
    )


def parts(initial: Any, matrix: Any, step: Any, seen: Any, noise: Any) -> tuple[Any, ...]:
    xp = jnp if any(isinstance(x, jnp.ndarray) for x in (initial, step, noise)) else np
    half = xp.asarray(0.5 * xp.asarray(step))
    # The second entry's noise is half the first's.
    tril = xp.stack([xp.stack([step, 0 * step]), xp.stack([half, half])])
    return (
        dist.Normal(initial, 1.5).to_event(1),
        matrix,
        dist.MultivariateNormal(0.25, scale_tril=tril, validate_args=False),
        seen,
        dist.Normal(noise * xp.ones(1), 0.6).to_event(1),
    )


def track(initial: Any, matrix: Any, step: Any, seen: Any, noise: Any) -> tuple[Any, Any]:
    """Mean and covariance of three observations, by the covariance of all states."""
    matrices = np.broadcast_to(matrix, (3, 2, 2))
    root, loc = np.zeros((8, 8)), np.zeros(8)
    root[:2, :2], loc[:2] = 1.5 * np.eye(2), initial
    tril = step * np.array([[1.0, 0.0], [0.5, 0.5]])
    for t in range(3):
        old, new = slice(2 * t, 2 * t + 2), slice(2 * t + 2, 2 * t + 4)
        root[new] = matrices[t].T @ root[old]
        root[new, new] += tril
        loc[new] = loc[old] @ matrices[t] + 0.25
    to_seen = np.kron(np.eye(4)[1:], np.asarray(seen).T)
    covariance = to_seen @ root @ root.T @ to_seen.T + 0.36 * np.eye(3)
    return (to_seen @ loc + noise)[:, None], covariance


def scaled_tracking(rate: Any, validate_args: Any = None, **params: Any) -> Any:
    scale = dist.Gamma(2.0, rate, validate_args=validate_args)
    return dist.GammaGaussianHMM(scale, *parts(**params), duration=3, validate_args=validate_args)


def scaled_reference(rate: Any, **params: Any) -> Reference:
    loc, covariance = track(**params)
    d = stats.multivariate_t(loc[:, 0], covariance * rate / 2.0, df=4.0)
    return Reference(lambda x: d.logpdf(x[..., 0]), mean=loc)


def scaled_laws(rate: Any, **params: Any) -> Any:
    loc, covariance = track(**params)
    return [(lambda x: x[..., -1, 0], stats.t(4.0, loc[-1, 0], np.sqrt(covariance[-1, -1] * rate / 2.0)))]


TRACK = {
    "initial": np.array([0.5, -1.0]),
    "matrix": np.array([[0.9, 0.2], [-0.1, 0.7]]),
    "step": np.float64(0.8),
    "seen": np.array([[1.0], [0.5]]),
    "noise": np.float64(0.2),
}
TRACK_VALUES = [[[0.0], [1.0], [-1.0]], [[3.0], [-4.0], [2.0]]]
LOGITS = {"initial_logits": np.array([0.3, -0.4]), "transition_logits": np.array([[1.0, -0.5], [0.2, 0.9]])}
VARYING = np.array([[[1.0, -0.5], [0.2, 0.9]], [[0.0, 0.3], [-0.7, 0.1]], [[0.4, 2.0], [1.0, -1.0]]])

# Copulas


def normal_copula(loc: Any, scale: Any, correlation_matrix: Any, validate_args: Any = None) -> Any:
    marginal = dist.Normal(loc, scale, validate_args=validate_args)
    return dist.GaussianCopula(marginal, correlation_matrix, validate_args=validate_args)


def joined(loc: Any, scale: Any, correlation_matrix: Any) -> tuple[Any, Any]:
    return loc, np.outer(scale, scale) * correlation_matrix


def waiting_copula(rate: Any, correlation_cholesky: Any, validate_args: Any = None) -> Any:
    marginal = dist.Exponential(rate, validate_args=validate_args)
    return dist.GaussianCopula(
        marginal, correlation_cholesky=correlation_cholesky, validate_args=validate_args
    )


def waiting_reference(rate: Any, correlation_cholesky: Any) -> Reference:
    marginal = stats.expon(scale=1 / np.asarray(rate))
    joint = stats.multivariate_normal(np.zeros(2), correlation_cholesky @ correlation_cholesky.T)

    def log_prob(x: Any) -> Any:
        z = stats.norm.ppf(marginal.cdf(x))
        return joint.logpdf(z) + np.sum(marginal.logpdf(x) - stats.norm.logpdf(z), axis=-1)

    return Reference(log_prob, mean=marginal.mean(), variance=marginal.var())


def beta_copula_reference(concentration1: Any, concentration0: Any, correlation_matrix: Any) -> Reference:
    marginal = stats.beta(concentration1, concentration0)
    joint = stats.multivariate_normal(np.zeros(2), correlation_matrix)

    def log_prob(x: Any) -> Any:
        z = stats.norm.ppf(marginal.cdf(x))
        return joint.logpdf(z) + np.sum(marginal.logpdf(x) - stats.norm.logpdf(z), axis=-1)

    return Reference(log_prob, mean=marginal.mean(), variance=marginal.var())


# Directions


def circle(n: int = 100_000) -> Any:
    angle = 2 * np.pi * (np.arange(n) + 0.5) / n
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def globe(n: int = 1000) -> Any:
    """Points of equal area."""
    z, angle = np.meshgrid(-1 + 2 * (np.arange(n) + 0.5) / n, 2 * np.pi * (np.arange(n) + 0.5) / n)
    across = np.sqrt(1 - z**2)
    return np.stack([across * np.cos(angle), across * np.sin(angle), z], axis=-1).reshape(-1, 3)


def projected_reference(concentration: Any) -> Reference:
    """By parabolic cylinder functions, in many digits."""
    import mpmath

    m = np.asarray(concentration, np.float64)
    n = len(m)

    def one(x: Any) -> float:
        t = mpmath.mpf(float(np.dot(m, x)))
        moment = mpmath.factorial(n - 1) * mpmath.exp(t * t / 4) * mpmath.pcfd(-n, -t)
        return float(mpmath.log(moment) - np.dot(m, m) / 2 - n * mpmath.log(2 * mpmath.pi) / 2)

    return Reference(
        lambda x: np.apply_along_axis(one, -1, np.asarray(x, np.float64)), mean=m / np.linalg.norm(m)
    )


def projected_law(concentration: Any) -> Any:
    """The first entry: in two dimensions by the angle's density, in three by a closed form."""
    m = np.asarray(concentration, np.float64)
    x = circle() if len(m) == 2 else globe()
    t = x @ m
    moment = t + stats.norm.cdf(t) / stats.norm.pdf(t) * (1 + t * t)
    if len(m) == 2:
        moment = 1 + t * stats.norm.cdf(t) / stats.norm.pdf(t)
    return [(lambda x: x[..., 0], law_of(x[:, 0], moment))]


def fisher_reference(concentration: Any) -> Reference:
    k = np.linalg.norm(concentration)
    d = stats.vonmises_fisher(concentration / k, k)
    # SciPy asks for unit vectors to more digits than single precision has.
    return Reference(
        lambda x: x @ concentration - k + np.log(k / (2 * np.pi * -np.expm1(-2 * k))),
        mean=concentration / k,
        entropy=d.entropy(),
    )


def fisher_law(concentration: Any) -> Any:
    x = globe()
    return [(lambda x: x[..., 0], law_of(x[:, 0], np.exp(x @ concentration)))]


def sine_grid(
    phi_loc: Any, psi_loc: Any, phi_concentration: Any, psi_concentration: Any, correlation: Any
) -> Any:
    """Angles and log densities on a grid; the sum over it is exact, as the density is smooth and periodic."""
    n = 400
    angle = -np.pi + 2 * np.pi * (np.arange(n) + 0.5) / n
    phi, psi = np.meshgrid(angle, angle, indexing="ij")

    def exponent(phi: Any, psi: Any) -> Any:
        a, b = phi - phi_loc, psi - psi_loc
        alone = phi_concentration * np.cos(a) + psi_concentration * np.cos(b)
        return alone + correlation * np.sin(a) * np.sin(b)

    log_norm = special.logsumexp(exponent(phi, psi)) + 2 * np.log(2 * np.pi / n)
    return angle, exponent, log_norm


def sine_reference(**params: Any) -> Reference:
    if "weighted_correlation" in params:
        weight = params.pop("weighted_correlation")
        params["correlation"] = weight * np.sqrt(params["phi_concentration"] * params["psi_concentration"])
    _, exponent, log_norm = sine_grid(**params)
    mean = np.array([params["phi_loc"], params["psi_loc"]])
    return Reference(lambda x: exponent(x[..., 0], x[..., 1]) - log_norm, mean=mean)


def sine_laws(**params: Any) -> Any:
    _, exponent, _ = sine_grid(**params)
    fine = -np.pi + 2 * np.pi * (np.arange(2000) + 0.5) / 2000
    weights = np.exp(exponent(fine[:, None], fine[None]))
    return [
        (lambda x: x[..., 0], law_of(fine, weights.sum(1))),
        (lambda x: x[..., 1], law_of(fine, weights.sum(0))),
        (lambda x: np.sin(x[..., 0] - x[..., 1]), law_of(np.sin(fine[:, None] - fine[None]), weights)),
    ]


def skewed_flat(skewness: Any, validate_args: Any = None) -> Any:
    base = dist.Uniform(-np.pi, np.asarray(np.pi, jnp.result_type(skewness))).expand((2,)).to_event(1)
    return dist.SineSkewed(base, skewness, validate_args=validate_args)


def skewed_laws(skewness: Any) -> Any:
    angle = -np.pi + 2 * np.pi * (np.arange(100_000) + 0.5) / 100_000
    return [(lambda x, i=i: x[..., i], law_of(angle, 1 + skewness[i] * np.sin(angle))) for i in range(2)]


def skewed_sine(skewness: Any, phi_concentration: Any, validate_args: Any = None) -> Any:
    base = dist.SineBivariateVonMises(0.5, -1.0, phi_concentration, 3.0, 1.0, validate_args=validate_args)
    return dist.SineSkewed(base, skewness, validate_args=validate_args)


def skewed_sine_reference(skewness: Any, phi_concentration: Any) -> Reference:
    base = sine_reference(
        phi_loc=0.5, psi_loc=-1.0, phi_concentration=phi_concentration, psi_concentration=3.0, correlation=1.0
    )
    lean = lambda x: np.log1p(np.sum(skewness * np.sin(x - np.array([0.5, -1.0])), axis=-1))  # noqa: E731
    return Reference(lambda x: base.log_prob(x) + lean(x), mean=np.array([0.5, -1.0]))  # type: ignore[misc]


ANGLES = [[0.1, 0.2], [2.0, -3.0], [-3.1, 3.1]]
SINE = {
    "phi_loc": 0.5,
    "psi_loc": -1.0,
    "phi_concentration": 3.0,
    "psi_concentration": 2.0,
    "correlation": 1.5,
}

CASES: dict[str, DistCase] = {
    "random_walk": DistCase(
        dist.GaussianRandomWalk,
        {"scale": 0.7},
        walk_reference,
        "scale",
        fixed={"num_steps": 4},
        values=[[0.1, 0.3, -1.0, 0.2], [3.0, -3.0, 2.0, 9.0]],
        marginals=lambda **p: [(lambda x: x[..., -1], entry(*walk(**p), -1))],
        pathwise="expectation",
    ),
    "state_space": DistCase(
        dist.GaussianStateSpace,
        {
            "transition_matrix": np.array([[0.8, 0.1], [-0.2, 0.9]]),
            "scale_tril": np.array([[1.0, 0.0], [0.3, 0.5]]),
            "initial_value": np.array([1.0, -2.0]),
        },
        space_reference,
        "scale_tril",
        fixed={"num_steps": 3},
        values=[[[0.0, 1.0], [0.5, -0.5], [1.0, 1.0]], [[3.0, -4.0], [5.0, 1.0], [0.0, 0.0]]],
        marginals=lambda **p: [(lambda x: x[..., 2, 1], entry(*space(**p), -1))],
        pathwise="expectation",
    ),
    "euler_maruyama": DistCase(
        ornstein,
        {"drift": 1.3, "diffusion": 0.8, "start": 1.5},
        lambda **p: Reference(dense(*ornstein_covariance(**p)).log_prob),
        "diffusion",
        change=0.05,
        values=[[0.1, 0.3, -0.2, 0.2], [3.0, 2.0, 2.0, 1.0]],
        marginals=lambda **p: [
            (lambda x: x[..., -1], entry(*ornstein_covariance(**p), -1)),
            (lambda x: x[..., 2] - x[..., 1], _step_law(**p)),
        ],
        pathwise="expectation",
    ),
    "discrete_hmm": DistCase(
        switching,
        {**LOGITS, "loc": np.array([-1.0, 1.5])},
        switching_reference,
        "loc",
        values=[[0.0, 1.0, -1.0], [3.0, -9.0, 2.0]],
        marginals=switching_laws,
    ),
    "discrete_hmm_of_counts": DistCase(
        counting,
        {**LOGITS, "transition_logits": VARYING, "rate": np.array([1.5, 6.0])},
        counting_reference,
        "rate",
        values=[[0, 1, 3], [30, 2, 0]],
        outside=([1, -1, 3],),
        marginals=counting_laws,
    ),
    "gaussian_hmm": DistCase(
        tracking,
        TRACK,
        lambda **p: dense(*track(**p)),
        "step",
        change=0.1,
        values=TRACK_VALUES,
        marginals=lambda **p: [(lambda x: x[..., -1, 0], entry(*track(**p), -1))],
        pathwise="expectation",
        sharp=False,
        half=False,
    ),
    "gaussian_hmm_of_many_matrices": DistCase(
        tracking,
        {**TRACK, "matrix": np.stack([TRACK["matrix"], 0.5 * TRACK["matrix"].T, np.eye(2)])},
        lambda **p: dense(*track(**p)),
        "matrix",
        change=0.1,
        values=TRACK_VALUES,
        marginals=lambda **p: [(lambda x: x[..., -1, 0], entry(*track(**p), -1))],
        pathwise="expectation",
        sharp=False,
        half=False,
    ),
    "gamma_gaussian_hmm": DistCase(
        scaled_tracking,
        {**TRACK, "rate": np.float64(3.0)},
        scaled_reference,
        "rate",
        values=TRACK_VALUES,
        marginals=scaled_laws,
        pathwise="expectation",
        half=False,
    ),
    "copula_of_normals": DistCase(
        normal_copula,
        {
            "loc": np.array([1.0, 2.0]),
            "scale": np.array([2.0, 0.5]),
            "correlation_matrix": np.array([[1.0, 0.6], [0.6, 1.0]]),
        },
        lambda **p: dense(*joined(**p), variance=np.asarray(p["scale"]) ** 2),
        "correlation_matrix",
        bump_to=np.array([[1.0, 0.7], [0.7, 1.0]]),
        values=[[0.0, 1.0], [3.0, 2.5], [-20.0, -4.0]],
        marginals=lambda **p: [
            (lambda x: x.sum(-1), stats.norm(p["loc"].sum(), np.sqrt(joined(**p)[1].sum())))
        ],
        pathwise="expectation",
        sharp=False,
    ),
    "copula_of_exponentials": DistCase(
        waiting_copula,
        {"rate": np.array([1.0, 2.0]), "correlation_cholesky": np.array([[1.0, 0.0], [0.6, 0.8]])},
        waiting_reference,
        "rate",
        values=[[0.1, 1.0], [3.0, 0.01], [9.0, 4.0]],
        outside=([1.0, -1.0],),
        marginals=lambda rate, **_: [
            (lambda x: x[..., 0], stats.expon(scale=1 / rate[0])),
            (lambda x: x[..., 1], stats.expon(scale=1 / rate[1])),
        ],
        pathwise="expectation",
    ),
    "copula_of_betas": DistCase(
        dist.GaussianCopulaBeta,
        {
            "concentration1": np.array([2.0, 3.0]),
            "concentration0": np.array([2.5, 1.5]),
            "correlation_matrix": np.array([[1.0, 0.6], [0.6, 1.0]]),
        },
        beta_copula_reference,
        "concentration1",
        values=[[0.1, 0.7], [0.5, 0.4], [0.95, 0.3]],
        outside=([0.5, -1.0],),
        marginals=lambda concentration1, concentration0, **_: [
            (lambda x: x[..., 0], stats.beta(concentration1[0], concentration0[0])),
            (lambda x: x[..., 1], stats.beta(concentration1[1], concentration0[1])),
        ],
        pathwise="expectation",
    ),
    "projected_normal_2": DistCase(
        dist.ProjectedNormal,
        {"concentration": np.array([1.0, -0.5])},
        projected_reference,
        "concentration",
        values=[[0.6, -0.8], [-0.8, 0.6], [0.0, 1.0]],
        marginals=projected_law,
        pathwise="expectation",
    ),
    "projected_normal_3": DistCase(
        dist.ProjectedNormal,
        {"concentration": np.array([2.0, -1.0, 0.5])},
        projected_reference,
        "concentration",
        values=[[0.48, -0.64, 0.6], [-0.8, 0.6, 0.0], [0.0, 0.0, 1.0]],
        marginals=projected_law,
        pathwise="expectation",
    ),
    "projected_normal_6": DistCase(
        dist.ProjectedNormal,
        {"concentration": np.array([2.0, -1.0, 0.5, 3.0, 0.0, 0.3])},
        projected_reference,
        values=[[0.1, -0.5, 0.5, 0.5, 0.1, 0.479583152331272], [-0.8, 0.0, 0.0, -0.6, 0.0, 0.0]],
    ),
    "von_mises_3d": DistCase(
        dist.VonMises3D,
        {"concentration": np.array([2.0, -1.0, 0.5])},
        fisher_reference,
        "concentration",
        values=[[0.48, -0.64, 0.6], [-0.8, 0.6, 0.0], [0.0, 0.0, 1.0]],
        marginals=fisher_law,
        pathwise="expectation",
    ),
    "sine_bivariate_von_mises": DistCase(
        dist.SineBivariateVonMises,
        SINE,
        sine_reference,
        "phi_concentration",
        change=0.05,
        values=ANGLES,
        marginals=sine_laws,
    ),
    "sine_bivariate_von_mises_of_two_modes": DistCase(
        dist.SineBivariateVonMises,
        {
            "phi_loc": -3.0,
            "psi_loc": 1.0,
            "phi_concentration": 0.5,
            "psi_concentration": 1.0,
            "weighted_correlation": 8.0,
        },
        sine_reference,
        values=ANGLES,
    ),
    "sine_skewed_flat": DistCase(
        skewed_flat,
        {"skewness": np.array([0.3, -0.7])},
        lambda skewness: Reference(
            lambda x: np.log1p(np.sum(skewness * np.sin(x), axis=-1)) - 2 * np.log(2 * np.pi),
            mean=np.zeros(2),
        ),
        "skewness",
        bump_to=np.array([0.3, -0.65]),
        values=ANGLES,
        marginals=skewed_laws,
    ),
    "sine_skewed": DistCase(
        skewed_sine,
        {"skewness": np.array([0.3, -0.5]), "phi_concentration": np.float64(2.0)},
        skewed_sine_reference,
        values=ANGLES,
    ),
}


def _step_law(drift: Any, diffusion: Any, start: Any) -> Any:
    covariance = ornstein_covariance(drift, diffusion, start)[1]
    return stats.norm(0.0, np.sqrt(covariance[1, 1] + covariance[2, 2] - 2 * covariance[1, 2]))
