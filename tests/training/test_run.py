import csv
import re
import signal
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from tdafd_cli.cli import app
from tdafd_cli.commands.train import _print_sometimes
from tdafd_cli.training.loop import Progress
from tdafd_cli.training.recipe import read_recipe
from tdafd_cli.training.run import GENERIC, config_of_run
from tdafd_cli.weights.store import load_weights

REPOSITORY = Path(__file__).parents[2]
RECIPE = """
steps = 3
validate_every = 2

[network]
channels = 8
modules = 2
attention_channels = 4
token_channels = 8

[dataset]
patch = 16
batch = 1
pool = 2
steps_per_pair = 2
"""


@pytest.fixture
def folder(tmp_path):
    """Two training volumes, one validation volume and a recipe of a tiny network."""
    for number, name in enumerate(
        ("training/a.nii.gz", "training/deep/b.nii", "held_out/c.nii.gz")
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in (52, 51, 50)), indexing="ij")
        radius = np.sqrt(sum(x**2 for x in axes))
        data = (np.cos((5 + number) * radius) + 1.5) * (radius < 0.8) * 100
        nib.save(nib.Nifti1Image(data.astype(np.int16), np.eye(4)), path)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path


def train(folder, *options):
    return without_recipe(folder, "--recipe", str(folder / "recipe.toml"), *options)


def without_recipe(folder, *options):
    arguments = ["train", "--data", str(folder / "training"), "--output", str(folder / "run")]
    arguments += ["--device", "cpu", *options]
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_can_be_used_and_resumed(folder):
    stopped = train(folder, "--minutes", "0", "--precision", "fp32")
    assert stopped.exit_code == 0, stopped.stderr
    assert "step 1 of 3" in stopped.stdout
    run = folder / "run"
    done = train(
        folder, "--validation", str(folder / "held_out"), "--resume", "--precision", "fp32"
    )
    assert done.exit_code == 0, done.stderr
    assert "step 3 of 3 (over the best interpolation: kspace" in done.stdout
    assert {path.name for path in run.iterdir()} == {
        "checkpoint.pt",
        "log.csv",
        "recipe.toml",
        "validation.csv",
        "weights.safetensors",
    }
    assert [row["step"] for row in rows(run / "validation.csv")] == ["2"] * 3 + ["3"] * 3
    assert read_recipe(run / "recipe.toml") == read_recipe(folder / "recipe.toml")
    weights = load_weights(run / "weights.safetensors")
    assert weights.metadata["step"] == 3
    assert weights.metadata["validation_gains_db"].keys() == {"kspace", "gaussian", "average"}


def test_options_override_the_recipe(folder):
    result = train(folder, "--steps", "1", "--scale", "3", "--seed", "5", "--quiet")
    assert result.exit_code == 0, result.stderr
    assert result.output == ""
    config = read_recipe(folder / "run" / "recipe.toml")
    assert (config.steps, config.network.scale, config.seed) == (1, 3, 5)


def test_training_starts_from_other_weights(folder):
    train(folder, "--steps", "1")
    weights = str(folder / "run" / "weights.safetensors")
    (folder / "run").rename(folder / "first")
    weights = str(folder / "first" / "weights.safetensors")
    result = train(folder, "--steps", "1", "--scale", "3", "--init", weights)
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--validation", "{folder}/training/a.nii.gz"], "in both training and validation"),
        (["--validation", "{folder}/nowhere"], "no such file or folder to validate on"),
        (["--init", "tdafd-x9"], "tdafd-x9"),
        (["--resume"], "no checkpoint"),
        (["--recipe", "{folder}/none.toml"], "cannot read the recipe"),
        (["--device", "cuda:77"], "cuda:77"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(folder, options, message):
    result = train(folder, *(option.format(folder=folder) for option in options))
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert not (folder / "run").exists()


def test_a_run_stops_at_the_step_asked_for(folder):
    stopped = train(folder, "--until", "2")
    assert "step 2 of 3" in stopped.stdout
    assert "step 3 of 3" in train(folder, "--resume").stdout


def test_a_run_is_not_overwritten(folder):
    train(folder, "--steps", "1")
    again = train(folder, "--steps", "1")
    assert again.exit_code == 1
    assert "holds a run already" in again.stderr


def test_more_processes_than_the_batch_can_be_shared_by_are_refused_before_any_loading(
    folder, monkeypatch
):
    for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "4")):
        monkeypatch.setenv(name, value)
    result = train(folder, "--data", str(folder / "nowhere"))
    assert result.exit_code == 1
    assert result.stderr == (
        "error: batch 1 cannot be shared equally by 4 processes; make batch under [dataset] in the "
        "recipe a multiple of 4, or start fewer processes\n"
    )


def test_the_readmes_processes_share_the_batch_of_every_recipe_it_leads_to():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    processes = int(re.search(r"--nproc-per-node (\d+)", readme)[1])
    recipes = [GENERIC, *(REPOSITORY / "weights" / "recipes").glob("*.toml")]
    assert all(read_recipe(recipe).dataset.batch % processes == 0 for recipe in recipes)


def test_a_resumed_run_goes_on_with_its_own_recipe(folder):
    train(folder, "--until", "1", "--seed", "5")
    recipe = (folder / "run" / "recipe.toml").read_bytes()
    resumed = without_recipe(folder, "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    assert "step 3 of 3" in resumed.stdout
    assert (folder / "run" / "recipe.toml").read_bytes() == recipe
    assert load_weights(folder / "run" / "weights.safetensors").metadata["seed"] == 5


def test_a_run_is_resumed_with_another_recipe_only_if_told(folder):
    train(folder, "--until", "1")
    recipe = (folder / "run" / "recipe.toml").read_bytes()
    (folder / "recipe.toml").write_text("learning_rate = 0.5\n" + RECIPE.replace("l = 2", "l = 4"))
    refused = train(folder, "--resume", "--steps", "2")
    assert refused.exit_code == 1
    assert refused.stderr == (
        f"error: {folder / 'run' / 'recipe.toml'}: the run began with other settings "
        "(dataset.pool, learning_rate, steps); resume without --recipe, or add --change-recipe to "
        "go on with these\n"
    )
    assert (folder / "run" / "recipe.toml").read_bytes() == recipe
    changed = train(folder, "--resume", "--steps", "2", "--change-recipe")
    assert changed.exit_code == 0, changed.stderr
    assert "step 2 of 2" in changed.stdout
    assert read_recipe(folder / "run" / "recipe.toml").learning_rate == 0.5


def test_threads_that_prepare_volumes_are_no_other_recipe(folder):
    train(folder, "--until", "1")
    resumed = without_recipe(folder, "--resume", "--workers", "1")
    assert resumed.exit_code == 0, resumed.stderr


def test_nothing_to_resume_is_told_before_any_loading(folder):
    result = without_recipe(folder, "--data", str(folder / "nowhere"), "--resume")
    assert result.exit_code == 1
    assert "checkpoint.pt: no checkpoint to resume from; start without --resume" in result.stderr
    assert not (folder / "run").exists()


def test_without_a_recipe_the_generic_one_is_taken(folder):
    config = config_of_run(None, folder / "run", resume=False)
    (source,) = config.dataset.sources
    assert (source.pattern, source.sizes_mm) == ("**/*", ())
    assert config.network == load_weights("tdafd-x2").config  # so that --init fits


def test_ctrl_c_keeps_the_step_that_was_done(folder, monkeypatch):
    from tdafd_cli.training import loop

    take_step = loop.take_step

    def interrupted(state, *arguments):
        if state.step == 1:
            signal.raise_signal(signal.SIGINT)
        return take_step(state, *arguments)

    monkeypatch.setattr(loop, "take_step", interrupted)
    before = signal.getsignal(signal.SIGINT)
    result = train(folder)
    assert result.exit_code == 130
    note, error = result.stderr.splitlines()[-2:]
    assert note == "note: stopping after this step; once more stops at once"
    assert error == "error: interrupted after step 2, which is kept; go on with --resume"
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.undo()
    assert "step 3 of 3" in train(folder, "--resume").stdout


def test_lines_of_training_fit_80_columns(capsys):
    gains = {"kspace": 11.81, "gaussian": 15.35, "average": 12.6}
    _print_sometimes(Progress(149_900, 150_000, 0.012345, 1e-3, 1_234_567.0, gains))
    line = capsys.readouterr().err
    assert line.startswith("step 149900 of 150000, loss 0.01235, 1234567 s, gains +11.81 +15.35 ")
    assert len(line.rstrip()) <= 80


@pytest.mark.parametrize("scale", ["5", "3"])
def test_a_scale_that_does_not_fit_the_recipe_is_told_in_one_line(folder, scale):
    recipe = folder / "recipe.toml"
    recipe.write_text(f"further_scales = [3]\n{recipe.read_text()}")
    result = train(folder, "--scale", scale)
    assert result.exit_code == 1
    assert f"--scale {scale} does not fit the recipe" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (folder / "run").exists()


def test_volumes_too_short_for_a_factor_are_told(folder):
    recipe = folder / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("[network]", "[network]\naxes = 1\nscale = 4"))
    result = train(folder)
    assert result.exit_code == 1
    assert "no volume is sharp and long enough for 1x1x4" in result.stderr
    assert "64 voxels along an axis" in result.stderr
