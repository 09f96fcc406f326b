"""The README is true: its code runs as printed, and its error message is the one that the library gives."""

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import svijax
import svijax.distributions as dist
from svijax import SVI
from svijax.base import SvijaxError
from svijax.guides import AutoNormal

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.fixture(scope="module")
def quick_start() -> dict[str, Any]:
    return _run(0)


def _run(block: int) -> dict[str, Any]:
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[block]
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    return names


def test_quick_start_runs_as_printed_and_fits(quick_start: dict[str, Any]) -> None:
    fit = quick_start["fit"]
    assert fit.status == svijax.Status.MAX_STEPS
    assert fit.losses.shape == (5_000,)
    assert fit.losses[-500:].mean() < fit.losses[:50].mean()
    mean = np.asarray(fit.posterior.mean()["w"])
    assert mean[0] > 0.5 and mean[1] < -1.5 and mean[2] > 0.0


def test_quick_start_draws_predicts_continues_and_restarts(quick_start: dict[str, Any]) -> None:
    assert quick_start["draws"]["w"].shape == (1_000, 3)
    assert quick_start["future"].shape == (1_000, 5)
    assert int(quick_start["more"].state.step) == 6_000
    assert quick_start["restarts"].losses.shape == (8, 1_000)
    assert quick_start["best"].losses.shape == (1_000,)


def test_printed_error_is_the_one_that_is_raised() -> None:
    def model(y: Any) -> None:
        mu = svijax.sample("mu", dist.Normal(0.0, 1.0))
        with svijax.plate("data", 90):
            svijax.sample("y", dist.Normal(mu + jnp.zeros(100), 1.0), obs=y)

    with pytest.raises(SvijaxError) as error:
        SVI(model, AutoNormal(model), 0.01).init(jax.random.key(0), np.zeros(100, np.float32))
    assert str(error.value) in README


def test_a_hidden_markov_model_runs_as_printed_and_finds_its_states() -> None:
    names = _run(1)
    assert np.mean(np.asarray(names["path"]) == names["truth"]) > 0.97
    stay = float(names["fit"].posterior.median()["stay"])
    assert 0.95 < stay < 1.0


def test_what_the_tables_of_objectives_name_exists() -> None:
    section = README[README.index("## Objectives") : README.index("**Discrete latents")]
    for name in re.findall(r"`([A-Z]\w+)\(", section):
        assert hasattr(svijax.objectives, name), name


def test_training_at_scale_runs_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = _run(2)
    fit, shown = names["fit"], capsys.readouterr().out
    assert (np.asarray(fit.status) == svijax.Status.CONVERGED).all()
    assert "The chains agree" in shown
    assert names["sweep"].best in (1e-2, 1e-1) and "<- taken" in shown
    mean = np.asarray(fit.averaged.best().posterior.mean()["w"])
    np.testing.assert_allclose(mean, [1.0, -2.0, 0.5], atol=0.15)
    assert (tmp_path / "run.jsonl").is_file() and list((tmp_path / "checkpoints").iterdir())


def test_a_family_of_ones_own_runs_as_printed(capsys: pytest.CaptureFixture[str]) -> None:
    names = _run(3)
    shown = capsys.readouterr().out
    assert "FAILED" not in shown and "pathwise      ok" in shown
    exact = dist.kl_divergence(dist.Gamma(2.0, 1.0), dist.Gamma(3.0, 2.0))
    assert str(exact) in shown
    assert names["Ramp"](1.0).has_rsample


def test_families_that_are_left_out_are_not_there() -> None:
    table = README[README.index("| left out | reason |") : README.index("## Coming from")]
    cells = [line.split("|")[1] for line in table.splitlines()[2:] if line.startswith("|")]
    names = {name for cell in cells for name in re.findall(r"`([A-Z]\w+)`", cell)} - {"Stable"}
    assert len(names) > 10
    for name in names:
        assert not hasattr(dist, name) and not hasattr(dist.transforms, name), name


def test_names_of_the_porting_table_exist() -> None:
    for name in ("sample", "param", "plate", "deterministic", "factor", "Predictive", "clear_caches"):
        assert hasattr(svijax, name)
    for name in ("init", "update", "stable_update", "evaluate", "get_params", "run"):
        assert hasattr(SVI, name)
    assert hasattr(svijax.handlers, "seed")
    assert hasattr(svijax.optim, "Adam")
    assert hasattr(svijax.guides, "init_to_median")
