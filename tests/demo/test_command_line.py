"""``python -m svijax``: what a newcomer sees."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import pytest

from svijax.demo import breast_cancer, exact_posterior, main

PNG = b"\x89PNG"
Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]
Shown = tuple[Done, Path]


@pytest.fixture(scope="module")
def svijax() -> Run:
    """``svijax("--model", "vae")`` runs ``python -m svijax --model vae`` in a process of its own."""

    def run(*arguments: str) -> Done:
        command = [sys.executable, "-m", "svijax", *arguments]
        env = {**os.environ, "JAX_PLATFORMS": "cpu"}
        return subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)

    return run


@pytest.fixture(scope="module")
def schools(svijax: Run, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    picture = tmp_path_factory.mktemp("schools") / "fit.png"
    return svijax("--plot", str(picture)), picture


def rows(text: str) -> dict[str, list[float]]:
    """The numbers of each row of the table, by the name of the row."""
    found = {}
    for line in text.splitlines():
        name = re.match(r"(mu|tau|log_tau|theta\[\d\]) ", line)
        if name:
            found[name.group(1)] = [float(x) for x in re.findall(r"-?\d+\.\d+", line)]
    return found


def test_eight_schools_shows_every_row_beside_the_exact_one(
    schools: Shown,
) -> None:
    done, _ = schools
    assert done.returncode == 0, done.stderr
    table, exact = rows(done.stdout), exact_posterior().marginals
    assert list(table) == list(exact)
    for name, numbers in table.items():
        m = exact[name]
        assert numbers[4:] == pytest.approx([m.mean, m.sd, m.low, m.high], abs=0.006)


def test_eight_schools_is_near_the_exact_posterior(
    schools: Shown,
) -> None:
    # A mean-field normal is no exact family here: log tau is skewed, and depends on the effects.
    for name, (mean, sd, *_, exact_mean, exact_sd, _, _) in rows(schools[0].stdout).items():
        assert abs(mean - exact_mean) < 0.25 * exact_sd, name
        assert 0.55 < sd / exact_sd < 1.2, name


def test_eight_schools_says_how_good_and_how_fast(
    schools: Shown,
) -> None:
    text = schools[0].stdout
    elbo = re.search(r"ELBO: (-\d+\.\d+) ± (\d\.\d+) nats \(log evidence, which bounds it: -31\.3113\)", text)
    assert elbo is not None, text
    value, error = float(elbo[1]), float(elbo[2])
    assert -32.5 < value < -31.3113 + 4 * error
    assert re.search(r"k-hat: -?\d\.\d\d \(\w.*; 20,000 draws\)", text)
    assert re.search(r"time: \d+\.\d s to compile, then [\d,]+ steps per second", text)
    assert re.search(r"^50,000 steps in \d+\.\d s: ELBO -3\d\.\d+, ", schools[0].stderr, re.MULTILINE)


def test_eight_schools_draws_a_picture(schools: Shown) -> None:
    assert_drawn(schools[1])


def assert_drawn(path: Path) -> None:
    assert path.read_bytes().startswith(PNG)
    pixels = matplotlib.image.imread(path)
    assert min(pixels.shape[:2]) > 300
    assert pixels.std() > 0.02


def test_logistic_with_chains(svijax: Run, tmp_path: Path) -> None:
    picture = tmp_path / "weights.png"
    options = "--guide", "AutoDiagonalNormal", "--steps", "3000", "--chains", "2", "--plot", str(picture)
    done = svijax("--model", "logistic", *options)
    assert done.returncode == 0, done.stderr
    accuracy = re.search(r"held out: accuracy (\d+\.\d)%, log score (-\d\.\d+)", done.stdout)
    assert accuracy is not None, done.stdout
    assert float(accuracy[1]) > 93
    assert float(accuracy[2]) > -0.15
    assert sum(f"\n{name} " in done.stdout for name in breast_cancer().columns) == 10
    assert "best of 2" in done.stdout
    assert_drawn(picture)


def test_a_point_claims_no_bound(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--guide", "AutoDelta", "--steps", "2000"]) == 0
    text = capsys.readouterr().out
    assert "log density at this point: -" in text
    assert "ELBO:" not in text


def test_seeds_and_guides_are_heard(capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for extra in ([], ["--seed", "1"], ["--guide", "AutoMultivariateNormal"]):
        assert main(["--steps", "500", *extra]) == 0
        texts.append(str(rows(capsys.readouterr().out)))
    assert len(set(texts)) == 3


def test_vae_on_digits(svijax: Run, tmp_path: Path) -> None:
    picture = tmp_path / "digits.png"
    done = svijax("--model", "vae", "--epochs", "2", "--plot", str(picture))
    assert done.returncode == 0, done.stderr
    assert re.search(r"ELBO: -\d+\.\d+ ± \d\.\d+ nats an image", done.stdout), done.stdout
    assert "without another fit" in done.stdout
    assert_drawn(picture)


def test_help_has_an_example_for_each_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0
    for option in ("model", "guide", "steps", "epochs", "seed", "chains", "plot", "data"):
        assert f"--{option}" in text
    assert "python -m svijax --model vae --data ~/mnist --epochs 20" in text


WRONG = {
    "no such folder": (["--model", "vae", "--data", "/nowhere/at/all"], "train-images-idx3-ubyte is not in"),
    "data elsewhere": (["--data", "x"], "--data goes with --model vae only"),
    "guide of a vae": (["--model", "vae", "--guide", "AutoNormal"], "whose guide is its own encoder"),
    "steps and epochs": (["--model", "vae", "--steps", "5", "--epochs", "1"], "give one of them"),
    "no steps": (["--steps", "0"], "--steps must be at least 1; got 0"),
    "no chains": (["--chains", "-1"], "--chains must be at least 1; got -1"),
    "no epochs": (["--model", "vae", "--epochs", "0"], "--epochs must be positive"),
    "no place": (["--steps", "1", "--plot", "/nowhere/at/all.png"], "the folder /nowhere/at does not exist"),
    "no format": (["--steps", "1", "--plot", "fit.xyz"], "xyz"),
}


@pytest.mark.parametrize(("arguments", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_in_words(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("svijax: ")
    assert words in captured.err
    assert captured.out == ""  # said before the fit


NEEDS = [
    ("sklearn", ["--model", "logistic"]),
    ("sklearn", ["--model", "vae"]),
    ("matplotlib", ["--plot", "fit.png"]),
]


@pytest.mark.parametrize(("package", "arguments"), NEEDS)
def test_a_missing_package_is_named_with_the_remedy(
    package: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (package, {"sklearn": "sklearn.datasets", "matplotlib": "matplotlib.figure"}[package]):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert "not installed" in captured.err
    assert "pip install 'svijax[examples]'" in captured.err
    assert captured.out == ""
