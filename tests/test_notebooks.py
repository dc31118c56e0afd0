"""The notebooks: text and notebook are the same, run from top to bottom, and show what they compute today."""

import base64
import os
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests import runs

pytestmark = pytest.mark.slow

FOLDER = runs.ROOT / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))
COLAB = "https://colab.research.google.com/github/jaxreason/jaxreason/blob/main/notebooks"
LARGEST = 400_000
"""Bytes of a committed notebook with its pictures."""


def _committed(name: str):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def _executed(name: str, monkeypatch, **variables: str):
    """A notebook run in a kernel of this interpreter, from its own folder as Jupyter does, on this working tree."""
    paths = [str(runs.ROOT), os.environ.get("PYTHONPATH", "")]
    for key, value in ({"PYTHONPATH": os.pathsep.join(filter(None, paths))} | variables).items():
        monkeypatch.setenv(key, value)
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    notebook = _committed(name)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(FOLDER)}}).execute()
    return notebook


def _printed(notebook) -> list[str]:
    """What each code cell wrote to the screen."""
    return [
        "".join(out.text for out in cell.outputs if out.output_type == "stream" and out.name == "stdout")
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def _pictures(notebook) -> list[bytes]:
    found = [
        out.data["image/png"]
        for cell in notebook.cells
        for out in cell.get("outputs", [])
        if out.output_type == "display_data" and "image/png" in out.data
    ]
    return [base64.b64decode(picture) for picture in found]


def test_there_are_notebooks():
    """Catches a moved folder, with which every test below would pass by having no cases."""
    assert NAMES == ["reward_inspection", "run_tour"]


@pytest.mark.parametrize("name", NAMES)
def test_text_and_notebook_are_one(name):
    """Catches an edit of one of the two files only; `make notebooks` writes the notebook from the text."""
    text, notebook = jupytext.read(FOLDER / f"{name}.py"), _committed(name)
    assert [(c.cell_type, c.source) for c in text.cells] == [(c.cell_type, c.source) for c in notebook.cells]
    assert notebook.metadata["kernelspec"]["name"] == "python3"


@pytest.mark.parametrize("name", NAMES)
def test_opens_in_colab_and_is_light(name):
    """Catches a badge that opens another notebook, and outputs that bloat the repository."""
    assert f"{COLAB}/{name}.ipynb" in _committed(name).cells[0].source
    assert (FOLDER / f"{name}.ipynb").stat().st_size < LARGEST


def test_reward_inspection_shows_what_it_computes(monkeypatch):
    """Catches a notebook that no longer runs, whose own comparisons of hand and function fail, or whose committed
    figures are of an older reward."""
    committed, now = _committed("reward_inspection"), _executed("reward_inspection", monkeypatch)
    assert _printed(now) == _printed(committed)
    assert len(_pictures(now)) == len(_pictures(committed)) == 8
    assert all(picture.startswith(b"\x89PNG") for picture in _pictures(committed))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A small run of the real thing."""
    warm = runs.warm(tmp_path_factory)

    def make(folder: Path) -> None:
        assert runs.train(runs.begin(warm, folder), "--run.max_steps=2") == 0

    return runs.shared(tmp_path_factory, "toured", make)


def test_run_tour_reads_a_run(run, monkeypatch):
    """Catches a file of the run folder that the notebook no longer finds, and a reward it no longer reproduces."""
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    found = _executed("run_tour", monkeypatch, RUN=str(run))
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    printed = "".join(_printed(found))
    assert "reason/ accuracy" in printed
    by_hand, by_trainer = (printed.split(mark, 1)[1].split("\n", 1)[0] for mark in ("step 2: R =", "the trainer's: "))
    assert float(by_hand.rsplit("=", 1)[1]) == pytest.approx(float(by_trainer), abs=1e-4)
    assert len(_pictures(found)) == 1
    outputs = [out for cell in found.cells for out in cell.get("outputs", [])]
    frames = [out.data["text/html"] for out in outputs if "text/html" in out.get("data", {})]
    assert len(frames) == 4
    assert all("<iframe sandbox srcdoc=" in frame for frame in frames)
    assert "&lt;ol class=&quot;chunks&quot;&gt;" in frames[-1]


def test_run_tour_says_what_is_missing(tmp_path, monkeypatch):
    """Catches a traceback, or empty plots, where there is no run yet."""
    with pytest.raises(CellExecutionError, match=r"expected the folder of a run.*make demo"):
        _executed("run_tour", monkeypatch, RUN=str(tmp_path / "none"))


def test_first_cell_leaves_an_installation_alone():
    """Catches a package installed over the user's own: only Colab without the package installs."""
    for name in NAMES:
        cell = next(c for c in _committed(name).cells if c.cell_type == "code")
        assert 'if "google.colab" in sys.modules and' in cell.source
        assert "google.colab" not in sys.modules
        exec(compile(cell.source, name, "exec"), {})
