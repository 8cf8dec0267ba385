import errno
import os
from pathlib import Path

import pytest

from tdafd_cli.errors import OutputError, RecipeError
from tdafd_cli.training.dataset import DatasetSettings
from tdafd_cli.training.recipe import config_from, read_recipe, write_recipe
from tdafd_cli.training.settings import TrainingConfig
from tdafd_cli.training.volumes import Source

RECIPES = sorted((Path(__file__).parents[2] / "weights" / "recipes").glob("*.toml"))


def test_a_recipe_survives_a_round_trip(tmp_path):
    config = TrainingConfig(
        steps=7, dataset=DatasetSettings(sources=(Source("a/*", 2.0, (0.0, 1.5)), Source()))
    )
    write_recipe(tmp_path / "recipe.toml", config)
    assert read_recipe(tmp_path / "recipe.toml") == config


def test_a_recipe_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "recipe.toml"
    write_recipe(path, TrainingConfig(steps=7))
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match="No space left on device; free some space"):
        write_recipe(path, TrainingConfig(steps=8))
    assert read_recipe(path) == TrainingConfig(steps=7)
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_missing_takes_its_default():
    assert config_from({"steps": 3, "learning_rate": 1}) == TrainingConfig(
        steps=3, learning_rate=1.0
    )


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_are_whole(path):
    assert read_recipe(path).dataset.sources != DatasetSettings().sources


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps = ", "not TOML"),
        ("depth = 3", "depth"),
        ("[network]\nscale = 5", "scale must be one of"),
        ("steps = 'many'", "steps"),
        ("[dataset]\npatch = 20", "not a multiple"),
    ],
)
def test_a_wrong_recipe_is_told_in_one_line(tmp_path, text, message):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message) as error:
        read_recipe(path)
    assert "\n" not in str(error.value)


def test_a_missing_recipe_is_told(tmp_path):
    with pytest.raises(RecipeError, match="cannot read the recipe"):
        read_recipe(tmp_path / "none.toml")
