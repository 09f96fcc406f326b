"""One stochastic layer on MNIST by importance-weighted bounds (Burda, Grosse and Salakhutdinov 2016, table 1).

    python -m benchmarks.iwae_mnist --data DIR --particles 1 --epochs 200 --folder runs/k1

DIR holds the IDX files of MNIST. 50 latents, networks of 200 and 200 tanh units, pixels drawn anew from their
intensities at each step. Adam has the eight rates of the paper, each for three times as many epochs as the one before,
where there are the 3,280 epochs of it, and a cosine schedule where there are fewer. A run that was killed goes on from
its checkpoint in --folder when it is started again. The test log-likelihood is that of 5,000 importance-weighted draws
an image. The paper has −86.76, −85.54, −84.78 nats for 1, 5, 50 particles after 3,280 epochs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import svijax
from svijax import SVI, ImportanceWeightedELBO, Trace_ELBO
from svijax.demo import intensities
from svijax.distributions import Bernoulli, Normal
from svijax.fitting import Batches, Checkpoint

LATENT, HIDDEN, STAGES, EPOCHS = 50, 200, 8, 3_280
BATCH = 100
RESULTS = Path(__file__).parent / "results"


def network(key: jax.Array, sizes: tuple[int, ...], bias: Any = 0.0) -> list[dict[str, jax.Array]]:
    """Layers with Glorot's uniform weights; ``bias``: of the last one."""
    layers = []
    for k, inputs, outputs in zip(jax.random.split(key, len(sizes)), sizes[:-1], sizes[1:]):
        limit = (6.0 / (inputs + outputs)) ** 0.5
        w = jax.random.uniform(k, (inputs, outputs), minval=-limit, maxval=limit)
        layers.append({"w": w, "b": jnp.zeros(outputs)})
    layers[-1]["b"] = layers[-1]["b"] + bias
    return layers


def forward(layers: list[dict[str, jax.Array]], x: Any) -> Any:
    """tanh layers and a linear one."""
    for layer in layers[:-1]:
        x = jnp.tanh(x @ layer["w"] + layer["b"])
    return x @ layers[-1]["w"] + layers[-1]["b"]


def programs(mean: np.ndarray) -> tuple[Any, Any]:
    """(model, guide) of images (n, pixels). ``mean``: of the pixels, where the decoder begins."""
    pixels = mean.size
    clipped = np.clip(mean, 1e-3, 1 - 1e-3)
    logit = (np.log(clipped) - np.log1p(-clipped)).astype(np.float32)

    def model(x: Any) -> None:
        decoder = svijax.param(
            "decoder", lambda key: network(key, (LATENT, HIDDEN, HIDDEN, pixels), jnp.asarray(logit))
        )
        with svijax.plate("images", x.shape[0]):
            z = svijax.sample("z", Normal(jnp.zeros(LATENT), 1.0).to_event(1))
            svijax.sample("x", Bernoulli(logits=forward(decoder, z)).to_event(1), obs=x)

    def guide(x: Any) -> None:
        encoder = svijax.param("encoder", lambda key: network(key, (pixels, HIDDEN, HIDDEN, 2 * LATENT)))
        with svijax.plate("images", x.shape[0]):
            loc, log_scale = jnp.split(forward(encoder, x), 2, axis=-1)
            svijax.sample("z", Normal(loc, jnp.exp(log_scale)).to_event(1))

    return model, guide


def binary(key: jax.Array, images: Any) -> Any:
    """Each pixel 1 with probability its intensity."""
    return (jax.random.uniform(key, images.shape) < images.astype(jnp.float32) / 255).astype(jnp.float32)


def rates(epochs: int, total: int) -> optax.Schedule:
    """0.001 · 10^(−i/7) for i = 0 ... 7, each three times as long as the one before, ``total`` steps in all.

    Two thirds of the steps have the lowest rate; a short run needs more at high ones.
    """
    if epochs < EPOCHS:
        return optax.cosine_decay_schedule(2e-3, total, alpha=5e-3)
    ends = [(3 ** (i + 1) - 1) / (3**STAGES - 1) * total for i in range(STAGES)]
    boundaries = jnp.asarray(ends[:-1])
    return lambda step: 1e-3 * 10.0 ** (-jnp.sum(step >= boundaries) / (STAGES - 1))


def test_log_likelihood(svi: SVI, params: Any, images: np.ndarray, draws: int, rows: int) -> np.ndarray:
    """log 1/draws Σ p(x, z) / q(z | x) for each image, by so many draws in chunks."""
    bound = ImportanceWeightedELBO(draws, particle_batch=100)

    @jax.jit
    def of(key: jax.Array, x: Any) -> Any:
        evaluate = lambda k, row: -bound.loss(k, params, svi.model, svi.guide, row[None])  # noqa: E731
        return jax.lax.map(lambda pair: evaluate(*pair), (jax.random.split(key, len(x)), x))

    found = []
    for start in range(0, len(images), rows):
        x = binary(jax.random.fold_in(jax.random.key(7), start), jnp.asarray(images[start : start + rows]))
        found.append(np.asarray(of(jax.random.fold_in(jax.random.key(8), start), x)))
        print(f"\rtest images {start + len(x):,} of {len(images):,}", end="", flush=True)
    print()
    return np.concatenate(found)


def main() -> None:
    parser = argparse.ArgumentParser(description="Importance-weighted bounds on MNIST.")
    parser.add_argument("--data", required=True, metavar="DIR", help="folder of MNIST's IDX files")
    parser.add_argument("--particles", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--folder", required=True, help="for checkpoints: start again to go on")
    parser.add_argument("--draws", type=int, default=5_000, help="importance-weighted draws a test image")
    parser.add_argument("--test-images", type=int, default=10_000)
    options = parser.parse_args()

    train, test = intensities(options.data)
    model, guide = programs(train.mean(axis=0) / 255)
    steps_per_epoch = len(train) // BATCH
    steps = options.epochs * steps_per_epoch
    objective = Trace_ELBO() if options.particles == 1 else ImportanceWeightedELBO(options.particles)
    svi = SVI(model, guide, optax.adam(rates(options.epochs, steps), eps=1e-4), objective)
    fit = svi.run(
        jax.random.key(0),
        steps,
        batches=Batches(train, size=BATCH, plate="images", transform=binary),
        checkpoint=Checkpoint(options.folder, every_seconds=60.0),
    )
    print(fit.status)
    bounds = -np.asarray(fit.losses).reshape(options.epochs, steps_per_epoch).mean(axis=1) / len(train)
    nll = -test_log_likelihood(svi, fit.params, test[: options.test_images], options.draws, rows=100)
    result = {
        "particles": options.particles,
        "epochs": options.epochs,
        "batch": BATCH,
        "train_bound_by_epoch": [round(float(b), 3) for b in bounds],
        "test_images": len(nll),
        "draws": options.draws,
        "test_nll": float(nll.mean()),
        "standard_error": float(nll.std(ddof=1) / np.sqrt(len(nll))),
        "seconds_of_last_run": fit.timings.run_seconds if fit.timings else None,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
    }
    name = f"iwae_mnist-k{options.particles}-{jax.default_backend()}.json"
    (RESULTS / name).write_text(json.dumps(result, indent=1) + "\n")
    print(
        f"test NLL {result['test_nll']:.3f} ± {result['standard_error']:.3f} nats an image, "
        f"training bound {bounds[-1]:.3f}"
    )


if __name__ == "__main__":
    main()
