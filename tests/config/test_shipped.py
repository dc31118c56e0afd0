"""Configurations by name: a path wins, a name that ships is found anywhere, a misspelt one says which is near."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from jaxreason import config
from jaxreason.cli import main
from jaxreason.config import shipped

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A working directory outside the checkout."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["quickstart", "quickstart.yaml"])
def test_a_name_is_found_from_anywhere(elsewhere, name):
    assert shipped.find(name).samefile(CONFIGS / "quickstart.yaml")


def test_a_file_of_that_name_wins(elsewhere):
    (elsewhere / "quickstart.yaml").write_text("run:\n  max_steps: 7\n")
    assert config.load(shipped.find("quickstart.yaml")).run.max_steps == 7
    assert shipped.find("quickstart").samefile(CONFIGS / "quickstart.yaml")


def test_a_folder_of_that_name_does_not(elsewhere):
    """The folder of a run may have the name of its configuration."""
    (elsewhere / "quickstart").mkdir()
    assert shipped.find("quickstart").samefile(CONFIGS / "quickstart.yaml")


def test_every_file_ships():
    assert shipped.names() == sorted(file.stem for file in CONFIGS.iterdir())


@pytest.mark.parametrize(
    ("command", "rest"), [("train", []), ("compare", []), ("plan", ["--topology=v5e:2x2"])], ids=lambda v: str(v)
)
@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("quikstart", "did you mean quickstart"),
        ("quikstart.yaml", "did you mean quickstart"),
        ("somewhere/tiny.yaml", "did you mean tiny"),  # a path is not taken for a name
        ("zzz", "the name of one that ships: colab_qwen3_0.6b, compare_arithmetic"),
    ],
)
def test_a_misspelt_name_is_one_line_with_the_nearest(elsewhere, capsys, command, rest, given, named):
    assert main([command, given, *rest]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"jaxreason: error: {given}: no such configuration file")
    assert named in line


def test_a_wheel_has_every_file_where_it_is_looked_for(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=CONFIGS.parent, check=True, capture_output=True)
    (wheel,) = tmp_path.iterdir()
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".yaml")}
    assert held == {f"jaxreason/configs/{file.name}" for file in CONFIGS.iterdir()}


def test_in_a_wheel_the_package_holds_them(tmp_path, monkeypatch):
    """The folder inside the package comes first: a `configs` beside site-packages is somebody else's."""
    inside, beside = tmp_path / "jaxreason" / "configs", tmp_path / "configs"
    for place in (inside, beside):
        place.mkdir(parents=True)
    (inside / "own.yaml").touch()
    (beside / "foreign.yaml").touch()
    monkeypatch.setattr(shipped, "FOLDERS", (inside, beside))
    assert shipped.names() == ["own"]


def test_without_any_the_path_is_still_named(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDERS", (tmp_path / "none",))
    with pytest.raises(ValueError, match=r"quickstart: no such configuration file.* expected a YAML file$"):
        shipped.find("quickstart")
