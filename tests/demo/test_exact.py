"""The exact posterior of eight schools, against published figures and against another way to compute it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from svijax.demo import EFFECTS, STANDARD_ERRORS, exact_posterior

# Known figures: E[tau], E[log tau], sd[log tau], log evidence.
KNOWN = (3.5977, 0.8021, 1.1712, -31.3113)


def test_known_figures() -> None:
    exact = exact_posterior()
    log_tau = exact.marginals["log_tau"]
    found = (exact.marginals["tau"].mean, log_tau.mean, log_tau.sd, exact.log_evidence)
    assert [round(x, 4) for x in found] == list(KNOWN)


def joint(tau: float) -> float:
    """e³¹ p(tau) p(y | tau); given tau the cov of y is sigma² + tau² on the diagonal and 25 everywhere."""
    cov = np.diag(STANDARD_ERRORS.astype(float) ** 2 + tau**2) + 25.0
    log_p = stats.multivariate_normal(np.zeros(8), cov).logpdf(EFFECTS)
    return float(np.exp(log_p + stats.halfcauchy(scale=5).logpdf(tau) + 31))


def test_evidence_and_tau_by_another_quadrature() -> None:
    whole = integrate.quad(joint, 0, np.inf)[0]
    mean = integrate.quad(lambda tau: tau * joint(tau), 0, np.inf)[0] / whole
    exact = exact_posterior()
    assert np.log(whole) - 31 == pytest.approx(exact.log_evidence, abs=1e-5)
    assert mean == pytest.approx(exact.marginals["tau"].mean, abs=1e-4)
    for q in ("low", "high"):
        below = integrate.quad(joint, 0, getattr(exact.marginals["tau"], q))[0] / whole
        assert below == pytest.approx({"low": 0.05, "high": 0.95}[q], abs=1e-4)


@pytest.mark.parametrize("row", ["mu", "theta[0]", "theta[7]"])
def test_means_and_intervals_by_importance_sampling(row: str) -> None:
    # Draws from the prior of (mu, tau), weighted; theta from its conditional; errors from the weights.
    rng = np.random.default_rng(1)
    n = 400_000
    mu, tau = 5.0 * rng.normal(size=n), 5.0 * np.abs(rng.standard_cauchy(n))
    sigma = STANDARD_ERRORS.astype(float)
    spread = np.sqrt(sigma**2 + tau[:, None] ** 2)
    log_w = stats.norm(mu[:, None], spread).logpdf(EFFECTS).sum(axis=1)
    w = np.exp(log_w - log_w.max())
    w /= w.sum()
    if row == "mu":
        x = mu
    else:
        j = int(row[6])
        share = tau**2 / spread[:, j] ** 2
        x = mu + share * (EFFECTS[j] - mu) + sigma[j] * np.sqrt(share) * rng.normal(size=n)
    exact = exact_posterior().marginals[row]

    def z(values: np.ndarray, expected: float) -> float:
        mean = w @ values
        return float(abs(mean - expected) / np.sqrt(w**2 @ (values - mean) ** 2))

    assert z(x, exact.mean) < 4
    assert z((x - exact.mean) ** 2, exact.sd**2) < 4
    assert z((x < exact.low).astype(float), 0.05) < 4
    assert z((x < exact.high).astype(float), 0.95) < 4
