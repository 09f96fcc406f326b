# %% [markdown]
# # Checkpoints: runs that survive their process
#
# A run of hours is killed by a full queue, a power cut or a colleague. Here it is taken up again where it was, and
# ends with the very bits of a run that was never broken off. Three ways, from the one that does most by itself:
#
# 1. `run(checkpoint=Checkpoint(folder))` saves as it goes, and continues when the same script is started again.
# 2. `svijax.fitting.save` and `restore`: one file for a state, a result's parameters, or any pytree of arrays.
# 3. Orbax, or any other saver of pytrees: a state is a pytree of plain arrays.
#
# Run it as a script, or cell by cell; it needs `orbax-checkpoint`. With `SVIJAX_QUICK=1` it takes few steps, as the
# tests do.

# %%
import os
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from sklearn.datasets import load_breast_cancer

import svijax
import svijax.distributions as dist
from svijax import SVI, Checkpoint
from svijax.base import CheckpointError
from svijax.fitting import Average, Batches, read_metadata, restore, save
from svijax.guides import AutoNormal

QUICK = os.environ.get("SVIJAX_QUICK") == "1"
STEPS = 1_500 if QUICK else 20_000
FOLDER = Path(tempfile.mkdtemp())

# %% [markdown]
# ## A fit
# Logistic regression on 569 tumours (Wolberg et al., 1993), 64 rows a step, in epochs that are shuffled anew.

# %%
table = load_breast_cancer()
x = ((table.data - table.data.mean(0)) / table.data.std(0)).astype(np.float32)
y = table.target.astype(np.float32)


def model(x, y=None):
    w = svijax.sample("w", dist.Normal(jnp.zeros(x.shape[1]), 1.0).to_event(1))
    b = svijax.sample("b", dist.Normal(0.0, 5.0))
    with svijax.plate("data", x.shape[0]):
        svijax.sample("y", dist.Bernoulli(logits=x @ w + b), obs=y)


svi = SVI(model, AutoNormal(model), optax.adam(0.01))


def fit(data=(x, y), **options):
    return svi.run(
        jax.random.key(0),
        STEPS,
        batches=Batches(data, size=64),
        average=Average(),
        progress_bar=False,
        **options,
    )


unbroken = fit()


def same(a, b):
    """Whether two pytrees are of the same bits."""
    return all(np.array_equal(p, q) for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


# %% [markdown]
# ## A run that is broken off
# A checkpoint is written when a minute has passed (`every_seconds=`), or after so many steps (`every_steps=`), and at
# the end; the last three stay. Each is on the disk, whole, before it gets its name and the oldest is deleted. So a
# process may be killed at any moment, in the middle of writing too, and there is one to continue from. Writing goes on
# in the background; only the copy to the host's memory holds the steps up.
#
# Here a callback breaks the run off. (`Ctrl-C` ends a run in order, with a result, and saves it; this error does not.)


# %%
class PowerCut(Exception):
    pass


def pull_the_plug(report):
    if report.step > STEPS // 2:
        raise PowerCut


keep = Checkpoint(FOLDER / "run", every_steps=200)
try:
    fit(checkpoint=keep, callback=pull_the_plug)
except PowerCut:
    print("broken off; in the folder:", *sorted(p.name for p in keep.folder.glob("step*")))

# %% [markdown]
# The same call again continues. The state, the optimiser, the averages and the memory of stop rules are in the
# checkpoint, the losses beside it; the rows and the random numbers of step t follow from the key and t alone.

# %%
resumed = fit(checkpoint=keep)
print("same state:", same(resumed.state, unbroken.state))
print("same losses, from the first step on:", same(resumed.losses, unbroken.losses))
print("same average:", same(resumed.averaged.params, unbroken.averaged.params))
print("steps taken by the second run:", round(resumed.timings.steps_per_second * resumed.timings.run_seconds))

# %% [markdown]
# Once more, and there is nothing left to do: the result is there at once. `num_steps` is that of the whole run, so a
# larger one goes on.

# %%
finished = fit(checkpoint=keep)
print(
    "same again:", same(finished.losses, unbroken.losses), "at", finished.timings.steps_per_second, "steps/s"
)

# %% [markdown]
# A folder is one run's. With another key, model or other data in the same folder one would get the old fit for the
# new question; that is an error.

# %%
try:
    fit(data=(x[:500], y[:500]), checkpoint=keep)
except CheckpointError as error:
    print(error)

# %% [markdown]
# ## One file
# `save` writes a pytree of arrays with names, shapes, dtypes and checksums, and no pickle: nobody's code runs when it
# is read. `restore` needs to know what it is to make: a tree of the same structure, of which shapes suffice.

# %%
path = FOLDER / "state.svijax"
save(path, unbroken.state, metadata={"data": "breast cancer", "steps": STEPS})
like = jax.eval_shape(lambda key: svi.init(key, x, y), jax.random.key(0))
state = restore(path, like)
print(read_metadata(path))

# %% [markdown]
# In a new process the parameters make draws without the data (a row tells its width), and the state goes on with data.

# %%
draws = svi.guide.sample_posterior(jax.random.key(1), state.params, x[:1], y[:1], sample_shape=(1_000,))
print({name: value.shape for name, value in draws.items()})
further = svi.run(None, 100, x, y, init_state=state, progress_bar=False)
print("steps in all:", int(further.state.step))

# %% [markdown]
# Without `like` a file is a dictionary of NumPy arrays. (`numpy.load` opens it as well.)

# %%
for name, array in restore(path).items():
    print(f"{name:<28} {array.dtype!s:<8} {array.shape}")

# %% [markdown]
# ## Orbax
# A state is a pytree of plain arrays, so orbax saves it as it saves parameters of a network, asynchronously, and
# sharded over many hosts if need be.

# %%
with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(FOLDER / "orbax", unbroken.state)
with ocp.StandardCheckpointer() as checkpointer:
    by_orbax = checkpointer.restore(FOLDER / "orbax", like)
also = svi.run(None, 100, x, y, init_state=by_orbax, progress_bar=False)
print("orbax, same further losses:", same(also.losses, further.losses))

# %% [markdown]
# Its manager keeps the last few, from a callback. What a callback gets is the state; for the losses, averages and stop
# rules from the first step on, and for a run that takes itself up, `checkpoint=` is the way.

# %%
manager = ocp.CheckpointManager(FOLDER / "manager", options=ocp.CheckpointManagerOptions(max_to_keep=2))
fit(callback=lambda report: manager.save(report.step, args=ocp.args.StandardSave(report.state)) and None)
manager.wait_until_finished()
last = manager.restore(manager.latest_step(), args=ocp.args.StandardRestore(like))
print("the manager's last state:", int(last.step), "steps, same:", same(last, unbroken.state))
manager.close()
