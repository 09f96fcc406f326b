"""The autoencoder on MNIST: svijax and the floor, from the same start, by the same estimator and budget.

    python -m benchmarks.vae_mnist --data DIR --epochs 20

DIR holds the IDX files of MNIST. Both fits begin at the weights that ``SVI.init`` draws; both are then scored
on the test images by the floor's formula with the same draws, the library's fit by ``SVI.estimate`` as well.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from svijax import SVI, Trace_ELBO
from svijax.demo import VAE, mnist

from ._floor import HALF_LOG_2PI, bernoulli, normal, softplus, vae_loss

BATCH = 128
LATENT = 20
RATE = 1e-3
DRAWS = 8  # of the codes of each test image
RESULTS = Path(__file__).parent / "results" / "vae_mnist.json"

Weights = dict[str, jax.Array]


def flat_weights(params: Any) -> Weights:
    """The library's two networks under the floor's names."""
    encoder, decoder = params["encoder"], params["decoder"]
    layers = {
        "enc": encoder["hidden"],
        "loc": encoder["loc"],
        "scale": encoder["log_scale"],
        "hid": decoder["hidden"],
        "out": decoder["logits"],
    }
    return {f"{name}_{part}": layer[part] for name, layer in layers.items() for part in ("w", "b")}


def train_floor(weights: Weights, rows: jax.Array, steps: int, seed: int) -> tuple[Weights, float]:
    """The weights after ``steps`` steps of a plain loop, and its seconds without compiling."""
    optim = optax.adam(RATE)

    @jax.jit
    def run(carry: Any, key: jax.Array, count: Any, rows: jax.Array) -> Any:
        def step(i: jax.Array, carry: Any) -> Any:
            weights, state = carry
            eps_key, row_key = jax.random.split(jax.random.fold_in(key, i))
            noise = jax.random.normal(eps_key, (BATCH, LATENT)), jax.random.uniform(row_key, (BATCH,))
            grads = jax.grad(vae_loss)(weights, noise, rows)
            updates, state = optim.update(grads, state, weights)
            return optax.apply_updates(weights, updates), state

        return lax.fori_loop(0, count, step, carry)

    carry = weights, optim.init(weights)
    key = jax.random.key(seed)
    jax.block_until_ready(run(carry, key, 1, rows))
    start = time.perf_counter()
    carry = jax.block_until_ready(run(carry, key, steps, rows))
    return carry[0], time.perf_counter() - start


@jax.jit
def elbo_per_row(weights: Weights, rows: jax.Array, key: jax.Array) -> jax.Array:
    """One draw of the ELBO of all the rows, in nats a row."""
    w = weights
    eps = jax.random.normal(key, (len(rows), LATENT))
    hidden = softplus(rows @ w["enc_w"] + w["enc_b"])
    loc, log_scale = hidden @ w["loc_w"] + w["loc_b"], hidden @ w["scale_w"] + w["scale_b"]
    z = loc + jnp.exp(log_scale) * eps
    logits = softplus(z @ w["hid_w"] + w["hid_b"]) @ w["out_w"] + w["out_b"]
    log_q = jnp.sum(-0.5 * eps**2 - log_scale - HALF_LOG_2PI)
    return (normal(z, 0.0, 1.0) + bernoulli(rows, logits) - log_q) / len(rows)


def elbo_on(weights: Weights, rows: jax.Array) -> tuple[float, float]:
    """Mean over ``DRAWS`` draws of the codes, and its standard error."""
    keys = jax.random.split(jax.random.key(2026), DRAWS)
    values = np.array([elbo_per_row(weights, rows, key) for key in keys])
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(DRAWS))


def compare(data: str, epochs: float, seed: int) -> dict[str, Any]:
    """Train both; what each reached and how long it took."""
    images = mnist(data)
    train, test = (jax.device_put(part.astype(np.float32)) for part in (images.train, images.test))
    steps = round(epochs * len(train) / BATCH)
    vae = VAE(pixels=784, hidden=400, latent=LATENT)
    svi = SVI(vae.model, vae.guide, optax.adam(RATE), Trace_ELBO())
    key = jax.random.key(seed)
    start = flat_weights(svi.get_params(svi.init(key, train, batch_size=BATCH)))

    fit = svi.run(key, steps, train, batch_size=BATCH)
    ours, ours_error = elbo_on(flat_weights(fit.params), test)
    estimates = [
        svi.estimate(fit.state, test, num_particles=1, key=jax.random.key(k))[0] for k in range(DRAWS)
    ]
    floor_weights, floor_seconds = train_floor(start, train, steps, seed)
    floor, floor_error = elbo_on(floor_weights, test)
    return {
        "epochs": epochs,
        "steps": steps,
        "batch": BATCH,
        "seed": seed,
        "svijax": {
            "test_elbo": ours,
            "standard_error": ours_error,
            "by_estimate": -float(np.mean(estimates)) / len(test),
            "seconds": fit.timings.run_seconds if fit.timings else None,
        },
        "floor": {"test_elbo": floor, "standard_error": floor_error, "seconds": floor_seconds},
        "difference": ours - floor,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
    }


def show(result: dict[str, Any]) -> None:
    """A table of both rows."""
    budget = f"batch {result['batch']}, {result['epochs']:g} epochs = {result['steps']:,} steps"
    print(f"\nMNIST, 784-400-20, {budget}")
    print(f"{'':8}{'test ELBO (nats an image)':>28}{'seconds':>10}{'steps/s':>10}")
    for name in ("svijax", "floor"):
        row = result[name]
        elbo = f"{row['test_elbo']:.3f} ± {row['standard_error']:.3f}"
        print(f"{name:8}{elbo:>28}{row['seconds']:>10.1f}{result['steps'] / row['seconds']:>10.1f}")
    print(f"difference {result['difference']:+.3f}; by SVI.estimate {result['svijax']['by_estimate']:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="The autoencoder on MNIST: svijax and a hand-written loop.")
    parser.add_argument(
        "--data", required=True, metavar="DIR", help="folder of MNIST's IDX files, gzipped or not"
    )
    parser.add_argument("--epochs", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    result = compare(options.data, options.epochs, options.seed)
    show(result)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
