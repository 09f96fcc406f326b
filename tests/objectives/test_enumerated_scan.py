"""Enumeration inside ``svijax.scan`` against the loop written out."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import svijax
import svijax.distributions as dist
from svijax import SVI, TraceEnum_ELBO
from svijax.base import ModelError
from svijax.guides import AutoNormal
from svijax.handlers import config_enumerate, mask, scale, substitute, trace

KEY = jax.random.key(0)
ENUM = TraceEnum_ELBO()
STEPS, CARDS = 9, 3
RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(STEPS, 2))
PARAMS = {"move": RNG.normal(size=(CARDS, CARDS)), "loc": RNG.normal(size=CARDS)}
SEEN = np.arange(STEPS)[:, None] < np.array([9, 6])


def empty(*args):
    pass


def read():
    params = {n: svijax.param(n, jnp.zeros(np.shape(x))) for n, x in PARAMS.items()}
    return params["move"], params["loc"]


def one_step(move, loc, name, z, y, seen, w):
    with svijax.plate("N", 2):
        z = svijax.sample(f"z{name}", dist.Categorical(logits=move[z] * (1 + w[..., None])))
        with mask(mask=seen):
            svijax.sample(f"y{name}", dist.Normal(loc[z] + w, 1.0), obs=y)
    return z


def looped(how):
    @config_enumerate
    def model():
        move, loc = read()
        w = svijax.sample("w", dist.Bernoulli(0.3)) if how == "global" else jnp.zeros(())

        def step(z, inputs):
            y, seen = inputs
            z = one_step(move, loc, "", z, y, seen, w)
            return (z + 0 if how == "computed" else z), None

        last, _ = svijax.scan(
            step, jnp.zeros(2, int), (jnp.asarray(DATA), jnp.asarray(SEEN)), reverse=how == "reverse"
        )
        with svijax.plate("N", 2):
            svijax.sample("end", dist.Normal(1.0 * last, 1.0), obs=DATA[0])

    return model


def written_out(how):
    @config_enumerate
    def model():
        move, loc = read()
        w = svijax.sample("w", dist.Bernoulli(0.3)) if how == "global" else jnp.zeros(())
        z = jnp.zeros(2, int)
        for t in svijax.markov(range(STEPS)):
            i = STEPS - 1 - t if how == "reverse" else t
            z = one_step(move, loc, i, z, DATA[i], SEEN[i], w)
        with svijax.plate("N", 2):
            svijax.sample("end", dist.Normal(1.0 * z, 1.0), obs=DATA[0])

    return model


@pytest.mark.parametrize("how", ["plain", "computed", "reverse", "global"])
def test_scan_is_the_loop_written_out(how, x64):
    params = jax.tree.map(jnp.asarray, PARAMS)
    got, want = (
        jax.jit(jax.value_and_grad(lambda p, m=m: ENUM.loss(KEY, p, m, empty)))(params)
        for m in (looped(how), written_out(how))
    )
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("how", ["plain", "reverse"])
def test_marginals_and_best_values(how, x64):
    params = jax.tree.map(jnp.asarray, PARAMS)
    marginals = [
        jax.jit(lambda m=m: ENUM.compute_marginals(KEY, params, m, empty))()
        for m in (looped(how), written_out(how))
    ]
    apart = jnp.stack([marginals[1][f"z{t}"].probs for t in range(STEPS)])
    np.testing.assert_allclose(marginals[0]["z"].probs, apart, rtol=1e-10)
    best = [
        jax.jit(
            lambda m=m: {
                n: s.value
                for n, s in trace(svijax.infer_discrete(substitute(m, params), 0)).get_trace().items()
            }
        )()
        for m in (looped(how), written_out(how))
    ]
    np.testing.assert_array_equal(best[0]["z"], jnp.stack([best[1][f"z{t}"] for t in range(STEPS)]))


@pytest.mark.parametrize("where", ["mask", "scale"])
def test_weights_around_the_scan(where, x64):
    params = jax.tree.map(jnp.asarray, PARAMS)
    handler = mask(mask=jnp.asarray(SEEN)) if where == "mask" else scale(scale=3.0)
    inside = jnp.ones_like(SEEN)

    def model(around):
        move, loc = read()

        def step(z, inputs):
            y, seen = inputs
            with svijax.plate("N", 2):
                z = svijax.sample("z", dist.Categorical(logits=move[z]), infer={"enumerate": "parallel"})
                with mask(mask=seen):
                    svijax.sample("y", dist.Normal(loc[z], 1.0), obs=y)
            return z, None

        if around:
            with handler:
                svijax.scan(step, jnp.zeros(2, int), (jnp.asarray(DATA), inside))
        else:
            svijax.scan(
                step, jnp.zeros(2, int), (jnp.asarray(DATA), jnp.asarray(SEEN) if where == "mask" else inside)
            )

    got, want = (
        jax.jit(lambda a=a: ENUM.loss(KEY, params, lambda: model(a), empty))() for a in (True, False)
    )
    if where == "scale":
        np.testing.assert_allclose(got, 3 * want, rtol=1e-12)
    else:
        # The mask around takes the latents out too: what is left of each of these is a factor of 1 at all its values.
        logits = jax.nn.log_softmax(params["move"], axis=-1)
        total = 0.0
        for n in range(2):
            a = jnp.zeros(1)
            for t in range(STEPS):
                step = logits[:1] if t == 0 else logits
                y = dist.Normal(params["loc"], 1.0).log_prob(DATA[t, n])
                a = jax.scipy.special.logsumexp(a[:, None] + (step + y if SEEN[t, n] else 0 * step), axis=0)
            total += jax.scipy.special.logsumexp(a)
        np.testing.assert_allclose(-got, total, rtol=1e-12)


@pytest.mark.slow
def test_hidden_markov_model_is_fitted_with_an_autoguide():
    """Two states of a chain of 200, found through a continuous latent that an autoguide approximates."""
    rng = np.random.default_rng(1)
    states = [0]
    for _ in range(199):
        states.append(states[-1] if rng.random() < 0.9 else 1 - states[-1])
    data = jnp.asarray(np.array([-1.0, 2.0])[states] + 0.5 * rng.normal(size=200), jnp.float32)

    def model(data):
        stay = svijax.sample("stay", dist.Beta(2.0, 2.0))
        locs = svijax.sample("locs", dist.Normal(jnp.array([-0.5, 0.5]), 3.0).to_event(1))

        def step(z, y):
            z = svijax.sample(
                "z", dist.Bernoulli(jnp.where(z == 1, stay, 1 - stay)), infer={"enumerate": "parallel"}
            )
            svijax.sample("y", dist.Normal(locs[z], 0.5), obs=y)
            return z, None

        svijax.scan(step, 0, data)

    guide = AutoNormal(model, init_loc_fn=svijax.guides.init_to_value({"locs": np.array([-0.5, 0.5])}))
    fit = SVI(model, guide, optax.adam(0.05), ENUM).run(jax.random.key(0), 300, data, progress_bar=False)
    found = guide.median(fit.params, data)
    np.testing.assert_allclose(found["locs"], [-1.0, 2.0], atol=0.15)
    np.testing.assert_allclose(found["stay"], 0.9, atol=0.06)
    drawn = svijax.infer_discrete(substitute(model, found), temperature=0)
    best = jax.jit(lambda data: trace(drawn).get_trace(data)["z"].value)(data)
    assert np.mean(np.asarray(best) == np.array(states)) > 0.97


def test_errors():
    def older():
        def step(carry, y):
            a, b = carry
            z = svijax.sample("z", dist.Bernoulli(0.2 + 0.3 * a + 0.1 * b), infer={"enumerate": "parallel"})
            return (b, z), None

        svijax.scan(step, (0, 0), jnp.asarray(DATA))

    with pytest.raises(
        ModelError, match="the carry depends on enumerated values that are older than one step"
    ):
        ENUM.loss(KEY, {}, older, empty)

    def loop():
        def step(z, y):
            return svijax.sample("z", dist.Bernoulli(0.2 + 0.3 * z), infer={"enumerate": "parallel"}), None

        svijax.scan(step, 0, jnp.asarray(DATA))

    with pytest.raises(ModelError, match="guide site 'z' is to be enumerated inside a scan of the guide"):
        ENUM.loss(KEY, {}, loop, loop)


VECTORS = {
    "constant": lambda z, h: h,
    "moving": lambda z, h: jnp.sin(h) + 1.1,
    "chosen": lambda z, h: jnp.asarray(ROWS)[z],
}
ROWS = RNG.uniform(0.5, 2.0, (CARDS, CARDS))


@pytest.mark.parametrize("plates", [False, True])
@pytest.mark.parametrize("kind", VECTORS)
def test_vectors_in_the_carry(kind, plates, x64):
    """Their last dim is no dim of an enumerated site, whatever its size."""
    counts = jnp.array([[1, 4, 8, 2, 3], [0, 2, 7, 7, 1]]).T if plates else jnp.array([1, 4, 8, 2, 3])
    shape = (2,) if plates else ()
    init = jnp.zeros(shape, int), jnp.broadcast_to(jnp.array([0.1, 0.7, 1.3]), (*shape, CARDS))

    def one(carry, count, name=""):
        z, h = carry
        new = svijax.sample(f"z{name}", dist.Categorical(logits=jnp.asarray(PARAMS["move"])[z] + h))
        h = VECTORS[kind](new, h)
        rate = jnp.where(new == 0, h[..., 0], jnp.where(new == 1, 3 * h[..., 1], 9 * h[..., 2]))
        svijax.sample(f"y{name}", dist.Poisson(rate), obs=count)
        return new, h

    def inside(carry, count, name=""):
        if not plates:
            return one(carry, count, name)
        with svijax.plate("N", 2):
            return one(carry, count, name)

    def scanned():
        svijax.scan(lambda carry, count: (inside(carry, count), None), init, counts)

    def written():
        carry = init
        for t in svijax.markov(range(5)):
            carry = inside(carry, counts[t], t)

    got, want = (ENUM.loss(KEY, {}, config_enumerate(m), empty) for m in (scanned, written))
    np.testing.assert_allclose(got, want, rtol=1e-10)
