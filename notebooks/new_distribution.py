# %% [markdown]
# # A distribution of one's own: write it, check it, fit with it
#
# A family is a class with two statements (what its parameters and its values are) and two methods (a draw from
# noise, and the log density). Everything else, `expand`, `to_event`, `mask`, `jit`, `vmap` and plates, follows.
#
# The family here is the generalised logistic distribution of type I (Balakrishnan & Leung, 1988), a skewed
# distribution on the real line,
#
# $$p(x) = \frac{a}{s}\,\frac{e^{-z}}{(1 + e^{-z})^{a + 1}}, \qquad F(x) = (1 + e^{-z})^{-a}, \qquad
# z = \frac{x - m}{s}$$
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
from svijax import SVI, Trace_ELBO
from svijax.distributions import constraints
from svijax.guides import AutoNormal

QUICK = os.environ.get("SVIJAX_QUICK") == "1"
STEPS = 1_500 if QUICK else 10_000

# %% [markdown]
# ## The class
# `_init` promotes the parameters to one dtype, checks them against `arg_constraints` and broadcasts them. With
# `_noise_kind` a draw is a function of uniform noise, here the inverse of F, so draws have derivatives in all
# parameters and `has_rsample` is True.


# %%
class SkewedLogistic(dist.Distribution):
    """p(x) = a exp(-z) / (scale (1 + exp(-z))^(a + 1)), z = (x - loc) / scale; a = asymmetry > 0."""

    arg_constraints = {  # noqa: RUF012
        "loc": constraints.real,
        "scale": constraints.positive,
        "asymmetry": constraints.positive,
    }
    support = constraints.real
    _noise_kind = "uniform"

    def __init__(self, loc=0.0, scale=1.0, asymmetry=1.0, *, validate_args=None):
        self._init(validate_args, loc=loc, scale=scale, asymmetry=asymmetry)

    def from_noise(self, noise):
        # F(x) = u gives exp(-z) = u^(-1/a) - 1, without cancellation near u = 1.
        return self.loc - self.scale * jnp.log(jnp.expm1(-jnp.log(noise) / self.asymmetry))

    def log_prob(self, value):
        z = (value - self.loc) / self.scale
        # softplus(-z) = log(1 + exp(-z)) does not overflow.
        tail = (self.asymmetry + 1) * jax.nn.softplus(-z)
        return jnp.log(self.asymmetry) - jnp.log(self.scale) - z - tail


# %% [markdown]
# ## Check it
# `check` looks at shapes, dtypes, `jit`, `vmap`, copies of other shape, derivatives, the mass of the density,
# and whether the draws are draws from the density. What is wrong is an error with the remedy in it.

# %%
print(dist.check(SkewedLogistic(1.0, np.array([0.5, 2.0]), 3.0)))

# %% [markdown]
# A density with its normalising constant forgotten does not pass.


# %%
class Forgetful(SkewedLogistic):
    def log_prob(self, value):
        return super().log_prob(value) - jnp.log(self.asymmetry)


report = dist.check(Forgetful(1.0, 2.0, 3.0), raise_if_failed=False)
for row in report.failed:
    print(row)

# %% [markdown]
# ## Fit with it
# It is a likelihood like any other. The data are drawn from the family itself, so the truth is known.

# %%
truth = {"loc": 1.0, "scale": 0.5, "asymmetry": 0.5}
data = SkewedLogistic(**truth).sample(jax.random.key(0), (2_000,))


def model(y):
    loc = svijax.sample("loc", dist.Normal(0.0, 3.0))
    scale = svijax.sample("scale", dist.HalfNormal(2.0))
    asymmetry = svijax.sample("asymmetry", dist.LogNormal(0.0, 1.0))
    with svijax.plate("rows", len(y)):
        svijax.sample("y", SkewedLogistic(loc, scale, asymmetry), obs=y)


guide = AutoNormal(model)
svi = SVI(model, guide, optax.adam(optax.cosine_decay_schedule(5e-2, STEPS)), Trace_ELBO())
fit = svi.run(jax.random.key(1), STEPS, data)

# %% [markdown]
# The guide takes the three for independent, which the posterior does not: its widths are too small, its
# centre is right.

# %%
median = guide.median(fit.params, data)
for name, value in truth.items():
    print(f"{name}: fitted {float(median[name]):.2f}, true {value:.2f}")

# %% [markdown]
# ## A divergence of its own
# A guide and a prior of the same family can have their KL divergence in closed form: `register_kl` enters it.
# Two members that differ in asymmetry only differ as two exponentials do, since `log F` is one.


# %%
def same_but_for_asymmetry(p, q):
    return p.loc is q.loc and p.scale is q.scale


@dist.register_kl(SkewedLogistic, SkewedLogistic, when=same_but_for_asymmetry)
def _(p, q):
    ratio = q.asymmetry / p.asymmetry
    return ratio - 1 - jnp.log(ratio)


p = SkewedLogistic(0.0, 1.0, 3.0)
q = SkewedLogistic(p.loc, p.scale, 2.0)
draws = p.sample(jax.random.key(2), (100_000,))
average = (p.log_prob(draws) - q.log_prob(draws)).mean()
print(f"KL in closed form {float(dist.kl_divergence(p, q)):.4f}, over draws {float(average):.4f}")
