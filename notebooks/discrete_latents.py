# %% [markdown]
# # Discrete latents, summed out
#
# A discrete latent has no gradient of its own, but it has finitely many values: `TraceEnum_ELBO` sums over them,
# exactly and with no variance. `config_enumerate` marks such sites of a model. An autoguide leaves them out and
# stands for what is continuous; `infer_discrete` finds their values afterwards.
#
# Two classics: a mixture of Gaussians on Fisher's irises, beside scikit-learn, and a hidden Markov model of the
# world's major earthquakes, beside a published fit.
#
# Run it as a script, or cell by cell. With `SVIJAX_QUICK=1` it takes few steps, as the tests do.

# %%
import os
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_iris
from sklearn.mixture import GaussianMixture

import svijax
import svijax.distributions as dist
from svijax import SVI, TraceEnum_ELBO, infer_discrete
from svijax.guides import AutoDelta, AutoNormal, init_to_value
from svijax.handlers import config_enumerate, substitute, trace

QUICK = os.environ.get("SVIJAX_QUICK") == "1"
STEPS = 600 if QUICK else 4_000
OPTIM = optax.adam(optax.cosine_decay_schedule(0.05, STEPS))

# %% [markdown]
# ## A mixture
# 150 flowers, 4 lengths of each, 3 groups. Each flower has a group of its own, so `group` stands in the plate.

# %%
flowers = load_iris().data.astype(np.float32)
GROUPS = 3


@config_enumerate
def mixture(x, batch_size=None):
    weights = svijax.sample("weights", dist.Dirichlet(jnp.ones(GROUPS)))
    loc = svijax.sample("loc", dist.Normal(0.0, 10.0).expand([GROUPS, 4]).to_event(2))
    scale = svijax.sample("scale", dist.HalfNormal(10.0).expand([GROUPS, 4]).to_event(2))
    with svijax.plate("flowers", x.shape[0], subsample_size=batch_size):
        group = svijax.sample("group", dist.Categorical(probs=weights))
        svijax.deterministic("drawn_group", group)
        svijax.sample(
            "x", dist.Normal(loc[group], scale[group]).to_event(1), obs=svijax.subsample(x, event_dim=1)
        )


# %% [markdown]
# Mixtures have many local optima. So each group starts at a flower, and the best of 8 fits, which run side by side in
# one program, is taken.


# %%
def at_flowers(site, key):
    if site.name == "loc":
        return jax.random.choice(key, flowers, (GROUPS,), replace=False)
    return jnp.full(site.shape, {"weights": 1 / GROUPS, "scale": 0.5}[site.name])


def fit_mixture(family, **options):
    guide = family(mixture, init_loc_fn=at_flowers)
    fits = SVI(mixture, guide, OPTIM, TraceEnum_ELBO()).run(
        jax.random.key(0), STEPS, flowers, num_chains=8, progress_bar=False, **options
    )
    return guide, fits.best()


# %% [markdown]
# `AutoDelta` is a point estimate. These priors are nearly flat, so it is the maximum likelihood that scikit-learn
# looks for as well, all flowers at each step or 50 of them.

# %%
reference = GaussianMixture(
    3, covariance_type="diag", n_init=8, init_params="k-means++", tol=1e-6, max_iter=1_000
)
groups = reference.set_params(random_state=0).fit_predict(flowers)


def log_likelihood(point):
    z = (flowers[:, None] - point["loc"]) / point["scale"]
    log_p = -0.5 * (z**2 + jnp.log(2 * jnp.pi)) - jnp.log(point["scale"])
    return jax.scipy.special.logsumexp(log_p.sum(-1) + jnp.log(point["weights"]), axis=1).sum()


def best_groups(point):
    """The most probable groups, and the share of them that scikit-learn finds too, whatever it calls them."""
    found = (
        trace(infer_discrete(substitute(mixture, data=point), temperature=0))
        .get_trace(flowers)["group"]
        .value
    )
    return found, max(np.mean(np.array(names)[found] == groups) for names in permutations(range(GROUPS)))


print(f"scikit-learn: log likelihood {reference.score(flowers) * len(flowers):.2f}")
for batch_size in (None, 50):
    guide, fit = fit_mixture(AutoDelta, batch_size=batch_size)
    point = guide.median(fit.params, flowers)
    found, share = best_groups(point)
    print(
        f"{batch_size or 'all'} flowers a step: log likelihood {log_likelihood(point):.2f}, {share:.1%} alike"
    )

# %% [markdown]
# `AutoNormal` gives the posterior. Its k-hat and ELBO are those of the model with the groups summed out; what is
# `deterministic` is computed from draws of the groups given the rest.

# %%
guide, fit = fit_mixture(AutoNormal)
print(fit.posterior.summary(1_000))
drawn = np.asarray(fit.posterior.sample(1_000, sites=["drawn_group"], deterministic=True)["drawn_group"])
certain = np.max([(drawn == k).mean(axis=0) for k in range(GROUPS)], axis=0)
print(f"{(certain > 0.95).sum()} of {len(flowers)} flowers are in one group in more than 95% of the draws")

# %% [markdown]
# ## A hidden Markov model
# Major earthquakes in the world in each year from 1900 to 2006 (Zucchini & MacDonald, *Hidden Markov Models for Time
# Series*, 2009, table 1.1). The counts are Poisson at the rate of the year's hidden state:
#
# $$s_1 \sim \delta(\Gamma), \qquad s_t \sim \Gamma_{s_{t-1}}, \qquad n_t \sim \text{Poisson}(\lambda_{s_t}),$$
#
# $\delta$ the distribution that the transition matrix $\Gamma$ leaves as it is.

# %%
COUNTS = """
    13 14 8 10 16 26 32 27 18 32 36 24 22 23 22 18 25 21 21 14 8 11 14 23 18 17 19 20 22 19 13 26 13 14 22 24 21 22 26
    21 23 24 27 41 31 27 35 26 28 36 39 21 17 22 17 19 15 34 10 15 22 18 15 20 15 22 19 16 30 27 29 23 20 16 21 21 25
    16 18 15 18 14 10 15 8 15 6 11 8 7 18 16 13 12 13 20 15 16 12 18 15 16 13 15 16 11 11
"""
quakes = np.array(COUNTS.split(), int)


def unchanged(transition):
    """δ with δΓ = δ."""
    size = transition.shape[-1]
    return jnp.linalg.solve(jnp.eye(size) - transition.T + 1.0, jnp.ones(size))


@config_enumerate
def hidden_markov(counts, states):
    rates = svijax.sample("rates", dist.Gamma(2.0, 0.1).expand([states]).to_event(1))
    transition = svijax.sample("transition", dist.Dirichlet(jnp.ones(states)).expand([states]).to_event(1))
    start = unchanged(transition)

    def year(state, now):
        count, first = now
        state = svijax.sample("state", dist.Categorical(probs=jnp.where(first, start, transition[state])))
        svijax.sample("count", dist.Poisson(rates[state]), obs=count)
        return state, None

    svijax.scan(year, 0, (counts, jnp.arange(len(counts)) == 0))


# %% [markdown]
# The sum over $m^{107}$ paths takes time that grows with the logarithm of the number of years, on hardware that is
# parallel enough. The published rates are those of the greatest likelihood, to which the prior adds little.

# %%
PUBLISHED = {2: (15.472, 26.125), 3: (13.146, 19.721, 29.714)}
for states, published in PUBLISHED.items():
    starts = {
        "rates": np.quantile(quakes, (np.arange(states) + 0.5) / states).astype(np.float32),
        "transition": np.full((states, states), 0.1) + np.eye(states) * (1 - 0.1 * states),
    }
    guide = AutoNormal(hidden_markov, init_loc_fn=init_to_value(values=starts), init_scale=0.05)
    fit = SVI(hidden_markov, guide, OPTIM, TraceEnum_ELBO()).run(
        jax.random.key(0), STEPS, quakes, states, progress_bar=False
    )
    posterior = fit.posterior
    elbo, error = posterior.elbo(2_000)
    draws = posterior.sample(2_000)["rates"]
    mean, sd = draws.mean(axis=0), draws.std(axis=0)
    print(f"{states} states: ELBO {elbo:.2f} ± {error:.2f}")
    for k in range(states):
        print(f"  rate {mean[k]:.2f} ± {sd[k]:.2f}, published {published[k]}")

    # The most probable path, Viterbi's, at the medians.
    @jax.jit
    def best_path(point, states=states):
        best = infer_discrete(substitute(hidden_markov, data=point), temperature=0)
        return trace(best).get_trace(quakes, states)["state"].value

    path = np.asarray(best_path(guide.median(fit.params, quakes, states)))
    changes = 1901 + np.flatnonzero(np.diff(path))
    print(f"  from state {path[0]} in 1900", *(f"to {path[y - 1900]} in {y}" for y in changes))
