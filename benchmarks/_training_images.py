"""Epochs of an autoencoder on images: in memory, from disk, through a loader, and by hand."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from svijax import SVI, Trace_ELBO
from svijax.demo import VAE, digits, mnist
from svijax.fitting import Batches

from ._floor import HALF_LOG_2PI, bernoulli, normal, softplus
from ._training_turns import Row, Run, ratio, turns
from .vae_mnist import flat_weights

BATCH, LATENT, HIDDEN, RATE = 128, 20, 400, 1e-3
PLATE = "images"


def images(folder: str | None) -> np.ndarray:
    """Binary images (n, pixels) as bytes: MNIST from a folder of IDX files, or the digits of scikit-learn."""
    found = digits() if folder is None else mnist(folder)
    return np.ascontiguousarray(found.train)


def svi_of(pixels: int) -> SVI:
    """The autoencoder of the demo."""
    vae = VAE(pixels=pixels, hidden=HIDDEN, latent=LATENT)
    return SVI(vae.model, vae.guide, optax.adam(RATE), Trace_ELBO())


class Floor:
    """The same model by hand: packed in no library, one compiled loop over shuffled rows."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows, self.optim, self.epoch = jax.device_put(rows), optax.adam(RATE), 0
        svi = svi_of(rows.shape[1])
        weights = flat_weights(svi.get_params(svi.init(jax.random.key(0), rows[:BATCH])))
        self.carry = weights, self.optim.init(weights)
        self.total = len(rows)
        self._epoch = jax.jit(self._steps, static_argnums=2)
        self._one = jax.jit(self.step)

    def loss(self, weights: Any, key: jax.Array, batch: jax.Array) -> jax.Array:
        """−ELBO of a batch at one draw of the codes, scaled to all rows."""
        w, x = weights, batch.astype(jnp.float32)
        eps = jax.random.normal(key, (len(x), LATENT))
        hidden = softplus(x @ w["enc_w"] + w["enc_b"])
        loc, log_scale = hidden @ w["loc_w"] + w["loc_b"], hidden @ w["scale_w"] + w["scale_b"]
        z = loc + jnp.exp(log_scale) * eps
        logits = softplus(z @ w["hid_w"] + w["hid_b"]) @ w["out_w"] + w["out_b"]
        log_q = jnp.sum(-0.5 * eps**2 - log_scale - HALF_LOG_2PI)
        return (log_q - normal(z, 0.0, 1.0) - bernoulli(x, logits)) * (self.total / len(x))

    def step(self, carry: Any, key: jax.Array, batch: jax.Array) -> Any:
        """(carry, loss) after one step."""
        weights, state = carry
        loss, grads = jax.value_and_grad(self.loss)(weights, key, batch)
        updates, state = self.optim.update(grads, state, weights)
        return (optax.apply_updates(weights, updates), state), loss

    def _steps(self, carry: Any, key: jax.Array, count: int, rows: jax.Array) -> Any:
        # One order for the steps of a call, epoch after epoch.
        epochs = -(-count * BATCH // len(rows))
        orders = jax.vmap(lambda k: jax.random.permutation(k, len(rows)))(jax.random.split(key, epochs))
        order = orders.reshape(-1)[: count * BATCH].reshape(count, BATCH)

        def one(carry: Any, i: jax.Array) -> Any:
            return self.step(carry, jax.random.fold_in(key, i), rows[order[i]])

        return lax.scan(one, carry, jnp.arange(count))

    def run(self, steps: int) -> np.ndarray:
        """Losses of further steps on the rows in memory."""
        self.epoch += 1
        key = jax.random.fold_in(jax.random.key(1), self.epoch)
        self.carry, losses = self._epoch(self.carry, key, steps, self.rows)
        return np.asarray(losses)

    def run_streamed(self, steps: int, batches: Callable[[int], Iterator[np.ndarray]]) -> np.ndarray:
        """The same, a Python loop over batches from outside, each moved when it is there."""
        losses = []
        while len(losses) < steps:
            self.epoch += 1
            for batch in batches(self.epoch):
                key = jax.random.fold_in(jax.random.key(1), len(losses))
                self.carry, loss = self._one(self.carry, key, jax.device_put(batch))
                losses.append(loss)
                if len(losses) == steps:
                    break
        return np.asarray(jnp.stack(losses))


class Fit:
    """Runs of svijax, each continuing the one before. ``options``: of ``run``."""

    def __init__(self, rows: np.ndarray, batches: Callable[[], Batches], **options: Any) -> None:
        self.svi, self.batches, self.options = svi_of(rows.shape[1]), batches, options
        self.state: Any = None

    def run(self, steps: int) -> np.ndarray:
        """Losses of further steps."""
        key = jax.random.key(0)
        options = {"progress_bar": False, **self.options}
        fit = self.svi.run(key, steps, batches=self.batches(), init_state=self.state, **options)
        self.state = jax.block_until_ready(fit.state)
        return np.asarray(fit.losses)


class Loader:
    """A loader with PyTorch's protocol in plain Python: items one by one, stacked to batches, anew each epoch."""

    def __init__(self, dataset: Any, batch_size: int, shuffle: bool = True) -> None:
        self.dataset, self.batch_size, self.shuffle = dataset, batch_size, shuffle
        self.epoch = 0

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[np.ndarray]:
        order = np.arange(len(self.dataset))
        if self.shuffle:
            order = np.random.default_rng(self.epoch).permutation(order)
        self.epoch += 1
        for begin in range(0, len(order), self.batch_size):
            yield np.stack([self.dataset[i] for i in order[begin : begin + self.batch_size]])


def from_disk(path: Path, shape: tuple[int, ...], epoch: int) -> Iterator[np.ndarray]:
    """Shuffled full batches of a memory-mapped file of bytes."""
    rows = np.memmap(path, np.uint8, "r", shape=shape)
    order = np.random.default_rng(epoch).permutation(shape[0])
    for begin in range(0, shape[0] - BATCH + 1, BATCH):
        yield rows[np.sort(order[begin : begin + BATCH])]


def measure(rows: np.ndarray, repeats: int, steps: int, name: str) -> list[Row]:
    """Images per second."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.bin"
        rows.tofile(path)
        disk = partial(from_disk, path, rows.shape)
        total = len(rows)
        stream = partial(Batches, size=BATCH, plate=PLATE, total=total)
        on_device = jax.device_put(rows)

        def floor() -> Run:
            return ready(Floor(rows).run)

        def floor_streamed() -> Run:
            made = Floor(rows)
            return ready(lambda n: made.run_streamed(n, disk))

        def ready(run: Callable[[int], np.ndarray]) -> Run:
            run(steps)
            return lambda: float(run(steps)[-50:].mean()) / total

        makers: dict[str, Callable[[], Run]] = {
            "floor": floor,
            "svijax_memory": lambda: ready(Fit(rows, lambda: Batches(on_device, BATCH, plate=PLATE)).run),
            "floor_disk": floor_streamed,
            "svijax_disk": lambda: ready(Fit(rows, lambda: stream(lambda epoch: disk(epoch))).run),
            "svijax_loader": lambda: ready(Fit(rows, lambda: stream(Loader(rows, BATCH))).run),
        }
        if importlib.util.find_spec("torch") is not None:
            makers["svijax_torch"] = lambda: ready(Fit(rows, lambda: stream(torch_loader(rows))).run)
        found = turns(steps * BATCH, makers, repeats, name)
    return [{**row, "part": "images", "unit": "k images/s", "steps": steps} for row in found]


def torch_loader(rows: np.ndarray) -> Any:
    """PyTorch's own, in this process."""
    import torch

    return torch.utils.data.DataLoader(torch.from_numpy(rows), batch_size=BATCH, shuffle=True)


def targets(rows: list[Row]) -> list[tuple[str, str, float | None, str, float]]:
    """(problem, what, figure, sign, bound)."""
    (problem,) = dict.fromkeys(r["problem"] for r in rows)
    lines = [
        (problem, "images/s in memory, over the floor", ratio(rows, problem, "svijax_memory", "floor"), 0.95)
    ]
    for name, words in {"disk": "from disk", "loader": "by a loader", "torch": "by PyTorch's loader"}.items():
        if any(r["contender"] == f"svijax_{name}" for r in rows):
            figure = ratio(rows, problem, f"svijax_{name}", "floor")
            lines.append((problem, f"images/s {words}, over the floor", figure, 0.8))
    return [(p, what, figure, ">=", bound) for p, what, figure, bound in lines]
