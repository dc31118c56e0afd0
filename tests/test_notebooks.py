"""The notebooks: text and notebook are the same, run from top to bottom, and show what they compute today."""

import base64
import json
import os
import shlex
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests import runs
from tests.released import write_checkpoint

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


def _frames(notebook) -> list[str]:
    """Pages inside the page; each stands in a frame that runs nothing."""
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    frames = [out.data["text/html"] for out in outputs if "text/html" in out.get("data", {})]
    assert all("<iframe sandbox srcdoc=" in frame for frame in frames)
    return frames


def test_there_are_notebooks():
    """Catches a moved folder, with which every test below would pass by having no cases."""
    assert NAMES == ["colab_released_model", "own_reward", "reward_inspection", "run_tour"]


@pytest.mark.parametrize("name", NAMES)
def test_text_and_notebook_are_one(name):
    """Catches an edit of one of the two files only; `make notebooks` writes the notebook from the text."""
    text, notebook = jupytext.read(FOLDER / f"{name}.py"), _committed(name)
    assert [(c.cell_type, c.source) for c in text.cells] == [(c.cell_type, c.source) for c in notebook.cells]
    assert notebook.metadata["kernelspec"]["name"] == "python3"


@pytest.mark.parametrize("name", sorted({*NAMES} - {"reward_inspection"}))
def test_nothing_of_a_run_is_committed(name):
    """Catches outputs with somebody's paths, times and machine; only the one that never changes is shown executed."""
    for cell in _committed(name).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


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
    frames = _frames(found)
    assert len(frames) == 4
    assert "&lt;ol class=&quot;chunks&quot;&gt;" in frames[-1]


def test_run_tour_says_what_is_missing(tmp_path, monkeypatch):
    """Catches a traceback, or empty plots, where there is no run yet."""
    with pytest.raises(CellExecutionError, match=r"expected the folder of a run.*make demo"):
        _executed("run_tour", monkeypatch, RUN=str(tmp_path / "none"))


def test_own_reward_trains_with_what_it_wrote(tmp_path_factory, tmp_path, monkeypatch):
    """Catches an example that the trainer no longer calls, pays or logs as the notebook says."""
    run = runs.begin(runs.warm(tmp_path_factory), tmp_path / "run")
    settings = shlex.join([runs.NO_CACHE, runs.ONE_DEVICE])
    found = _executed("own_reward", monkeypatch, FOLDER=str(tmp_path), STEPS="2", SETTINGS=settings)
    printed = "".join(_printed(found))
    assert "near:       [1.0, 1.0, 0.6666666666666667, None]" in printed
    assert "no_fillers: [0.0, -0.5, 0.0, -0.75]" in printed
    assert "all three hold" in printed
    assert "\x1b" not in printed, "colours for a terminal in a notebook"
    assert len(_pictures(found)) == 3
    assert len(_frames(found)) == 1
    rows = runs.rows(run)
    assert [row["step"] for row in rows] == [1, 2]
    samples = [json.loads(line) for line in (run / "samples" / "step_000002.jsonl").read_text().splitlines()]
    assert len({row["doc"]["question"] for row in samples}) > 1
    for row in samples:
        functions = sum(0.5 * value for value in row["reward_funcs"].values() if value is not None)
        cost = (row["exact_match"] + functions - row["rewards"]["reason"]) / 0.3
        # The answer's four tokens, `\boxed{`, the digit, `}` and the end, are not charged where they are there.
        most, least = (max(0.0, (n / 48 - 0.25) / 0.75) ** 2 for n in (row["n_tokens"], row["n_tokens"] - 4))
        assert least - 1e-4 <= cost <= most + 1e-4
    assert {door["name"] for door in json.loads((run / "doors.json").read_text())["doors"]} == {
        "allowance", "consistent", "near", "no_fillers",
    }  # fmt: skip


def _sums(folder: Path) -> Path:
    """A data set in GSM8K's form."""
    data = folder / "sums"
    data.mkdir()
    for part, first in (("train", 1), ("test", 100)):
        rows = [{"question": f"{n}+{n}?", "answer": f"{n}+{n}={2 * n}\n#### {2 * n}"} for n in range(first, first + 8)]
        (data / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return data


def test_colab_released_model_goes_the_whole_way(tmp_path, monkeypatch):
    """Catches a command, a file or a flag that the notebook names and the program no longer has, a step that fails
    without ending the notebook, and an exported folder that transformers cannot open."""
    checkpoint = write_checkpoint(tmp_path / "qwen3", "qwen3", num_hidden_layers=1)
    settings = [
        *(runs.NO_CACHE, runs.ONE_DEVICE, "--data.prompts_per_step=4", "--sampling.num_generations=4"),
        *(
            "--data.max_prompt_length=80",
            "--agents.max_chunks=16",
            "--grpo.row_length=640",
            "--grpo.micro_batch_rows=4",
        ),
    ]
    small = {"STEPS": "2", "LENGTH": "16", "PROBLEMS": "4", "HELD_OUT": "4", "SETTINGS": shlex.join(settings)}
    folder = tmp_path / "work"
    found = _executed(
        "colab_released_model",
        monkeypatch,
        MODEL=str(checkpoint),
        DATA=str(_sums(tmp_path)),
        FOLDER=str(folder),
        **small,
    )
    printed = "".join(_printed(found))
    for said in ("read as GSM8K", "of 4 problems are solved sometimes", "train 2/2", "model card"):
        assert said in printed
    assert "\x1b" not in printed
    assert len(_frames(found)) == 3
    shown = [out for cell in found.cells for out in cell.get("outputs", []) if out.output_type == "display_data"]
    curves = [out for out in shown if "image/png" in out.data]
    assert len(curves) == 2, "the problems by pass rate, and the curves in place of the line that stood for them"
    assert "kept.jsonl" in next(out.data["text/markdown"] for out in shown if "text/markdown" in out.data)
    assert "<|im_start|>user\n100+100?" in printed
    assert [row["step"] for row in runs.rows(folder / "run")] == [1, 2]
    assert (folder / "model" / "model.safetensors").is_file()


def test_colab_released_model_stops_where_a_command_fails(tmp_path, monkeypatch):
    """Catches a notebook that goes on, and shows nothing or older results, after an error."""
    (tmp_path / "train.jsonl").write_text("no problems\n")
    with pytest.raises(CellExecutionError, match="jaxreason data ended with code 2"):
        _executed("colab_released_model", monkeypatch, DATA=str(tmp_path), FOLDER=str(tmp_path / "work"))


def test_first_cell_leaves_an_installation_alone():
    """Catches a package installed over the user's own: only Colab without the package installs."""
    for name in NAMES:
        cell = next(c for c in _committed(name).cells if c.cell_type == "code")
        assert 'if "google.colab" in sys.modules and' in cell.source
        assert "google.colab" not in sys.modules
        exec(compile(cell.source, name, "exec"), {})
