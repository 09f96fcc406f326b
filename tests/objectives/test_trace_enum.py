"""TraceEnum_ELBO against sums over all values of the enumerated sites, one run of the programs for each."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from exact_expectations import Expectation, enumerated, gauss_hermite, product

import svijax
import svijax.distributions as dist
from svijax import SVI, TraceEnum_ELBO
from svijax.base import ModelError
from svijax.density import log_density
from svijax.effects import Handler
from svijax.guides import AutoNormal
from svijax.handlers import config_enumerate, mask, scale, seed, substitute, supply, trace

KEY = jax.random.key(0)
ENUM = TraceEnum_ELBO()
PARALLEL = {"enumerate": "parallel"}


def empty(*args):
    pass


def log_evidence(model, params, sites, *args):
    """log Σ over all values of the sites of exp(log p), by one plain run for each."""
    nodes = enumerated({n: shape for n, (shape, _) in sites.items()}, {n: k for n, (_, k) in sites.items()})

    def one(values):
        run = trace(seed(substitute(supply(model, params), values), KEY))
        return sum(log_density(run.get_trace(*args)).values())

    return jax.scipy.special.logsumexp(jax.vmap(one)(jax.tree.map(jnp.asarray, dict(nodes.values))))


def loss(model, guide, *args, objective=ENUM):
    return jax.jit(lambda params: objective.loss(KEY, params, model, guide, *args))


DATA = np.array([[0.3, -1.2, 0.8], [1.5, 0.1, -0.4]])
TABLE = np.array([[0.5, -0.3, 0.1], [-0.6, 0.9, 0.0], [0.2, 0.4, -1.0]])


def chain(history, steps, cards):
    """x_t given the ``history`` states before it."""

    @config_enumerate
    def model():
        table = svijax.param("table", jnp.zeros((cards,) * (history + 1)))
        before = [0] * history
        for t in svijax.markov(range(steps), history=history):
            x = svijax.sample(f"x{t}", dist.Categorical(logits=table[tuple(before)]))
            before = [*before[1:], x] if history else []
            svijax.sample(
                f"y{t}", dist.Normal(svijax.param("loc", jnp.zeros(cards))[x], 1.0), obs=0.3 * t - 0.5
            )

    rng = np.random.default_rng(history)
    params = {"table": rng.normal(size=(cards,) * (history + 1)), "loc": rng.normal(size=cards)}
    return model, params, {f"x{t}": ((), cards) for t in range(steps)}


def mixture_in_plates():
    """Latents at each depth of nested plates, some of them of other sizes."""

    @config_enumerate
    def model():
        g = svijax.sample("g", dist.Bernoulli(logits=svijax.param("p", 0.3)))
        with svijax.plate("A", 2, dim=-2):
            a = svijax.sample("a", dist.Categorical(logits=jnp.asarray(TABLE)[g]))
            with svijax.plate("B", 3, dim=-1):
                b = svijax.sample("b", dist.Bernoulli(logits=svijax.param("q", jnp.zeros(3))[a] - g))
                svijax.sample("y", dist.Normal(svijax.param("loc", jnp.zeros(2))[b] + a, 1.0), obs=DATA)

    params = {"p": 0.3, "q": jnp.array([0.1, -0.8, 0.5]), "loc": jnp.array([-0.4, 0.9])}
    return model, params, {"g": ((), 2), "a": ((2, 1), 3), "b": ((2, 3), 2)}


def crossed():
    """A latent that both of two crossed plates see from outside, and one inside of both."""

    @config_enumerate
    def model():
        g = svijax.sample("g", dist.Categorical(logits=svijax.param("p", jnp.zeros(3))))
        with svijax.plate("A", 2, dim=-2):
            a = svijax.sample("a", dist.Bernoulli(logits=svijax.param("q", jnp.zeros(3))[g]))
            svijax.sample("u", dist.Normal(a - 0.2, 1.0), obs=DATA[:, :1])
        with svijax.plate("B", 3, dim=-1):
            b = svijax.sample("b", dist.Bernoulli(logits=jnp.asarray(TABLE)[g, 0]))
            svijax.sample("v", dist.Normal(0.7 * b, 1.0), obs=DATA[0])
        with svijax.plate("A", 2, dim=-2), svijax.plate("B", 3, dim=-1):
            c = svijax.sample("c", dist.Bernoulli(logits=svijax.param("r", jnp.zeros(3))[g]))
            svijax.sample("y", dist.Normal(c + 0.5 * g, 1.0), obs=DATA)

    params = {"p": jnp.array([0.3, -0.2, 0.1]), "q": jnp.asarray(TABLE[0]), "r": jnp.asarray(TABLE[1])}
    return model, params, {"g": ((), 3), "a": ((2, 1), 2), "b": ((3,), 2), "c": ((2, 3), 2)}


def factorial():
    """Binary causes of one observation, side by side in a plate, and a factor of two of them."""

    @config_enumerate
    def model():
        w = svijax.param("w", jnp.zeros(3))
        with svijax.plate("N", 2):
            z = [svijax.sample(f"z{i}", dist.Bernoulli(logits=0.2 * i - 0.1)) for i in range(3)]
            svijax.factor("f", 0.7 * z[0] * z[1])
            svijax.sample("y", dist.Normal(sum(w[i] * z[i] for i in range(3)), 1.0), obs=DATA[:, 0])

    return model, {"w": jnp.array([0.5, -1.0, 2.0])}, {f"z{i}": ((2,), 2) for i in range(3)}


def masked():
    """Masks from outside, of a latent and as a function of enumerated values."""

    @config_enumerate
    def model():
        with svijax.plate("N", 3):
            with mask(mask=jnp.array([True, False, True])):
                z = svijax.sample("z", dist.Bernoulli(logits=svijax.param("p", 0.0)))
            with mask(mask=z == 1):
                svijax.sample("u", dist.Normal(svijax.param("m", 0.0), 1.0), obs=DATA[0])
            with mask(mask=jnp.array([True, True, False])):
                svijax.sample("v", dist.Normal(1.0 * z, 1.0), obs=DATA[1])

    return model, {"p": 0.4, "m": -0.3}, {"z": ((3,), 2)}


def families():
    """What is enumerated is a vector, a count, an integer of a range; in its full shape where that is asked for."""

    def model():
        with svijax.plate("N", 2):
            h = svijax.sample(
                "h", dist.OneHotCategorical(logits=svijax.param("p", jnp.zeros(3))), infer=PARALLEL
            )
            n = svijax.sample("n", dist.Binomial(2, 0.3), infer=PARALLEL)
            k = svijax.sample("k", dist.DiscreteUniform(1, 2), infer={**PARALLEL, "expand": True})
            assert jnp.shape(k)[-1] == 2
            svijax.sample("y", dist.Normal(h @ TABLE[0] + n * k, 1.0), obs=DATA[:, 1])

    return model, {"p": jnp.asarray(TABLE[2])}, None


PROGRAMS = {
    "chain 0": lambda: chain(0, 2, 3),
    "chain 1": lambda: chain(1, 5, 3),
    "chain 2": lambda: chain(2, 6, 2),
    "nested": mixture_in_plates,
    "crossed": crossed,
    "factorial": factorial,
    "masked": masked,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_evidence_and_its_gradient(name, x64):
    model, params, sites = PROGRAMS[name]()
    params = jax.tree.map(jnp.asarray, params)
    got = jax.jit(jax.value_and_grad(loss(model, empty)))(params)
    want = jax.jit(jax.value_and_grad(lambda p: -log_evidence(model, p, sites)))(params)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_single_precision():
    model, params, sites = mixture_in_plates()
    got = loss(model, empty)(params)
    want = jax.jit(lambda p: -log_evidence(model, p, sites))(params)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_second_derivatives(x64):
    model, params, sites = chain(1, 3, 2)
    params = jax.tree.map(jnp.asarray, params)
    got = jax.jit(jax.hessian(loss(model, empty)))(params)
    want = jax.jit(jax.hessian(lambda p: -log_evidence(model, p, sites)))(params)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_families(x64):
    model, params, _ = families()
    got = loss(model, empty)(params)
    want = 0.0
    weights = jax.nn.softmax(TABLE[2])
    for y in DATA[:, 1]:
        terms = [
            weights[h]
            * jnp.exp(dist.Binomial(2, 0.3).log_prob(n))
            * 0.5
            * jnp.exp(dist.Normal(TABLE[0, h] + n * k, 1.0).log_prob(y))
            for h, n, k in itertools.product(range(3), range(3), (1, 2))
        ]
        want -= jnp.log(sum(terms))
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_entries_that_obs_mask_fills_do_not_exist(x64):
    seen = jnp.array([True, False, True])

    @config_enumerate
    def model():
        with svijax.plate("N", 3):
            z = svijax.sample("z", dist.Categorical(logits=TABLE[0]), obs=jnp.array([2, 0, 1]), obs_mask=seen)
            svijax.sample("y", dist.Normal(1.0 * z, 1.0), obs=DATA[0])

    log_p = jax.nn.log_softmax(TABLE[0])
    likelihood = lambda z, y: dist.Normal(1.0 * z, 1.0).log_prob(y)  # noqa: E731
    want = log_p[2] + likelihood(2, DATA[0, 0]) + log_p[1] + likelihood(1, DATA[0, 2])
    want += jax.scipy.special.logsumexp(log_p + likelihood(jnp.arange(3), DATA[0, 1]))
    np.testing.assert_allclose(-loss(model, empty)({}), want, rtol=1e-12)


# Both sides: CASES 3, 4, 6 to 9, 11, 12


def bernoullis(probs):
    def model():
        for i, p in enumerate(probs):
            svijax.sample(f"z{i}", dist.Bernoulli(p))

    @config_enumerate
    def guide():
        for i in range(len(probs)):
            svijax.sample(f"z{i}", dist.Bernoulli(svijax.param("q", 0.75)))

    return model, guide


@pytest.mark.parametrize("factor", [1.0, 10.0])
def test_bernoulli_kl(factor, x64):
    model, guide = bernoullis([0.25])
    f = loss(scale(model, scale=factor), scale(guide, scale=factor))
    value, grad = jax.value_and_grad(f)({"q": 0.5})
    np.testing.assert_allclose(value, factor * 0.1438410362, rtol=1e-9)
    np.testing.assert_allclose(grad["q"], factor * np.log(3), rtol=1e-10)


@pytest.mark.parametrize(
    ("probs", "value", "grad"),
    [((0.2, 0.4), 0.9531184878, 3.9889840466), ((0.1, 0.2, 0.3), 2.3212861762, 7.7266536648)],
)
def test_bernoullis_that_share_a_parameter(probs, value, grad, x64):
    got = jax.value_and_grad(loss(*bernoullis(probs)))({"q": 0.75})
    np.testing.assert_allclose((got[0], got[1]["q"]), (value, grad), rtol=1e-9)


@pytest.mark.parametrize(
    ("q1", "q2", "grad"),
    [
        (0.33, 0.55, (0.0, 0.0)),
        (0.33, 0.27, (0.1618219367, -0.3799144873)),
        (0.43, 0.55, (0.4263339058, 0.0)),
        (0.43, 0.27, (0.5881558425, -0.4950400895)),
    ],
)
def test_not_mean_field(q1, q2, grad, x64):
    def model():
        y = svijax.sample("y", dist.Bernoulli(0.33))
        svijax.sample("z", dist.Bernoulli(0.55 * y + 0.10))

    @config_enumerate
    def guide():
        y = svijax.sample("y", dist.Bernoulli(svijax.param("q1", 0.5)))
        svijax.sample("z", dist.Bernoulli(svijax.param("q2", 0.5) * y + 0.10))

    got = jax.grad(loss(model, guide))({"q1": q1, "q2": q2})
    np.testing.assert_allclose((got["q1"], got["q2"]), grad, atol=1e-9)


def normal_bernoulli(enumerate_y):
    def model():
        z = svijax.sample("z", dist.Normal(svijax.param("q3", 0.0), 1.0))
        svijax.sample("y", dist.Bernoulli(svijax.param("q4", 0.5) * jax.nn.sigmoid(z)))

    def guide():
        z = svijax.sample("z", dist.Normal(svijax.param("q2", 0.0), 1.0))
        infer = PARALLEL if enumerate_y else None
        svijax.sample("y", dist.Bernoulli(svijax.param("q1", 0.5) * jax.nn.sigmoid(z)), infer=infer)

    return model, guide


def test_discrete_after_continuous(x64):
    """CASES 7, whose figures are those of many nodes; and the same nodes with y listed."""
    model, guide = normal_bernoulli(True)
    params = jax.tree.map(jnp.asarray, {"q1": 0.33, "q2": 0.44, "q3": 0.22, "q4": 0.385})
    nodes = gauss_hermite({"z": ()}, 40)
    case = Expectation(model, guide, nodes, objective=TraceEnum_ELBO())
    _, noise, weights = case._nodes()

    def value_and_gradient(p):
        losses = jax.vmap(lambda n: case.at(p, {}, n)[0])(noise)
        return weights @ losses, case.of_derivative(p)

    value, grad = jax.jit(value_and_gradient)(params)
    np.testing.assert_allclose(value, 0.0274372826, atol=1e-8)
    want = (-0.1197937802, 0.2213469081, -0.22, 0.1139300752)
    np.testing.assert_allclose([grad[f"q{i}"] for i in (1, 2, 3, 4)], want, atol=1e-7)


def no_tree():
    a = svijax.sample("a", dist.Bernoulli(0.33))
    b = svijax.sample("b", dist.Bernoulli(0.25 * a + 0.5))
    c = svijax.sample("c", dist.Bernoulli(0.25 * a + 0.1 * b + 0.5))
    svijax.sample("d", dist.Bernoulli(0.03 * b + 0.04 * c + 0.32))


@config_enumerate
def no_tree_guide():
    q = svijax.param("q", jnp.zeros(4))
    for i, name in enumerate("abcd"):
        svijax.sample(name, dist.Bernoulli(q[i]))


NO_TREE_AT = (0.33, 0.51, 0.37, 0.29)
NO_TREE_GRADIENT = (0.5227335897, -0.1747934455, -1.1289954543, -0.275076059)


def test_not_a_tree(x64):
    value, grad = jax.value_and_grad(loss(no_tree, no_tree_guide))({"q": jnp.array(NO_TREE_AT)})
    np.testing.assert_allclose(value, 0.2535733034, rtol=1e-8)
    np.testing.assert_allclose(grad["q"], NO_TREE_GRADIENT, atol=1e-8)


@pytest.mark.parametrize("marked", ["b", "cd", "d", "acd"])
def test_enumerated_after_drawn_sites_in_any_mixture(marked, x64):
    """The expectation over the draws of what is enumerated given them: its gradient by scores is that of the whole."""

    def guide():
        q = svijax.param("q", jnp.zeros(4))

        def draw(name, p):
            return svijax.sample(name, dist.Bernoulli(p), infer=PARALLEL if name in marked else None)

        b = draw("b", q[1])
        a = draw("a", q[0])
        c = draw("c", q[2] + 0.1 * (0 if "a" in marked else a) + 0.1 * (0 if "b" in marked else b))
        draw("d", q[3] + (0.03 * b + 0.04 * c if "d" in marked else 0.0))

    params = {"q": jnp.array(NO_TREE_AT)}
    whole = Expectation(no_tree, guide, enumerated(dict.fromkeys("abcd", ())))
    rest = [n for n in "abcd" if n not in marked]
    part = Expectation(no_tree, guide, enumerated(dict.fromkeys(rest, ())), objective=TraceEnum_ELBO())
    got = jax.jit(part.of_derivative)(params)["q"]
    np.testing.assert_allclose(got, jax.jit(jax.grad(whole.loss))(params)["q"], atol=1e-10)


def over_minibatches(model, guide, params, size, batch):
    """(loss, gradient), the mean over all minibatches of plate N."""

    def one(rows):
        programs = (supply(program, {"N": rows}) for program in (model, guide))
        return jax.value_and_grad(loss(*programs))(params)

    rows = np.array(list(itertools.combinations(range(size), batch)))
    return jax.tree.map(lambda x: jnp.mean(x, axis=0), jax.jit(jax.vmap(one))(rows))


def categorical_mixture(batch, factor, marked):
    def model():
        data = jnp.array([-0.5, 2.0])
        with svijax.plate("N", 2, batch) as rows, scale(scale=factor):
            z = svijax.sample("z", dist.Categorical(jnp.array([0.3, 0.7])))
            svijax.sample("x", dist.Normal(1.0 * z, 1.0), obs=data[rows])

    def guide():
        with svijax.plate("N", 2, batch), scale(scale=factor):
            logits = svijax.param("q", jnp.zeros((2, 2)), event_dim=1)
            svijax.sample("z", dist.Categorical(logits=logits), infer=PARALLEL if marked else None)

    return model, guide


@pytest.mark.parametrize("batch", [2, 1])
@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_categorical_under_subsampling_and_scale(batch, factor, x64):
    """CASES 9: the average over minibatches."""
    model, guide = categorical_mixture(batch, factor, True)
    q = {"q": jnp.log(jnp.array([[0.4, 0.6], [0.5, 0.5]]))}
    value, grad = over_minibatches(model, guide, q, 2, batch)
    np.testing.assert_allclose(value, factor * 3.9226361811, rtol=1e-9)
    np.testing.assert_allclose(grad["q"], factor * np.array(CATEGORICAL_GRADIENT), rtol=1e-7)


CATEGORICAL_GRADIENT = ((-0.13396014, 0.13396014), (0.58682447, -0.58682447))


@pytest.mark.parametrize(
    ("programs", "q", "value", "grad"),
    [
        pytest.param(bernoullis([0.25]), 0.5, 0.1438410362, np.log(3), id="3"),
        pytest.param(bernoullis([0.2, 0.4]), 0.75, 0.9531184878, 3.9889840466, id="4, two"),
        pytest.param(bernoullis([0.1, 0.2, 0.3]), 0.75, 2.3212861762, 7.7266536648, id="4, three"),
        pytest.param((no_tree, no_tree_guide), NO_TREE_AT, 0.2535733034, NO_TREE_GRADIENT, id="8"),
        pytest.param(
            categorical_mixture(2, 1.0, True),
            np.log([[0.4, 0.6], [0.5, 0.5]]),
            3.9226361811,
            CATEGORICAL_GRADIENT,
            id="9",
        ),
    ],
)
def test_cases_in_single_precision(programs, q, value, grad):
    got = jax.value_and_grad(loss(*programs))({"q": jnp.asarray(q, jnp.float32)})
    assert got[0].dtype == jnp.float32
    np.testing.assert_allclose(got[0], value, rtol=1e-5)
    np.testing.assert_allclose(got[1]["q"], grad, rtol=1e-5)


@pytest.mark.parametrize("batch", [4, 2, 1])
@pytest.mark.parametrize("side", ["guide", "model"])
def test_bernoulli_under_subsampling(batch, side, x64):
    """CASES 10 (D1): the guide's scores and weights are not scaled; and the evidence of the same model."""
    data = jnp.array([0.3, -0.2, 1.5, 2.0])

    def model():
        with svijax.plate("N", 4, batch) as rows:
            z = svijax.sample("z", dist.Bernoulli(svijax.param("p", 0.4)), infer=PARALLEL)
            svijax.sample("x", dist.Normal(1.0 * z, 1.0), obs=data[rows])

    def guide():
        if side == "guide":
            with svijax.plate("N", 4, batch):
                svijax.sample("z", dist.Bernoulli(logits=svijax.param("q", 0.2)), infer=PARALLEL)

    params = {"p": 0.4, "q": 0.2} if side == "guide" else {"p": 0.4}
    value, grad = over_minibatches(model, guide, params, 4, batch)
    if side == "guide":
        np.testing.assert_allclose(value, 6.16838796, rtol=1e-8)
        np.testing.assert_allclose(grad["q"], 0.20342408, rtol=1e-6)
    else:
        density = lambda z: jnp.exp(dist.Normal(z, 1.0).log_prob(data))  # noqa: E731
        evidence = lambda p: -jnp.sum(jnp.log(p * density(1.0) + (1 - p) * density(0.0)))  # noqa: E731
        want = jax.value_and_grad(evidence)(0.4)
        np.testing.assert_allclose((value, grad["p"]), want, rtol=1e-10)


def test_masked_latent_keeps_its_weights(x64):
    """D26: z is masked, the observation that reads it is not."""

    def model():
        with mask(mask=False):
            z = svijax.sample("z", dist.Bernoulli(0.4))
        svijax.sample("x", dist.Normal(1.0 * z, 1.0), obs=2.0)

    @config_enumerate
    def guide():
        with mask(mask=False):
            svijax.sample("z", dist.Bernoulli(logits=svijax.param("q", 0.2)))

    np.testing.assert_allclose(jax.grad(loss(model, guide))({"q": 0.2})["q"], -0.37127486, rtol=1e-7)


def test_model_side_elimination_below_the_guide(x64):
    """CASES 11."""

    def model(independent, factor):
        x = svijax.sample("x", dist.Categorical(logits=svijax.param("p", jnp.zeros(2))))
        transition, probs = jnp.array([[0.75, 0.25], [0.55, 0.45]]), jnp.array([[0.3, 0.7], [0.2, 0.8]])
        with scale(scale=factor):
            y = svijax.sample("y", dist.Categorical(transition[x]), infer=PARALLEL)
            svijax.sample("z", dist.Categorical(probs[0] if independent else probs[y]), obs=0)

    def guide(independent, factor):
        svijax.sample("x", dist.Categorical(logits=svijax.param("q", jnp.zeros(2))), infer=PARALLEL)

    params = {"q": jnp.log(jnp.array([0.1, 0.9])), "p": jnp.log(jnp.array([0.4, 0.6]))}
    value, grad = jax.value_and_grad(loss(model, guide, False, 1.0))(params)
    np.testing.assert_allclose(value, 1.5852301398, rtol=1e-9)
    np.testing.assert_allclose(grad["q"], [-0.168054032, 0.168054032], atol=1e-8)
    np.testing.assert_allclose(grad["p"], [0.3, -0.3], atol=1e-10)
    np.testing.assert_allclose(loss(model, guide, True, 1.0)(params), 1.4302619655, rtol=1e-9)
    np.testing.assert_allclose(loss(model, guide, False, 10.0)(params), 13.8156989469, rtol=1e-10)


@pytest.mark.parametrize(
    ("inner", "outer", "want"), [(1, 0, 3.6297667589), (0, 1, 2.3624666988), (1, 1, 6.065107271)]
)
def test_observations_at_two_depths(inner, outer, want, x64):
    """CASES 12."""
    locs, scales = jnp.array([-1.0, 1.0]), jnp.array([1.0, 2.0])

    @config_enumerate
    def model():
        a = svijax.sample("a", dist.Categorical(jnp.array([0.4, 0.6])))
        if outer:
            svijax.sample("x", dist.Normal(0.0, scales[a]), obs=2.0)
        with svijax.plate("N", 2):
            b = svijax.sample("b", dist.Categorical(jnp.array([0.6, 0.4])))
            if inner:
                svijax.sample("y", dist.Normal(locs[b], scales[a]), obs=jnp.array([0.5, 1.5]))

    np.testing.assert_allclose(loss(model, empty)({}), want, rtol=1e-9)


# Both sides at once


def test_model_sum_inside_the_guide_sum(x64):
    """E_a log Σ_b p(a, b, y), with a in the guide and b, of which there is one in each element of a plate, not."""

    def model():
        a = svijax.sample("a", dist.Categorical(logits=svijax.param("p", jnp.zeros(3))))
        with svijax.plate("N", 3):
            b = svijax.sample("b", dist.Bernoulli(logits=jnp.asarray(TABLE)[a, 1]), infer=PARALLEL)
            svijax.sample("y", dist.Normal(b - a, 1.0), obs=DATA[0])

    def guide():
        svijax.sample("a", dist.Categorical(logits=svijax.param("q", jnp.zeros(3))), infer=PARALLEL)

    params = {"p": jnp.asarray(TABLE[0]), "q": jnp.asarray(TABLE[1])}

    def want(params):
        q = jax.nn.log_softmax(params["q"])
        inner = [log_evidence(substitute(model, {"a": i}), params, {"b": ((3,), 2)}) for i in range(3)]
        return -jnp.sum(jnp.exp(q) * (jnp.stack(inner) - q))

    got = jax.jit(jax.value_and_grad(loss(model, guide)))(params)
    for a, b in zip(
        jax.tree.leaves(got), jax.tree.leaves(jax.jit(jax.value_and_grad(want))(params)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def drawn_given_enumerated(kind):
    """z is enumerated in a plate; x is drawn given it, and read by what is observed."""

    def model():
        with svijax.plate("N", 2):
            z = svijax.sample("z", dist.Bernoulli(0.3))
            x = svijax.sample(
                "x", dist.Normal(1.0 * z, 1.0) if kind == "normal" else dist.Bernoulli(0.2 + 0.5 * z)
            )
            svijax.sample("y", dist.Normal(x * z + x, 1.0), obs=DATA[:, 0])

    def guide(marked=True):
        with svijax.plate("N", 2):
            z = svijax.sample(
                "z",
                dist.Bernoulli(logits=svijax.param("q", jnp.zeros(2))),
                infer=PARALLEL if marked else None,
            )
            r = svijax.param("r", jnp.zeros(2))[z]
            svijax.sample("x", dist.Normal(r, 0.7) if kind == "normal" else dist.Bernoulli(logits=r))

    return model, guide, {"q": jnp.array([0.4, -0.9]), "r": jnp.array([-0.3, 1.1])}


def test_reparameterised_draw_at_each_enumerated_value(x64):
    model, guide, params = drawn_given_enumerated("normal")
    noise = gauss_hermite({"x": (2,)}, 4)
    whole = Expectation(model, lambda: guide(False), product(enumerated({"z": (2,)}), noise))
    part = Expectation(model, guide, noise, objective=TraceEnum_ELBO())
    np.testing.assert_allclose(
        *(jax.tree.leaves(jax.jit(f)(params)) for f in (part.of_derivative, jax.grad(whole.loss))), atol=1e-10
    )


def test_score_of_a_draw_at_each_enumerated_value(x64):
    """x is drawn for both values of z: all four outcomes at each element of the plate are listed."""
    model, guide, params = drawn_given_enumerated("bernoulli")
    outcomes = jnp.asarray(enumerated({"x": (2, 2)}).values["x"])

    def surrogate(params, x):
        class put(Handler):
            def process(self, site):
                return (
                    site.having(value=x if site.fn.batch_shape == (2, 2) else x[0])
                    if site.name == "x"
                    else site
                )

        return ENUM.loss(KEY, params, model, put(guide))

    def probability(x):
        return jnp.exp(jnp.sum(dist.Bernoulli(logits=params["r"][:, None]).log_prob(x)))

    def mean(params):
        each = jax.vmap(lambda x: jax.tree.map(lambda g: probability(x) * g, jax.grad(surrogate)(params, x)))
        return jax.tree.map(lambda g: jnp.sum(g, axis=0), each(outcomes))

    whole = Expectation(model, lambda: guide(False), enumerated({"z": (2,), "x": (2,)}))
    got, want = jax.jit(mean)(params), jax.jit(jax.grad(whole.loss))(params)
    for name in params:
        np.testing.assert_allclose(got[name], want[name], atol=1e-10)


def test_long_dependence_in_the_guide(x64):
    """A chain in the guide, its dims used again: each term is weighed by the marginal of what it reads."""

    def model():
        for t in range(4):
            svijax.sample(f"x{t}", dist.Categorical(logits=TABLE[1]))
        svijax.factor("f", 0.0)

    @config_enumerate
    def guide():
        x = 0
        for t in svijax.markov(range(4)):
            x = svijax.sample(f"x{t}", dist.Categorical(logits=svijax.param("q", jnp.asarray(TABLE))[x]))

    params = {"q": jnp.asarray(TABLE)}
    sites = enumerated({f"x{t}": () for t in range(4)}, 3)
    whole = Expectation(model, guide, sites)
    got = jax.jit(jax.value_and_grad(loss(model, guide)))(params)
    want = jax.jit(jax.value_and_grad(whole.loss))(params)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-10)
    np.testing.assert_allclose(got[1]["q"], want[1]["q"], atol=1e-10)


# What is reported, and what follows


def test_report_by_site(x64):
    model, params, _ = factorial()
    result = jax.jit(lambda p: ENUM.evaluate(KEY, p, model, empty))(params)
    assert list(result.log_p) == ["z0, z1, z2, f, y"] and result.log_q == {}
    np.testing.assert_allclose(result.log_p["z0, z1, z2, f, y"], -result.loss, rtol=1e-12)


def test_marginals(x64):
    """CASES 13: exact, and at them an enumerated guide has no gradient left."""
    locs, data = jnp.array([-1.0, 0.0, 1.0, 2.0]), jnp.array([0.0, 0.1, 0.2, 0.9, 1.0, 1.1])

    @config_enumerate
    def model():
        x = svijax.sample("x", dist.Categorical(jnp.array([0.2, 0.3, 0.3, 0.2])))
        with svijax.plate("N", 6):
            svijax.sample("y", dist.Normal(locs[x], 1.0), obs=data)

    @config_enumerate
    def guide():
        svijax.sample("x", dist.Categorical(logits=svijax.param("q", jnp.zeros(4))))

    found = jax.jit(lambda: ENUM.compute_marginals(KEY, {}, model, empty))()["x"]
    np.testing.assert_allclose(found.probs, [0.00052003, 0.42479186, 0.57340904, 0.00127907], atol=1e-8)
    np.testing.assert_allclose(loss(model, empty)({}), 7.396448036, rtol=1e-9)
    np.testing.assert_allclose(
        jax.grad(loss(model, guide))({"q": jnp.log(found.probs)})["q"], 0.0, atol=1e-12
    )
    with pytest.raises(ModelError, match="compute_marginals: the guide enumerates sites"):
        TraceEnum_ELBO().compute_marginals(KEY, {"q": jnp.zeros(4)}, model, guide)


def test_marginals_of_a_chain(x64):
    move = jnp.array([[0.75, 0.25], [0.25, 0.75]])

    @config_enumerate
    def model():
        x = 0
        for t in svijax.markov(range(3)):
            x = svijax.sample(f"x{t}", dist.Bernoulli(move[x, 1]))
            svijax.sample(f"y{t}", dist.Bernoulli(move[x, 1]), obs=0)
        svijax.sample("end", dist.Bernoulli(move[x, 1]), obs=1)

    found = jax.jit(lambda: ENUM.compute_marginals(KEY, {}, model, empty))()
    np.testing.assert_allclose([found[f"x{t}"].probs for t in range(3)], [0.0625, 0.125, 0.3125], rtol=1e-10)


def test_each_kind_of_term_counts(x64):
    """1.02 times log p of the guide's site, log q or the summed-out component is another loss."""
    model, params, _ = mixture_in_plates()
    base = loss(model, empty)(params)
    assert abs(loss(scale(model, scale=1.02), empty)(params) / base - 1.02) < 1e-12
    model, guide = bernoullis([0.25])
    plain, more_p, more_q = (
        loss(scale(model, scale=a), scale(guide, scale=b))({"q": 0.5})
        for a, b in ((1.0, 1.0), (1.02, 1.0), (1.0, 1.02))
    )
    np.testing.assert_allclose(
        [more_p - plain, more_q - plain], [0.02 * 0.8369882168, -0.02 * np.log(2)], rtol=1e-9
    )


def test_compiles_under_transformations():
    model, params, _ = factorial()
    f = loss(model, empty)
    with jax.checking_leaks():
        single = jax.jit(f)(params)
        many = jax.vmap(f)(jax.tree.map(lambda x: jnp.stack([x, x + 0.1]), params))
    np.testing.assert_allclose(many[0], single, rtol=1e-6)


@pytest.mark.slow
def test_mixture_is_fitted_with_an_autoguide():
    rng = np.random.default_rng(0)
    truth = np.array([-3.0, 0.0, 4.0])
    data = jnp.asarray(truth[rng.choice(3, 300, p=[0.5, 0.3, 0.2])] + 0.7 * rng.normal(size=300), jnp.float32)

    @config_enumerate
    def model(data):
        weights = svijax.sample("weights", dist.Dirichlet(jnp.ones(3)))
        locs = svijax.sample("locs", dist.Normal(0.0, 10.0).expand([3]).to_event(1))
        width = svijax.sample("width", dist.LogNormal(0.0, 1.0))
        with svijax.plate("N", data.shape[0]):
            z = svijax.sample("z", dist.Categorical(weights))
            svijax.sample("x", dist.Normal(locs[z], width), obs=data)

    start = svijax.guides.init_to_value({"locs": np.array([-1.0, 0.0, 1.0])})
    guide = AutoNormal(model, init_loc_fn=start)
    fit = SVI(model, guide, optax.adam(0.03), TraceEnum_ELBO()).run(
        jax.random.key(0), 1_000, data, progress_bar=False
    )
    found = guide.median(fit.params, data)
    assert set(found) == {"weights", "locs", "width"}
    np.testing.assert_allclose(found["locs"], truth, atol=0.35)
    np.testing.assert_allclose(found["width"], 0.7, atol=0.12)


# Errors


def raises(model, guide=empty, params=None, objective=ENUM):
    with pytest.raises(ModelError) as caught:
        objective.loss(KEY, params or {}, model, guide)
    return str(caught.value)


def test_no_common_scale():
    """CASES 14; masks, expand and one scale around all are no obstacle."""

    def model(batch=2, inside=False):
        with svijax.plate("N", 3, batch) as rows:
            x = svijax.sample("x", dist.Bernoulli(0.3), infer=PARALLEL) if inside else z
            svijax.sample("y", dist.Normal(1.0 * x, 1.0), obs=jnp.asarray(DATA[0])[rows])

    def outer():
        global z
        z = svijax.sample("z", dist.Bernoulli(0.3), infer=PARALLEL)
        model()

    text = raises(outer)
    assert "the enumerated site 'z' and the sites that depend on it have no common scale" in text
    assert "1 at site 'z', 1.5 at site 'y'" in text
    assert np.isfinite(loss(lambda: model(2, True), empty)({}))
    one = loss(scale(lambda: model(3, True), scale=2.0), empty)({})
    np.testing.assert_allclose(one, 2 * loss(lambda: model(3, True), empty)({}), rtol=1e-6)


def test_traced_scales_are_compared_when_they_are_known():
    def model(a, b):
        with scale(scale=a):
            z = svijax.sample("z", dist.Bernoulli(0.3), infer=PARALLEL)
        with scale(scale=b):
            svijax.sample("y", dist.Normal(1.0 * z, 1.0), obs=0.2)

    f = jax.jit(lambda a, b: TraceEnum_ELBO().loss(KEY, {}, model, empty, a, b))
    assert np.isfinite(f(2.0, 2.0)) and np.isnan(f(2.0, 3.0))


def test_crossed_plates_that_are_no_tree():
    @config_enumerate
    def model():
        with svijax.plate("A", 2, dim=-2):
            a = svijax.sample("a", dist.Bernoulli(0.3))
        with svijax.plate("B", 3, dim=-1):
            b = svijax.sample("b", dist.Bernoulli(0.3))
        with svijax.plate("A", 2, dim=-2), svijax.plate("B", 3, dim=-1):
            svijax.sample("y", dist.Normal(a + b, 1.0), obs=DATA)

    text = raises(model)
    assert "'a' in ['A'], 'b' in ['B'] cannot be summed out" in text and "'y'" in text


@pytest.mark.parametrize("how", ["other plate", "sum", "event"])
def test_elements_read_outside_of_their_plate(how):
    @config_enumerate
    def model():
        with svijax.plate("A", 3):
            a = svijax.sample("a", dist.Bernoulli(0.3))
        if how == "other plate":
            with svijax.plate("B", 3):
                svijax.sample("y", dist.Normal(1.0 * a, 1.0), obs=DATA[0])
        elif how == "sum":
            svijax.sample("y", dist.Normal(1.0 * jnp.sum(a, -1), 1.0), obs=0.1)
        else:
            svijax.sample("y", dist.Normal(1.0 * a, 1.0).to_event(1), obs=DATA[0])

    text = raises(model)
    if how == "other plate":
        assert "site 'y' reads the enumerated site 'a' from outside of its plates" in text
    else:
        assert "model site 'y' does not broadcast over the values of the enumerated sites" in text


def test_model_more_global_than_guide():
    def model():
        m = svijax.sample("m", dist.Bernoulli(0.3), infer=PARALLEL)
        with svijax.plate("A", 2):
            g = svijax.sample("g", dist.Bernoulli(0.3))
            svijax.sample("y", dist.Normal(m + g, 1.0), obs=DATA[:, 0])

    @config_enumerate
    def guide():
        with svijax.plate("A", 2):
            svijax.sample("g", dist.Bernoulli(0.5))

    text = raises(model, guide)
    assert "model enumeration more global than guide enumeration: model site 'm'" in text
    assert "guide's 'g' at every element of plates ['A']" in text


def test_undeclared_batch_dim():
    def model():
        svijax.sample("z", dist.Bernoulli(jnp.full(3, 0.3)), infer=PARALLEL)

    text = raises(model)
    assert (
        "model site 'z' cannot be enumerated" in text and "batch shape (3,), with no plate at dim -1" in text
    )
    assert "state it inside svijax.plate(...), or make one event of the dim with .to_event()" in text


def test_continuous_site_and_unknown_word():
    def model(word):
        svijax.sample("z", dist.Normal(0.0, 1.0), infer={"enumerate": word})

    assert "model site 'z' cannot be enumerated" in raises(lambda: model("parallel"))
    with pytest.raises(svijax.base.ArgumentError, match="no such way to enumerate"):
        loss(lambda: model("sequential"), empty)({})


def test_window_of_a_chain():
    @config_enumerate
    def model():
        x = [0, 0]
        for t in svijax.markov(range(4)):
            x.append(svijax.sample(f"x{t}", dist.Bernoulli(0.2 + 0.2 * x[-1] + 0.3 * x[-2])))

    text = raises(model)
    assert "site 'x2' reads the enumerated site 'x0', which is out of the window of its markov" in text
    assert "raise history= of svijax.markov" in text


def test_objective_that_does_not_enumerate():
    text = raises(
        config_enumerate(lambda: svijax.sample("z", dist.Bernoulli(0.3))), objective=svijax.Trace_ELBO()
    )
    assert "model site 'z' is marked to be enumerated, which this objective does not do" in text
    assert "use TraceEnum_ELBO()" in text


def test_beta_has_nothing_to_weigh():
    text = raises(
        config_enumerate(lambda: svijax.sample("z", dist.Bernoulli(0.3))), objective=TraceEnum_ELBO(beta=0.5)
    )
    assert "'z' is summed out of the model, so that it has none" in text
