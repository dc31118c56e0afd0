"""The file of a comparison: which cells it makes, and one line for each mistake in it."""

from pathlib import Path

import pytest

from jaxreason.compare.grid import load_grid, select
from jaxreason.compare.run import start_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
GOOD = f"""
experiment: {ROOT}/configs/tiny.yaml
seeds: [0, 1]
alphas: [0.5, 2]
methods:
  base: {{run.max_steps: 0}}
  lp: {{reward.preset: lp}}
"""


def _file(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def test_cells(tmp_path):
    """By seed; alphas for the methods that pay for length only; each a whole configuration of its own."""
    grid = load_grid(_file(tmp_path, GOOD), ["--run.max_steps=3"], tmp_path / "out")
    names = [cell.name for cell in grid.cells]
    assert names == [f"{m}-seed{s}" for s in (0, 1) for m in ("base", "lp-alpha0.5", "lp-alpha2")]
    base, lp = grid.cells[0].config, grid.cells[5].config
    assert (base.run.max_steps, lp.run.max_steps) == (0, 3)
    assert (lp.run.seed, lp.reward.alpha, lp.reward.preset) == (1, 2.0, "lp")
    assert grid.cells[5].folder == tmp_path / "out" / "cells" / "lp-alpha2-seed1"


def test_settings_of_the_file_stand_under_the_command_line_and_the_method(tmp_path):
    """Catches an order that lets a file's own settings win over what was typed, or reach a method that sets them."""
    path = _file(tmp_path, GOOD + "settings: {run.max_steps: 3, optimizer.warmup_steps: 2}\n")
    base, lp = load_grid(path, [], tmp_path / "out").cells[:2]
    assert (base.config.run.max_steps, lp.config.run.max_steps, lp.config.optimizer.warmup_steps) == (0, 3, 2)
    assert load_grid(path, ["--run.max_steps=4"], tmp_path / "out").cells[1].config.run.max_steps == 4


def test_the_comparison_that_ships():
    """315 runs, and one start a seed for all but who plays the helpers: others would be compared from elsewhere."""
    grid = load_grid(ROOT / "configs" / "compare_arithmetic.yaml")
    assert len(grid.cells) == 5 * (3 + 10 * 6)
    assert {cell.config.run.max_steps for cell in grid.cells if cell.method != "base"} == {90}
    starts = {
        name: {start_of(c.config) for c in grid.cells if c.method == name} for name in {c.method for c in grid.cells}
    }
    own = {"separate", "separate_frozen", "single_pass"}
    assert len(set().union(*(found for name, found in starts.items() if name not in own))) == 5
    assert starts["separate"] == starts["separate_frozen"]
    assert len(starts["separate"] | starts["single_pass"] | starts["base"]) == 15
    assert len({cell.folder for cell in grid.cells}) == len(grid.cells)


def test_the_gates_are_compared_from_the_same_starts():
    """Or a difference between the two comparisons could be one between their starts."""
    gate, plain = (load_grid(ROOT / "configs" / f"compare_{name}.yaml") for name in ("gate", "arithmetic"))
    assert {cell.config.reward.gate for cell in gate.cells} == {"correct"}
    shared = {cell.seed for cell in plain.cells}
    assert {start_of(c.config) for c in gate.cells if c.seed in shared} < {start_of(c.config) for c in plain.cells}


def test_a_start_is_shared_only_where_nothing_that_makes_it_differs(tmp_path):
    text = GOOD + "  wide: {model.hidden_size: 64}\n  cut: {reward.require_eos: false}\n"
    grid = load_grid(_file(tmp_path, text), [], tmp_path / "out")
    starts = {cell.name: start_of(cell.config) for cell in grid.cells if cell.seed == 0}
    assert starts["base-seed0"] == starts["lp-alpha2-seed0"]
    assert len(set(starts.values())) == 3


@pytest.mark.parametrize(
    ("only", "names"),
    [
        (["method=lp,alpha=2"], ["lp-alpha2-seed0", "lp-alpha2-seed1"]),
        (["alpha=2.0", "seed=1"], ["lp-alpha2-seed1"]),
        (["method=base,method=lp,seed=0"], ["base-seed0", "lp-alpha0.5-seed0", "lp-alpha2-seed0"]),
    ],
)
def test_only(tmp_path, only, names):
    grid = load_grid(_file(tmp_path, GOOD), [], tmp_path / "out")
    assert [cell.name for cell in select(grid, only).cells] == names


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ("method=scam", "--only: no cell has method=scam; there are base, lp"),
        ("alpha=3", "--only: no cell has alpha=3; there are 0.5, 2"),
        ("alpha=x", "--only: expected a number for alpha, got x"),
        ("method", "--only: expected method=, alpha= or seed= with a value, separated by commas, got method"),
        ("metod=lp", "--only: expected method=, alpha= or seed= with a value"),
        ("method=base,alpha=2", "--only=method=base,alpha=2: no cell is all of this"),
    ],
)
def test_a_bad_selection(tmp_path, only, message):
    with pytest.raises(ValueError) as caught:
        select(load_grid(_file(tmp_path, GOOD), [], tmp_path / "out"), [only])
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds:", "sedes:", "mine.yaml: sedes: no such key; did you mean seeds?"),
        (
            "seeds: [0, 1]",
            "seeds: [0, 0]",
            "seeds: expected a list of different whole numbers of at least 0, got [0, 0]",
        ),
        ("seeds: [0, 1]", "seeds: 3", "seeds: expected a list of different whole numbers of at least 0, got 3"),
        (
            "seeds: [0, 1]",
            "seeds: [0.5]",
            "seeds: expected a list of different whole numbers of at least 0, got 0.5 in it",
        ),
        ("seeds: [0, 1]", "", "mine.yaml: seeds: expected a value, got nothing"),
        ("alphas: [0.5, 2]", "", "alphas: expected at least one number, for the methods that pay for length, got none"),
        (
            "alphas: [0.5, 2]",
            "alphas: [-1]",
            "alphas: expected a list of different numbers of at least 0, got -1 in it",
        ),
        ("{reward.preset: lp}", "{reward.preset: pl}", "methods.lp: reward.preset: expected one of scma"),
        (
            "{reward.preset: lp}",
            "{reward.presets: lp}",
            "methods.lp: reward.presets: no such configuration key; did you",
        ),
        ("{reward.preset: lp}", "{reward.alpha: 1}", "methods.lp: reward.alpha: comes from alphas of the comparison"),
        (
            "{reward.preset: lp}",
            "{run.seed: 1}",
            "methods.lp: run.seed: comes from seeds of the comparison; leave it out",
        ),
        ("{reward.preset: lp}", "{reward.preset: }", "methods.lp: expected a value behind every setting, got nothing"),
        ("{reward.preset: lp}", "lp", "methods.lp: expected settings such as {reward.preset: lp}, got 'lp'"),
        ("  lp:", "  l/p:", "methods: expected a name of letters, digits, _ . and +, got 'l/p'"),
        ("tiny.yaml", "tin.yaml", "configs/tin.yaml: no such configuration file"),
        ("seeds:", "final: {sise: 3}\nseeds:", "mine.yaml: final: sise: no such key; did you mean size?"),
        ("seeds:", "final: {data: builtin}\nseeds:", "final.size: expected how many problems of the built-in task"),
        ("seeds:", "final: {size: -3}\nseeds:", "final.size: expected a whole number of at least 0, got -3"),
        (
            "{reward.preset: lp}",
            "{distributed.num_processes: 2}",
            "distributed.num_processes: expected one process for a comparison, got 2",
        ),
        ("seeds:", "settings: 3\nseeds:", "mine.yaml: settings: expected settings such as {reward.preset: lp}, got 3"),
        ("seeds:", "settings: {run.seed: 3}\nseeds:", "mine.yaml: settings: run.seed: comes from seeds of the"),
        ("seeds:", "settings: {run.max_steps: }\nseeds:", "mine.yaml: settings: expected a value behind every setting"),
        ("seeds:", "settings: {run.max_stepz: 3}\nseeds:", "mine.yaml: settings: run.max_stepz: no such configuration"),
        ("methods:", "methods: {}\nseeds:", "stands twice"),
    ],
)
def test_a_bad_file_gets_one_line(tmp_path, old, new, message):
    with pytest.raises(ValueError) as caught:
        load_grid(_file(tmp_path, GOOD.replace(old, new, 1)), [], tmp_path / "out")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(ValueError, match="no such file of a comparison"):
        load_grid(tmp_path / "nowhere.yaml")
