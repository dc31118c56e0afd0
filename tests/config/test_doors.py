"""Loading a user's own Python by its name, and what is printed where it cannot be loaded."""

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from jaxreason.config import doors

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory, with the search path as it was afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_a_file_is_loaded_once_with_where_it_came_from(here):
    text = "import dataclasses\n\n@dataclasses.dataclass\nclass A:\n    x: int = 3\n\nmade = []\nother = 5\n"
    Path("mine.py").write_text(text)
    door = doors.load("mine.py:made", "reward.reward_funcs")
    assert (door.name, door.file, door.value) == ("made", (here / "mine.py").resolve(), [])
    assert door.fingerprint == hashlib.sha256(text.encode()).hexdigest()
    door.value.append(1)
    again = doors.load(f"{here}/mine.py:made", "data.task")
    assert again.value is door.value
    assert again.field == "data.task"
    assert doors.load("./mine.py:A", "f").value().x == 3


def test_the_fingerprint_is_that_of_the_code_that_was_loaded(here):
    Path("kept.py").write_text("a = 1\n")
    before = doors.load("kept.py:a", "f").fingerprint
    Path("kept.py").write_text("a = 2\n")
    after = doors.load("kept.py:a", "f")
    assert after.value == 1
    assert after.fingerprint == before


def test_a_module_is_found_in_the_working_directory(here):
    (here / "mypackage").mkdir()
    Path("mypackage/__init__.py").write_text("")
    Path("mypackage/rewards.py").write_text("def length(): return 7\n")
    door = doors.load("mypackage.rewards:length", "f")
    assert door.value() == 7
    assert door.file == (here / "mypackage/rewards.py").resolve()
    assert door.spelling == "mypackage.rewards:length"


def test_a_file_imports_what_lies_beside_it_and_hides_nothing_installed(here):
    (here / "sub").mkdir()
    Path("sub/beside_it.py").write_text("k = 4\n")
    Path("sub/json.py").write_text("raise RuntimeError('hid the standard library')\n")
    Path("sub/uses.py").write_text("import json\nfrom beside_it import k\nv = json.dumps(k)\n")
    assert doors.load("sub/uses.py:v", "f").value == "4"


def test_another_process_loads_it_by_the_recorded_spelling_without_jax(here):
    Path("far.py").write_text("v = 'found'\n")
    spelling = doors.load("far.py:v", "f").spelling
    code = (
        "import sys; from jaxreason.config import doors\n"
        f"print(doors.load({spelling!r}, 'f').value, 'jax' in sys.modules)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code],
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed.split() == ["found", "False"]


def test_a_file_beside_the_configuration_is_found(here):
    (here / "configs").mkdir()
    Path("configs/r.py").write_text("")
    Path("both.py").write_text("")
    Path("configs/both.py").write_text("")
    folder = Path("configs")
    assert doors.beside("r.py:f", folder) == "configs/r.py:f"
    assert doors.beside("both.py:f", folder) == "both.py:f"  # the working directory comes first
    assert doors.beside("none.py:f", folder) == "none.py:f"
    assert doors.beside("some.module:f", folder) == "some.module:f"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("good", ["expected `package.module:name` or `path/file.py:name`, got 'good'"]),
        (":f", ["expected `package.module:name`", "got ':f'"]),
        ("good.py:", ["expected `package.module:name`"]),
        ("good.py:1f", ["expected `package.module:name`"]),
        ("good.py:f()", ["expected `package.module:name`"]),
        ("a b:f", ["expected `package.module:name`"]),
        ("absent.py:f", ["no such file", "absent.py", "relative to the working directory"]),
        (".:f", ["expected `package.module:name`"]),
        ("./:f", ["no such file"]),
        ("good.py:lenght", ["good.py has no 'lenght'", "nearest: length"]),
        ("good.py:zzz", ["good.py has no 'zzz'", "it defines length"]),
        ("empty.py:zzz", ["it defines nothing"]),
        ("no_such_module_at_all:f", ["no module 'no_such_module_at_all'", "spelled path/file.py:name"]),
        ("json.no_such_part:f", ["no module 'json.no_such_part'"]),
        ("json.decoder.deeper:f", ["no module 'json.decoder.deeper'"]),
        ("sys:path", ["module 'sys' has no source file"]),
        ("text.txt/x:f", ["no such file"]),
    ],
)
def test_a_name_that_cannot_be_loaded_is_refused_in_a_line(here, name, parts):
    Path("good.py").write_text("import json\n\ndef length(): pass\n")
    Path("empty.py").write_text("")
    with pytest.raises(doors.DoorError) as refused:
        doors.load(name, "reward.reward_funcs")
    line = str(refused.value)
    assert line.startswith("reward.reward_funcs: ")
    assert "\n" not in line
    for part in parts:
        assert part in line
    assert not refused.value.traceback


@pytest.mark.parametrize("spelling", ["broken.py:f", "broken:f"])
def test_an_import_that_raises_shows_the_users_frames_alone(here, spelling):
    Path("broken.py").write_text("def inner():\n    return {}['missing key']\n\nf = inner()\n")
    for _ in range(2):  # it is not remembered half made
        with pytest.raises(doors.DoorError) as refused:
            doors.load(spelling, "data.task")
        line, frames = str(refused.value), refused.value.traceback
        assert line.startswith("data.task: broken")
        assert line.endswith("importing it raised KeyError: 'missing key'")
        assert str(here / "broken.py") in line
        assert "f = inner()" in frames
        assert "line 2, in inner" in frames
        assert "doors.py" not in frames
        assert "importlib" not in frames
    Path("broken.py").write_text("f = 8\n")
    os.utime("broken.py", (1, 1))  # not the one whose bytecode is kept
    assert doors.load("broken.py:f", "data.task").value == 8


def test_a_syntax_error_shows_its_place(here):
    Path("wrong.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(doors.DoorError) as refused:
        doors.load("wrong.py:f", "data.task")
    assert "importing it raised SyntaxError" in str(refused.value)
    assert "line 2" in refused.value.traceback
    assert "def f(:" in refused.value.traceback


def test_a_missing_package_inside_a_module_is_the_modules_mistake(here):
    Path("needs.py").write_text("import surely_not_installed\n")
    for spelling in ("needs.py:f", "needs:f"):
        with pytest.raises(doors.DoorError, match="raised ModuleNotFoundError: No module named 'surely_not_installed'"):
            doors.load(spelling, "data.task")


def test_a_refusal_survives_being_sent_to_another_process():
    sent = pickle.loads(pickle.dumps(doors.DoorError("a line", "the frames")))
    assert (str(sent), sent.traceback) == ("a line", "the frames")
