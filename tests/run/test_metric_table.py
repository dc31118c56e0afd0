"""The table of metrics against the rows that runs write: none is missing, none is dead, and readers know the names."""

import json

import pytest

from jaxreason.report import curves
from jaxreason.run import alarm_table, metric_table, monitor
from tests import runs

TINY_HELPERS = [
    f"--helper_model.{name}={size}"
    for name, size in (
        ("hidden_size", 32),
        ("intermediate_size", 64),
        ("num_hidden_layers", 1),
        ("num_attention_heads", 2),
        ("num_key_value_heads", 1),
        ("head_dim", 16),
    )
]
NATURAL = ["--agents.boundaries=natural", "--agents.chunk_length=8"]
FROM_THE_WARM_START = {
    "shared reward with KL": ["--reward.preset=scma", "--grpo.beta=[0.1,0.1,0.1]"],
    "a teacher": ["--reward.preset=crisp"],
    "contributions under a budget": ["--reward.preset=contribution", "--budget.target_reduction=0.2", *NATURAL],
    "truncation, corrected": [
        "--reward.preset=truncation",
        "--reward.target_quantile=0.9",
        "--grpo.importance_sampling_correction=token_mask",
        "--grpo.dynamic_sampling=true",
        "--grpo.max_num_gen_batches=2",
        "--run.staleness=1",
    ],
}
FROM_ITS_OWN = [
    "--agents.helper_policy=separate",
    "--agents.helpers=one",
    "--model.num_experts=4",
    "--model.num_experts_per_tok=2",
    "--model.moe_intermediate_size=32",
    "--data.demonstrations=200",
    "--evaluation.num_samples=2",
    "--warmup.max_steps=20",
    "--warmup.drill_steps=5",
    *TINY_HELPERS,
]
"""A single helper with a policy of its own, and a reasoner with experts."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Finished runs of two steps, which together take every way through a step."""
    found, place = {}, tmp_path_factory.mktemp("metrics")
    own = place / "own_reward.py"
    own.write_text(
        "def brief(completion_ids, log_metric, **columns):\n"
        "    log_metric('share', 0.5)\n"
        "    return [-len(ids) / 48 for ids in completion_ids]\n"
    )
    functions = {"truncation, corrected": [f"--reward.reward_funcs={own}:brief"]}
    for number, (name, settings) in enumerate(FROM_THE_WARM_START.items()):
        folder = runs.begin(runs.warm(tmp_path_factory), place / str(number))
        assert runs.train(folder, "--run.max_steps=2", *settings, *functions.get(name, [])) == 0
        found[name] = folder
    assert runs.train(place / "own", "--run.max_steps=2", *FROM_ITS_OWN) == 0
    return found | {"helpers and experts": place / "own"}


@pytest.fixture(scope="module")
def names(folders):
    """Every name in the rows of these runs."""
    return {
        name
        for folder in folders.values()
        for line in (folder / "metrics.jsonl").read_text().splitlines()
        for name in json.loads(line)
    }


@pytest.mark.slow
def test_every_name_that_a_run_writes_is_described(names):
    assert not sorted(name for name in names if metric_table.find(name) is None)


@pytest.mark.slow
def test_no_described_name_is_dead(names):
    dead = [
        row.name
        for group in metric_table.GROUPS
        for row in group.rows
        if not any(metric_table.pattern(row.name).fullmatch(name) for name in names)
    ]
    assert not dead


@pytest.mark.slow
def test_a_name_that_is_never_absent_is_in_every_row(folders):
    """`absent` is a promise to whoever reads metrics.jsonl."""
    for folder in folders.values():
        for line in (folder / "metrics.jsonl").read_text().splitlines():
            row = json.loads(line)
            missing = [
                described.name
                for group in metric_table.GROUPS
                for described in group.rows
                if described.absent == "never" and "[" not in described.name and row.get(described.name) is None
            ]
            assert not missing, folder


@pytest.mark.slow
def test_every_figure_of_an_evaluation_is_described(folders):
    groups, seen = (metric_table.EVALUATION,), set()
    for folder in folders.values():
        table = json.loads((folder / "results.json").read_text())["trained"]
        some = [table, table["greedy"], *table["by_source"].values()]
        unknown = {name for figures in some for name in figures if metric_table.find(name, groups) is None}
        assert not unknown, folder
        seen |= table.keys()
    dead = [
        row.name
        for row in metric_table.EVALUATION.rows
        if not any(metric_table.pattern(row.name).fullmatch(name) for name in seen)
    ]
    assert not dead


def test_what_an_alarm_reads_is_described_as_read_by_one():
    watched = {name: metric_table.find(name) for name in monitor.WATCHED}
    assert not [name for name, row in watched.items() if row is None or not row.alarm]


def test_the_alarms_of_a_row_exist():
    known = {alarm.name for alarm in alarm_table.ALARMS}
    named = {
        name
        for group in (*metric_table.GROUPS, metric_table.EVALUATION)
        for row in group.rows
        for name in row.alarm.split(", ")
        if name
    }
    assert named == known


def test_the_charts_of_a_report_draw_described_metrics():
    """A misspelt name would be an empty chart, which is left out without a word."""
    assert not [metric for chart in curves.CHARTS for _, metric, _ in chart.lines if metric_table.find(metric) is None]


def test_a_name_is_described_once():
    every = [row.name for group in metric_table.GROUPS for row in group.rows]
    assert len(set(every)) == len(every)
    for name in ("score/range", "helper/loss", "reason/entropy", "annotate/kl", "score/share_3"):
        rows = [
            row for group in metric_table.GROUPS for row in group.rows if metric_table.pattern(row.name).fullmatch(name)
        ]
        assert len(rows) == 1, name
