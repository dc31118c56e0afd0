"""Who plays the helpers: the policy, a policy of their own, either of them frozen."""

import json

import chex
import jax
import pytest

from jaxreason.evaluation import stored
from jaxreason.run import state as run_state
from jaxreason.run.checkpoint import open_checkpoints
from tests import runs

pytestmark = pytest.mark.slow

SEPARATE = (
    "--agents.helper_policy=separate",
    "--sampling.num_generations=16",
    "--helper_model.hidden_size=16",
    "--helper_model.intermediate_size=32",
    "--helper_model.num_hidden_layers=1",
    "--helper_model.num_attention_heads=2",
    "--helper_model.num_key_value_heads=1",
    "--helper_model.head_dim=8",
    "--warmup.max_steps=250",
    "--warmup.drill_steps=100",
)
"""Half the size of the policy, and a start that is quick to make and good enough to be sampled from: few answers end
within the limit, so that groups are large enough for two of them that can be scored, whatever is drawn."""
SINGLE = ("--agents.helpers=one", *SEPARATE[-2:])


def _begun(tmp_path_factory, name: str, *settings: str):
    return runs.shared(
        tmp_path_factory, name, lambda folder: assert_zero(runs.train(folder, "--run.max_steps=0", *settings))
    )


def assert_zero(code: int) -> None:
    assert code == 0


@pytest.fixture(scope="module")
def separate(tmp_path_factory):
    """A run of no steps in which two policies were started."""
    return _begun(tmp_path_factory, "separate", *SEPARATE)


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """A run of no steps whose policy was shown to segment and score in one pass."""
    return _begun(tmp_path_factory, "single", *SINGLE)


def _begin(folder, target):
    runs.begin(folder, target)
    if (folder / "helper").is_dir():
        runs.shutil.copytree(folder / "helper", target / "helper")
    return target


def _config(folder):
    config = stored.load_config(folder)
    return stored.setup.with_vocabulary(config, stored.tokenizer.load(folder / "tokenizer"))


def _state(folder, step):
    shapes = run_state.shape_of_state(_config(folder))
    with open_checkpoints(folder / "checkpoints", None) as checkpoints:
        return jax.device_get(checkpoints.restore(step, shapes)[0])


def _start(folder, *, helper: bool):
    config = _config(folder)
    place, config = (folder / "helper" / "start", config.for_helpers) if helper else (folder / "start", config)
    with open_checkpoints(place, None) as starts:
        return jax.device_get(starts.restore(None, run_state.shape_of_start(config))[0])


def _shown(folder, step) -> list[dict]:
    """The held-out answers that helpers were asked about."""
    lines = (folder / "evaluation" / f"step_{step:06d}.jsonl").read_text().splitlines()
    return [row for line in lines if "chunks" in (row := json.loads(line))]


def _moved(a, b) -> bool:
    return any((x != y).any() for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_two_policies_learn_each_from_its_own_rows_and_resume_as_one_run(separate, tmp_path):
    """Catches an optimiser state or a helper that is not in the checkpoint, and a role counted by both updates."""
    straight, folder = (_begin(separate, tmp_path / name) for name in ("straight", "run"))
    assert runs.train(straight, *SEPARATE, "--run.max_steps=4") == 0
    assert runs.train(folder, *SEPARATE, "--run.max_steps=2") == 0
    assert runs.train(folder, *SEPARATE, "--run.max_steps=4", "--resume") == 0
    assert runs.rows(folder) == runs.rows(straight)
    assert runs.results(folder) == runs.results(straight)
    chex.assert_trees_all_equal(_state(folder, 4), _state(straight, 4))
    end, found = _state(straight, 4), runs.rows(straight)
    assert end.helper.params["embed_tokens"].shape[1] == 16 < end.train.params["embed_tokens"].shape[1]
    assert _moved(end.train.params, _start(straight, helper=False))
    assert _moved(end.helper.params, _start(straight, helper=True))
    assert any(row["score/entropy"] is not None for row in found)
    assert all({"helper/loss", "helper/grad_norm", "score/frozen_mean"} <= set(row) for row in found)
    assert _shown(folder, 4) == _shown(straight, 4)
    assert any(row["score_cause"] == "ok" for row in _shown(folder, 4)), "the helpers' policy has no scores to show"
    assert runs.main(["evaluate", str(folder), "--evaluation.greedy=false"]) == 0
    assert runs.main(["generate", str(folder), "3;A+5;", "--explain"]) == 2


@pytest.mark.parametrize("settings", [(), SEPARATE], ids=["shared", "separate"])
def test_a_frozen_helper_is_the_start_s_and_costs_no_update(
    settings, separate, tmp_path_factory, tmp_path, monkeypatch
):
    """Catches helpers sampled from parameters that move, a second optimiser state, and rows of helpers in an update."""
    from jaxreason import train as train_module

    asked, run = [], train_module.episode.run

    def seen(params, helper_params, *arguments, **named):
        asked.append((jax.device_get(params), jax.device_get(helper_params)))
        return run(params, helper_params, *arguments, **named)

    monkeypatch.setattr(train_module.episode, "run", seen)
    folder = _begin(separate if settings else runs.warm(tmp_path_factory), tmp_path / "run")
    assert runs.train(folder, *settings, "--reward.preset=frozen", "--run.max_steps=3") == 0
    start = _start(folder, helper=bool(settings))
    for _, helper_params in asked:
        chex.assert_trees_all_equal(helper_params, start)
    assert _moved(asked[0][0], asked[-1][0])
    assert _state(folder, 2).helper is None
    assert all("helper/loss" not in row and row.get("score/entropy") is None for row in runs.rows(folder))


def test_the_reasoner_s_update_does_not_see_the_helpers_rows(separate, tmp_path):
    """Helpers that learn or not, with a penalty that is the same whatever they write: the policy's parameters come out
    the same, bit for bit."""
    states = []
    for name, weights in (("all", "[1,1,1]"), ("alone", "[1,0,0]")):
        folder = _begin(separate, tmp_path / name)
        settings = (f"--grpo.role_weights={weights}", "--reward.phi=[1,1,1,1,1]", "--run.max_steps=4")
        assert runs.train(folder, *SEPARATE, *settings) == 0
        states.append(_state(folder, 4))
    chex.assert_trees_all_equal(states[0].train, states[1].train)
    assert _moved(states[0].train.params, _start(separate, helper=False))
    assert _moved(states[0].helper.params, states[1].helper.params)
    chex.assert_trees_all_equal(states[1].helper.params, _start(separate, helper=True))


@pytest.mark.parametrize(
    ("preset", "decoding"),
    [("scma", "free"), ("guarded", "constrained"), ("contribution", "constrained"), ("frozen", "free")],
)
def test_one_helper_trains_under_every_preset(single, tmp_path, preset, decoding):
    """Catches a role without a reward, a weight or a metric, and a step that still asks two helpers."""
    folder = _begin(single, tmp_path / "run")
    settings = (f"--reward.preset={preset}", f"--agents.decoding={decoding}", "--run.max_steps=2")
    assert runs.train(folder, *SINGLE, *settings) == 0
    found = runs.rows(folder)
    for row in found:
        assert "annotate/completions/mean_length" in row
        assert not {"segment/completions/mean_length", "score/completions/mean_length"} & set(row)
        assert ("annotate/reward" in row) == (preset != "frozen")
        assert {"segment/valid", "score/valid", "segment/chunks", "score/mean"} <= set(row)
        if decoding == "constrained" and row["segment/valid"] is not None:
            assert row["segment/not_lossless"] == row["score/range"] == row["score/count"] == 0
        assert ("score/worth_mean" in row) == (preset == "contribution")
        if preset == "guarded":
            assert {"score/frozen_mean", "annotate/entropy"} <= set(row)
    samples = [json.loads(line) for line in (folder / "samples" / "step_000002.jsonl").read_text().splitlines()]
    assert len(_shown(folder, 2)) == 32, "both modes of 16 answers"
    assert all("annotate" in row and "segment" not in row and "scores" in row for row in samples)


def test_one_helper_can_be_a_policy_of_its_own(tmp_path):
    """Both choices at once, from the supervised start on."""
    short = ("--warmup.max_steps=40", "--warmup.drill_steps=10", "--run.max_steps=1", "--agents.helpers=one")
    assert runs.train(tmp_path / "run", *SEPARATE, *short) == 0
    (row,) = runs.rows(tmp_path / "run")
    assert {"annotate/completions/mean_length", "helper/loss"} <= set(row)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["--helper_model.hidden_size=16"],
            "helper_model: expected agents.helper_policy=separate beside it, got shared",
        ),
        (
            ["--agents.helper_policy=separate", "--reward.preset=lp"],
            "agents.helper_policy: expected shared with reward.preset=lp, which asks no helper, got separate",
        ),
        (
            ["--agents.helper_policy=separate", "--helper_model.vocab_size=64"],
            "helper_model.vocab_size: expected at least",
        ),
        (["--agents.helper_policy=separate", "--helper_model.head_dim=3"], "helper_model.head_dim: expected an even"),
    ],
)
def test_nonsense_is_refused_in_one_line(tmp_path, capsys, settings, message):
    assert runs.train(tmp_path / "run", *settings) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert message in said
