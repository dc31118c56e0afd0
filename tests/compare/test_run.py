"""A comparison of several runs: what is run, skipped, gone on with and recorded, and what is written of it.

Most of it with a stand-in for the training; one grid is really trained.
"""

import json
import os
import signal

import pytest
import yaml

from jaxreason import config
from jaxreason import train as train_module
from jaxreason.compare import compare, page, run, words, write
from jaxreason.compare.grid import load_grid
from jaxreason.run import folder as run_folder
from jaxreason.run import programs
from jaxreason.run.interrupt import Stopped
from jaxreason.run.progress import Display
from tests import runs
from tests.compare.test_grid import GOOD

pytestmark = pytest.mark.slow

QUIET = Display(quiet=True)


def _table(accuracy, tokens):
    part = {"accuracy": accuracy, "mean_tokens": tokens, "problems": 16}
    sources = {"a/level1": part, "a/level2": part | {"accuracy": accuracy / 2}}
    return part | {"by_source": sources, "greedy": part | {"by_source": sources}}


class StandIn:
    """A training that writes what a real one leaves. By cell: `outcomes` are (accuracy, tokens) or errors, `alarms` are
    by step, `more` stands in its results."""

    def __init__(self, outcomes=None, *, alarms=None, more=None):
        self.outcomes, self.alarms, self.more = outcomes or {}, alarms or {}, more or {}
        self.asked = []

    def __call__(self, conf, *, display):
        folder = runs.Path(conf.run.output_dir)
        self.asked.append(folder.name)
        folder.mkdir(parents=True, exist_ok=True)
        config.save(conf, folder / "config.yaml")
        (folder / "start" / "0").mkdir(parents=True, exist_ok=True)
        (folder / "start" / "0" / "weights").write_text("w")
        outcome = self.outcomes.get(folder.name, (0.9, 50.0))
        if isinstance(outcome, BaseException):
            raise outcome
        steps = conf.run.max_steps
        rows = [{"step": s + 1, "step_time": 10.0 if s == 0 else 2.0, "num_tokens": 500.0} for s in range(steps)]
        rows = [row | {"alarms": self.alarms.get(folder.name, {}).get(row["step"], [])} for row in rows]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        trained = _table(*outcome) if steps else _table(0.6, 100.0)
        found = {"base": _table(0.6, 100.0), "trained": trained, "steps": steps, "seconds": 60.0}
        found |= self.more.get(folder.name, {})
        (folder / "results.json").write_text(json.dumps(found))
        return found


@pytest.fixture
def grid(tmp_path):
    (tmp_path / "mine.yaml").write_text(GOOD)
    return load_grid(tmp_path / "mine.yaml", ["--run.max_steps=3"], tmp_path / "out")


def test_every_cell_runs_once_and_begins_at_its_seed_s_start(grid, monkeypatch):
    train = StandIn()
    monkeypatch.setattr(run, "train", train)
    compare(grid, display=QUIET)
    starts = [name for name in train.asked if name.startswith("seed")]
    assert len(starts) == 2
    assert [name for name in train.asked if name not in starts] == [cell.name for cell in grid.cells]
    for cell in grid.cells:
        made = grid.folder / "starts" / run.start_of(cell.config) / "start" / "0" / "weights"
        assert os.path.samefile(cell.folder / "start" / "0" / "weights", made)
    train.asked.clear()
    compare(grid, display=QUIET)
    assert train.asked == []


def test_a_start_is_made_by_a_cell_with_helpers_where_one_shares_it(tmp_path, monkeypatch):
    """Catches a first evaluation without the chunks that the last one of another cell has."""
    presets = []

    class Seen(StandIn):
        def __call__(self, conf, *, display):
            presets.append(conf.reward.preset)
            return super().__call__(conf, display=display)

    monkeypatch.setattr(run, "train", Seen())
    other = GOOD.replace("base: {run.max_steps: 0}", "grpo: {reward.preset: grpo}")
    for name, text, expected in (
        ("with", other + "  guarded: {}\n", ["guarded", "grpo", "lp", "lp", "guarded", "guarded"]),
        ("without", other, ["grpo", "grpo", "lp", "lp"]),
    ):
        (tmp_path / f"{name}.yaml").write_text(text)
        grid = load_grid(tmp_path / f"{name}.yaml", ["--run.max_steps=3"], tmp_path / name)
        presets.clear()
        compare(grid, only=["seed=0"], display=QUIET)
        assert presets == expected


@pytest.mark.parametrize("stop", [Stopped("SIGTERM: stopped after step 1 and saved", 143), KeyboardInterrupt()])
def test_a_stopped_comparison_goes_on_where_it_was(grid, monkeypatch, stop):
    """Finished cells are skipped; the one at work is given to the training again, which goes on by itself."""
    train = StandIn({grid.cells[2].name: stop})
    monkeypatch.setattr(run, "train", train)
    with pytest.raises(type(stop)):
        compare(grid, display=QUIET)
    assert len(json.loads((grid.folder / "results.json").read_text())["cells"]) == 3
    train.outcomes.clear()
    train.asked.clear()
    compare(grid, display=QUIET)
    assert [name for name in train.asked if not name.startswith("seed")] == [cell.name for cell in grid.cells[2:]]


def test_a_kill_while_a_start_is_linked_leaves_nothing_half(grid, monkeypatch):
    """A folder with a policy has begun, so the policy comes last and under its name only when it is whole."""
    monkeypatch.setattr(run, "train", StandIn())
    copy = run._link

    def killed(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_link", killed)
    with pytest.raises(KeyboardInterrupt):
        compare(grid, display=QUIET)
    assert not run_folder.begun(grid.cells[0].folder)
    monkeypatch.setattr(run, "_link", copy)
    compare(grid, display=QUIET)
    assert (grid.cells[0].folder / "start" / "0" / "weights").read_text() == "w"


def test_a_cell_whose_loss_breaks_is_recorded_and_the_others_go_on(grid, monkeypatch):
    bad = grid.cells[1].name
    train = StandIn({bad: FloatingPointError("step 2: the loss is not a number")})
    monkeypatch.setattr(run, "train", train)
    found = compare(grid, display=QUIET)
    assert [cell["status"] for cell in found["cells"]] == ["finished", "failed", *["finished"] * 4]
    assert "step 2: the loss is not a number" in (grid.folder / "results.md").read_text()
    (row,) = [row for row in found["rows"] if row["alpha"] == 0.5]
    assert (row["finished"], row["failed"], row["collapsed"]) == (1, 1, 1)
    assert found["methods"]["lp"]["chosen"] == 2.0, "an alpha at which a seed failed was chosen"
    train.asked.clear()
    compare(grid, display=QUIET)
    assert train.asked == [], "what fails in the same way each time was tried again"


def test_a_mistake_in_a_cell_is_not_recorded_as_a_failure(grid, monkeypatch):
    monkeypatch.setattr(run, "train", StandIn({grid.cells[0].name: ValueError("data.train: no such file")}))
    with pytest.raises(ValueError, match="no such file"):
        compare(grid, display=QUIET)
    assert not (grid.cells[0].folder / run.FAILED).exists()


def test_only_runs_a_part_and_the_tables_hold_what_there_is(grid, monkeypatch):
    train = StandIn()
    monkeypatch.setattr(run, "train", train)
    found = compare(grid, only=["method=lp,alpha=2,seed=1"], display=QUIET)
    assert [cell["name"] for cell in found["cells"]] == ["lp-alpha2-seed1"] == train.asked[1:]
    found = compare(grid, only=["seed=0"], display=QUIET)
    assert len(found["cells"]) == 4


def test_another_configuration_is_refused_before_anything_runs(grid, tmp_path, monkeypatch):
    train = StandIn()
    monkeypatch.setattr(run, "train", train)
    compare(grid, only=["method=lp,alpha=2,seed=1"], display=QUIET)
    train.asked.clear()
    other = load_grid(tmp_path / "mine.yaml", ["--run.max_steps=3", "--grpo.epsilon=0.1"], tmp_path / "out")
    with pytest.raises(ValueError, match=r"lp-alpha2-seed1: holds a run with another configuration: grpo.epsilon"):
        compare(other, display=QUIET)
    assert train.asked == []


def test_figures_by_hand(grid, monkeypatch):
    """Catches a choice by accuracy alone, a collapsed seed averaged away, and a first step's compilation."""
    outcomes = {
        "lp-alpha0.5-seed0": (0.94, 60.0),
        "lp-alpha0.5-seed1": (0.90, 64.0),
        "lp-alpha2-seed0": (0.92, 40.0),
        "lp-alpha2-seed1": (0.89, 44.0),
    }
    monkeypatch.setattr(run, "train", StandIn(outcomes))
    found = compare(grid, display=QUIET)
    lp = found["methods"]["lp"]
    assert lp["best_accuracy"] == pytest.approx(0.92)
    assert (lp["chosen"], lp["within"], lp["range"]) == (2.0, [0.5, 2.0], 4.0)  # 0.905 is within 2 points, and shorter
    row = found["rows"][2]
    at = row["final"]["sampled"]["all"]
    assert at["accuracy"] == pytest.approx({"mean": 0.905, "deviation": 0.0212132, "count": 2})
    assert at["mean_tokens"] == pytest.approx({"mean": 42.0, "deviation": 2.8284271, "count": 2})
    assert row["step_seconds"] == {"mean": 2.0, "deviation": 0.0, "count": 2}
    assert row["tuning"]["greedy"]["a/level2"]["accuracy"]["mean"] == pytest.approx(0.4525)
    text = words.markdown(found)
    # AES of seed 0: 1 - 0.40 saved, 0.32 of 0.60 gained; of seed 1: 1 - 0.44 and 0.29 of 0.60.
    assert row["aes"]["mean"] == pytest.approx(0.58 + 3 * (0.32 + 0.29) / 2 / 0.6)
    # Fronts: seed 0 (60, .94) and (40, .92): .4 * .94 + .2 * .92; seed 1 (64, .90) and (44, .89): .36 * .9 + .2 * .89.
    assert lp["hypervolume"]["mean"] == pytest.approx((0.376 + 0.184 + 0.324 + 0.178) / 2)
    start = "| lp | 2 | 90.5 ± 2.1 | 42.0 ± 2.8 | 90.5 ± 2.1 | 42.0 ± 2.8 | 2.00 ± 0.00 | 500 ± 0 | 2.11 ± 0.13 |"
    assert f"{start} 0.531 ± 0.041 |" in text
    assert start in text.partition("Every alpha")[2]
    assert "AES(1, 3, 5)" in text
    assert "| lp | 92.0 | 0.5, 2 | 4 x |" in text
    assert "| base | – | 60.0 ± 0.0 | 100.0 ± 0.0 |" in text
    shown = page.page(found, "mine")
    assert shown.count("<svg") == 3
    assert "lp 2" in shown
    assert "http" not in shown.replace("http-equiv", "")


def test_a_collapsed_seed_counts_and_is_marked(grid, monkeypatch):
    monkeypatch.setattr(run, "train", StandIn({"lp-alpha2-seed1": (0.54, 5.0)}))
    found = compare(grid, display=QUIET)
    assert [cell["name"] for cell in found["cells"] if cell["collapsed"]] == ["lp-alpha2-seed1"]
    assert found["methods"]["lp"]["chosen"] == 0.5
    shown = page.page(found, "mine")
    assert "72 ✕1" in shown
    assert shown.count("Alphas at which a seed collapsed are left out.") == 2
    assert shown.count('class="ring"') == 0, "the alpha that was not chosen has a collapsed seed"


def test_where_a_run_collapsed_and_what_its_monitor_saw(grid, monkeypatch):
    """Catches an alarm that only asks to look taken for a loss, and the last evaluation taken for the collapse."""
    end = {"ended_by": {"alarm": "A", "step": 3}, "rollbacks": [{"step": 2, "alarm": "E", "to": 1, "halved": "x"}]}
    train = StandIn(
        {"lp-alpha2-seed1": (0.54, 5.0)},
        alarms={"lp-alpha2-seed1": {1: ["B", "D"], 2: ["C", "E"], 3: ["A"]}, "lp-alpha0.5-seed0": {2: ["C"]}},
        more={"lp-alpha2-seed1": end},
    )
    monkeypatch.setattr(run, "train", train)
    compare(grid, display=QUIET)
    (cell,) = [cell for cell in grid.cells if cell.name == "lp-alpha2-seed1"]
    (cell.folder / "evaluation").mkdir(exist_ok=True)
    for step, accuracy in ((1, 0.58), (2, 0.5)):
        (cell.folder / f"evaluation/step_{step:06d}.json").write_text(json.dumps({"table": _table(accuracy, 9.0)}))
    found = compare(grid, display=QUIET)
    (seen,) = [one for one in found["cells"] if one["name"] == cell.name]
    alarm = {"alarm": "E", "step": 2, "evaluated": 2, "accuracy": 0.5}
    assert (seen["collapse_step"], seen["first_alarm"]) == (2, alarm)
    assert [(at["step"], at["accuracy"], at["mean_tokens"]) for at in seen["curve"]] == [
        (0, 0.6, 100.0), (1, 0.58, 9.0), (2, 0.5, 9.0), (3, 0.54, 5.0)
    ]  # fmt: skip
    text = words.markdown(found)
    assert "| lp-alpha2-seed1 | 60.0 to 54.0 | E at 2 | 50.0 at 2 | 2 | back to step 1 at 2; ended at 3 by A |" in text
    assert "| lp-alpha0.5-seed0 |" not in text, "C alone says nothing of a loss"
    assert "| 1 of 2 (step 2) |" in text


def test_the_budget_of_tuning_is_stated(grid, monkeypatch):
    """Catches a comparison of a method with two alphas and one with one that calls itself fair."""
    monkeypatch.setattr(run, "train", StandIn())
    found = compare(grid, display=QUIET)
    assert found["methods"]["lp"]["budget"] == {
        "settings": 2, "seeds": 2, "runs": 4, "unfinished": 0, "steps": 12, "steps_set": 12, "tokens": 6000.0,
        "seconds": 240.0,
    }  # fmt: skip
    text = words.markdown(found)
    assert "an equal budget: 2 alphas with 2 seeds" in text
    assert "| lp | 2 | 2 | 4 | 12 | 0.01 | 0.07 |" in text
    other = found["methods"]["lp"] | {"budget": found["methods"]["lp"]["budget"] | {"settings": 1}}
    row = next(row for row in found["rows"] if row["method"] == "lp") | {"method": "scma"}
    uneven = found | {"rows": [*found["rows"], row], "methods": found["methods"] | {"scma": other}}
    assert "no equal budget" in words.fairness(uneven)
    (grid.cells[1].folder / "results.json").unlink()
    assert "Tuning is not finished" in words.markdown(write(grid))


def test_a_method_that_always_collapses_is_in_the_tables_without_figures(grid, monkeypatch):
    names = [cell.name for cell in grid.cells if cell.method == "lp"]
    monkeypatch.setattr(run, "train", StandIn(dict.fromkeys(names, (0.1, 3.0))))
    found = compare(grid, display=QUIET)
    assert found["methods"]["lp"]["chosen"] is None
    assert "| lp | none (4 collapsed) | – |" in words.markdown(found)
    assert "<td>none<small>4 collapsed</small></td>" in page.page(found, "mine")


def test_without_a_choice_of_alphas_nothing_speaks_of_one(grid, monkeypatch):
    """Catches a method that collapsed without figures, and tables, a map and notes of alphas that were never several;
    the curves of seeds are averaged where all of them were evaluated, by hand."""
    monkeypatch.setattr(run, "train", StandIn({"lp-alpha2-seed0": (0.1, 3.0), "lp-alpha2-seed1": (0.5, 5.0)}))
    only = ["method=base", "method=lp,alpha=2"]
    compare(grid, only=only, display=QUIET)
    for seed, steps in ((0, (1, 2)), (1, (2,))):
        folder = next(cell.folder for cell in grid.cells if cell.name == f"lp-alpha2-seed{seed}")
        (folder / "evaluation").mkdir(exist_ok=True)
        for step in steps:
            figures = {"table": _table(0.3 + 0.2 * seed, 20.0)}
            (folder / f"evaluation/step_{step:06d}.json").write_text(json.dumps(figures))
    found = compare(grid, only=only, display=QUIET)
    text, shown = words.markdown(found), page.page(found, "mine")
    assert "lpha" not in text.replace("lp-alpha2", "")
    assert "**Each method, on the held-out problems**" in text
    assert text.count("| lp | 30.0 ± 28.3 | 4.0 ± 1.4 |") == 1, "a method that collapsed has figures, and no alpha"
    row = next(row for row in found["rows"] if row["method"] == "lp")
    assert [at["step"] for at in row["curve"]] == [0, 2, 3]
    assert row["curve"][1]["accuracy"]["mean"] == pytest.approx(0.4)
    assert "Where methods collapse" not in shown
    assert "A ring: a seed collapsed." in shown
    assert "Accuracy over the steps" in shown
    assert "Tokens over the steps" in shown


def test_final_problems_are_others(tmp_path):
    """Alphas chosen and reported on the same problems would look better than they are."""
    conf = config.load(runs.TINY, ["--data.levels=[1,2]", "--data.test_size=200"])
    final = run.Final("builtin", 101, 0)
    file = run.final_problems(final, conf, tmp_path)
    found = run.problems.read_jsonl(file)
    held_out = {problem.question for problem in run.setup.held_out(conf.data)}
    assert len({problem.question for problem in found} - held_out) == 101
    assert [p.source for p in found[:3]] == ["arithmetic/level1", "arithmetic/level2", "arithmetic/level1"]
    with pytest.raises(ValueError, match=r"final.size: with those kept for tuning, data.test_size: expected at most"):
        run.final_problems(run.Final("builtin", 700, 0), conf, tmp_path)


SETTINGS = [
    runs.NO_CACHE,
    "--run.max_steps=3",
    "--run.save_steps=2",
    "--warmup.max_steps=20",
    "--warmup.drill_steps=5",
    "--data.demonstrations=200",
    "--mesh.fsdp=1",
]


def test_a_grid_really_trained_and_stopped_in_between(tmp_path, capsys, monkeypatch):
    """Two methods, one alpha, two seeds, through the command: the third cell is stopped by a signal in its second step,
    and gives in the end what an uninterrupted run of its configuration gives. The update is compiled once."""
    file = tmp_path / "mine.yaml"
    content = {
        "experiment": runs.TINY,
        "output_dir": str(tmp_path / "out"),
        "seeds": [0, 1],
        "alphas": [0.5],
        "final": {"data": "builtin", "size": 12, "seed": 1},
        "methods": {"grpo": {"reward.preset": "grpo"}, "lp": {"reward.preset": "lp"}},
    }
    file.write_text(yaml.safe_dump(content))
    step, calls, made = train_module.step, [], []
    built = programs.jitted

    def recorded(*arguments):
        made.append(built(*arguments))
        return made[-1]

    monkeypatch.setattr(programs, "jitted", recorded)

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2 * 3 + 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*arguments)

    monkeypatch.setattr(train_module, "step", interrupted)
    assert runs.main(["compare", str(file), *SETTINGS]) == 143
    assert "the same command goes on from there" in capsys.readouterr().err
    assert not (tmp_path / "out" / "cells" / "lp-alpha0.5-seed1").exists()
    monkeypatch.setattr(train_module, "step", step)
    assert runs.main(["compare", str(file), *SETTINGS]) == 0
    screen = capsys.readouterr().out
    assert "4 cells, 2 done before" in screen
    assert "cell 3 of 4: grpo-seed1" in screen
    assert "**Each method, on the final problems**" in screen
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [cell["status"] for cell in found["cells"]] == ["finished"] * 4
    cell = tmp_path / "out" / "cells" / "grpo-seed1"
    assert json.loads(next((cell / "evaluation").glob("final_*.json")).read_text())["table"]["problems"] == 12
    written = (tmp_path / "out" / "results.md").read_text()
    on_final, on_tuning = (
        written.split(f"**{title}**")[1].split("**")[0]
        for title in ("Each method, on the final problems", "The same, on the problems held out for tuning")
    )
    assert on_final.count("| lp |") == on_tuning.count("| lp |") == 1
    assert on_final != on_tuning
    used = {id(one): one for one in made if one.update._cache_size()}
    assert [one.update._cache_size() for one in used.values()] == [1], "a cell traced its update anew"
    straight = tmp_path / "straight"
    arguments = [*SETTINGS, "--run.seed=1", "--reward.preset=grpo", f"--run.output_dir={straight}"]
    assert runs.main(["train", runs.TINY, *arguments]) == 0
    assert runs.rows(cell) == runs.rows(straight)
    assert runs.results(cell) == runs.results(straight)
    assert runs.main(["compare", str(file), "--only=method=scma", *SETTINGS]) == 2
    assert "--only: no cell has method=scma; there are grpo, lp" in capsys.readouterr().err
