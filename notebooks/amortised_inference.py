# %% [markdown]
# # Amortised inference: fit once, then ask about new rows
#
# An *amortised* guide is a function from a row of data to the posterior of that row's latent. Its parameters
# are shared by all rows, so a fitted guide serves rows that it has never seen, and another number of them,
# without a further fit.
#
# The model here is probabilistic principal component analysis (Tipping & Bishop, 1999), for which everything
# is known in closed form, so each answer below stands beside the exact one.
#
# $$z_i \sim N(0, I_2), \qquad x_i \mid z_i \sim N(W z_i + b,\ s^2 I_6)$$
#
# Run it as a script, or cell by cell. With `SVIJAX_QUICK=1` it takes few steps, as the tests do.

# %%
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax

import svijax
import svijax.distributions as dist
from svijax import SVI, Predictive, Trace_ELBO
from svijax.distributions import constraints

QUICK = os.environ.get("SVIJAX_QUICK") == "1"
STEPS = 2_000 if QUICK else 20_000
BATCH = 64
LATENT, OBSERVED = 2, 6

# %% [markdown]
# ## Data
# 1,000 rows to fit; 37 more that the fit does not see.

# %%
rng = np.random.default_rng(0)
loadings = rng.normal(size=(OBSERVED, LATENT))
rows = rng.normal(size=(1_037, LATENT)) @ loadings.T + 0.5 * rng.normal(size=(1_037, OBSERVED)) + 1.0
train, new = rows[:1_000].astype(np.float32), rows[1_000:].astype(np.float32)


# %% [markdown]
# ## Model and guide
# `W`, `b` and `s` are fitted by maximum likelihood: they are `param` statements. The guide is linear in the
# row, with one covariance for all, which is the shape that the exact posterior has. Both see `BATCH` rows a
# step: `subsample` picks the rows in play, and their log densities are scaled up to all rows.


# %%
def model(x, batch_size=None):
    w = svijax.param("W", lambda key: 0.1 * jax.random.normal(key, (OBSERVED, LATENT)))
    b = svijax.param("b", jnp.zeros(OBSERVED))
    s = svijax.param("s", jnp.array(1.0), constraint=constraints.positive)
    with svijax.plate("rows", x.shape[0], subsample_size=batch_size):
        z = svijax.sample("z", dist.Normal(jnp.zeros(LATENT), 1.0).to_event(1))
        mean = svijax.deterministic("mean", z @ w.T + b)
        svijax.sample("x", dist.Normal(mean, s).to_event(1), obs=svijax.subsample(x, event_dim=1))


def guide(x, batch_size=None):
    a = svijax.param("A", jnp.zeros((LATENT, OBSERVED)))
    c = svijax.param("c", jnp.zeros(LATENT))
    tril = svijax.param("L", 0.5 * jnp.eye(LATENT), constraint=constraints.lower_cholesky)
    with svijax.plate("rows", x.shape[0], subsample_size=batch_size):
        row = svijax.subsample(x, event_dim=1)
        svijax.sample("z", dist.MultivariateNormal(row @ a.T + c, scale_tril=tril))


# %% [markdown]
# ## Fit
# The data stays on the device; the minibatches are drawn inside the compiled loop.

# %%
svi = SVI(model, guide, optax.adam(optax.cosine_decay_schedule(1e-2, STEPS)), Trace_ELBO())
fit = svi.run(jax.random.key(0), STEPS, train, batch_size=BATCH)

# %% [markdown]
# The bound on all rows at once (no `batch_size`), beside the greatest log likelihood that the model can have.
# That follows from the eigenvalues of the covariance of the data.

# %%
loss, error = svi.estimate(fit.state, train, num_particles=64)
values = np.sort(np.linalg.eigvalsh(np.cov(train.T, bias=True)))[::-1]
noise = values[LATENT:].mean()
log_det = np.log(values[:LATENT]).sum() + (OBSERVED - LATENT) * np.log(noise)
best = -0.5 * len(train) * (OBSERVED * np.log(2 * np.pi) + log_det + OBSERVED)
print(f"ELBO {-loss:.1f} ± {error:.1f}; greatest log likelihood {best:.1f}")

# %% [markdown]
# ## New rows
# The fitted guide takes 37 rows as it took 1,000. `Predictive` draws from it; nothing is fitted again.

# %%
draws = Predictive(guide, params=fit.params, num_samples=4_000)(jax.random.key(1), new)["z"]
print(f"draws of z for {len(new)} new rows: {draws.shape}")

# %% [markdown]
# Given W, b and s the posterior of a row is known: its precision is $P = I + W^T W / s^2$ and its mean
# $P^{-1} W^T (x - b) / s^2$.

# %%
w, b, s = (np.asarray(fit.params[name], np.float64) for name in ("W", "b", "s"))
precision = np.eye(LATENT) + w.T @ w / s**2
exact_mean = np.linalg.solve(precision, w.T @ (new - b).T / s**2).T
exact_sd = np.sqrt(np.diag(np.linalg.inv(precision)))
found_mean, found_sd = np.asarray(draws.mean(axis=0)), np.asarray(draws.std(axis=0))
mean_error = np.abs(found_mean - exact_mean).max() / exact_sd.min()
sd_error = np.abs(found_sd / exact_sd - 1).max()
print(f"posterior means differ by at most {mean_error:.2f} sd, standard deviations by at most {sd_error:.0%}")

# %% [markdown]
# One row will do as well, and a prediction is one more line: the model run on the guide's draws.

# %%
one = Predictive(model, guide=guide, params=fit.params, num_samples=4_000)(jax.random.key(2), new[:1])["mean"]
print("first new row      ", np.round(new[0], 2))
print("its mean given z   ", np.round(np.asarray(one.mean(axis=0))[0], 2))
