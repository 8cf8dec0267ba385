import pytest

from tdafd_cli.configuration import read_toml
from tdafd_cli.errors import RecipeError, WeightsError


def test_values_are_read_as_utf8(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_bytes('place = "Zürich"\n[table]\nsizes = [1, 2.5]\n'.encode())
    assert read_toml(path, "recipe", RecipeError) == {
        "place": "Zürich",
        "table": {"sizes": [1, 2.5]},
    }


@pytest.mark.parametrize("content", [b"steps = ", b"\xff", b"a = 1\na = 2"])
def test_what_is_not_toml_is_one_line_that_names_the_file(tmp_path, content):
    path = tmp_path / "recipe.toml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"recipe\.toml: not TOML: ") as caught:
        read_toml(path, "recipe", RecipeError)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_told_with_what_it_should_be(tmp_path):
    with pytest.raises(WeightsError, match=r"r\.toml: cannot read the registry: No such file"):
        read_toml(tmp_path / "r.toml", "registry", WeightsError)
