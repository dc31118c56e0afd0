"""Everything of a plan that is decided before anything is compiled."""

import dataclasses
import json
import math
from pathlib import Path

import huggingface_hub
import jax
import numpy as np
import pytest

from jaxreason.agents import constraints, sizes
from jaxreason.cli import main
from jaxreason.config import Config, ModelConfig, load
from jaxreason.parallel.rules import RULES
from jaxreason.plan import choose, gpu, programs, roofline, sampling, show
from jaxreason.plan.compile import Finding
from jaxreason.plan.estimate import Estimate, estimate
from jaxreason.plan.prepare import ASSUMED, prepare
from jaxreason.plan.topology import parse
from jaxreason.plan.work import Work
from jaxreason.policy import footprint
from jaxreason.run import state as run_state
from jaxreason.sampling.room import Room
from tests.released import tiny_config, write_tokenizer
from tests.runs import ROOT

SHAPES = ROOT / "tests" / "shapes"
SCMA = ROOT / "configs" / "scma_qwen3_0.6b_gsm8k.yaml"


def _small(*more: str) -> Config:
    return load(SCMA, [f"--model.path={SHAPES / 'Qwen3-0.6B'}", *more])


def test_a_shape_is_enough():
    """Neither data, weights nor tokenizer: data/gsm8k-train.jsonl is not there, and the folder holds a config.json."""
    said = []
    exp = prepare(_small(), said.append)
    assert said == [ASSUMED]
    assert (exp.config.model.hidden_size, exp.config.model.vocab_size) == (1024, 151936)
    # The words of the prompts count as they would in a tokenizer of English words: the instructions, and the template.
    limits = sizes.row_limits(exp.config, exp.tokenizer)
    assert limits["reason"] == 384 + 2048
    assert 60 < limits["segment"] - 2048 - (5 * 2048 // 4 + 64) < 200
    assert constraints.tag_tokens(exp.tokenizer) == 6  # < seg > and </ seg >


def test_a_tokenizer_that_is_there_is_used(tmp_path):
    (tmp_path / "config.json").write_text((SHAPES / "Qwen3-0.6B" / "config.json").read_text())
    write_tokenizer(tmp_path, "qwen3")
    said = []
    exp = prepare(_small("--model.path", str(tmp_path)), said.append)
    assert not said
    assert exp.tokenizer.path == str(tmp_path)


def test_of_a_hub_id_config_json_alone_is_fetched(tmp_path, monkeypatch):
    """Catches 16 GB of weights downloaded for a question about shapes."""
    asked = []

    def snapshot_download(name, *, revision, allow_patterns, ignore_patterns):
        asked.append((name, allow_patterns))
        (tmp_path / "config.json").write_text((SHAPES / "Qwen3-8B" / "config.json").read_text())
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    exp = prepare(load(ROOT / "configs" / "scma_qwen3_8b_gsm8k.yaml"))
    assert asked == [("Qwen/Qwen3-8B", ["config.json"])]
    assert exp.config.model.hidden_size == 4096


MODEL = ModelConfig(
    vocab_size=100,
    hidden_size=8,
    intermediate_size=16,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=2,
    dtype="bfloat16",
)
LAYER = 8 * 2 * (2 * 4 + 2 * 2) + 3 * 8 * 16
"""Weights of one layer by hand: q and o of 4 heads, k and v of 2, three matrices."""


def test_useful_products_and_bytes_by_hand():
    config = dataclasses.replace(Config(), model=MODEL, mesh=dataclasses.replace(Config().mesh, fsdp=2, tensor=2))
    update = Work(trips=5, tokens=50, predicted=50, pairs=7.0, passes=3)
    attended = 4 * 4 * 2 * 3 * 7
    assert roofline.useful(update, config) == 3 * (2 * 50 * (3 * LAYER + 800) + attended)
    # Half of the weights on each of two tensor devices, in two bytes, 3 passes of 5 micro-batches; the state twice.
    assert roofline.moved(update, 1000.0, config) == (3 * LAYER + 800) / 2 * 2 * 3 * 5 + 2000
    sample = Work(trips=4, tokens=8, predicted=8, pairs=1.0, passes=1, cache_bytes=400.0)
    # Once a token; rows over 2, key heads over 2.
    assert roofline.moved(sample, 1000.0, config) == (3 * LAYER + 800) / 2 * 2 * 4 + 400 / 4


def test_experts_count_as_far_as_tokens_reach():
    """Catches a mixture counted as if dense: 30 billion weights that compute, or 3 that are all there is to read."""
    model = dataclasses.replace(MODEL, num_experts=8, num_experts_per_tok=2, moe_intermediate_size=4)
    config = dataclasses.replace(Config(), model=model, mesh=dataclasses.replace(Config().mesh, fsdp=1, experts=()))
    attention, expert = 8 * 2 * (2 * 4 + 2 * 2), 3 * 8 * 4
    few = Work(trips=4, tokens=12, predicted=0, pairs=0.0, passes=1)  # 3 tokens a round reach 6 experts at most
    assert roofline.moved(few, 0.0, config) == 3 * (attention + 6 * expert) * 2 * 4
    assert roofline.useful(few, config) == 2 * 12 * 3 * (attention + 2 * expert)
    split = dataclasses.replace(config, mesh=dataclasses.replace(config.mesh, tensor=2, experts=("tensor",)))
    assert roofline.moved(few, 0.0, split) == 3 * (attention + 6 * expert) / 2 * 2 * 4  # an expert is whole on one


def test_the_bound_is_the_slowest_part():
    """By hand on a v5e pair; catches a part left out, and an all-reduce that passes once."""
    topology, work = parse("v5e:2x2"), Work(trips=1, tokens=1, predicted=0, pairs=0.0, passes=1)
    config = dataclasses.replace(Config(), model=MODEL, mesh=dataclasses.replace(Config().mesh, fsdp=4))
    finding = Finding("reference", work, 1, True, 0.0, flops=4 * 197e12, flops_compiled=0.0, arguments_gib=0.0)
    assert roofline.bound(finding, config, topology)["bound_s"] == 1.0
    carried = dataclasses.replace(finding, collectives={"all-reduce": (1.0, 90e9), "all-gather": (1.0, 90e9)})
    found = roofline.bound(carried, config, topology)
    assert (found["matmul_s"], found["links_s"], found["bound_s"]) == (1.0, 3.0, 3.0)
    assert found["mfu"] == pytest.approx(2 * 3 * LAYER / (4 * 197e12) / 3)
    assert roofline.bound(dataclasses.replace(finding, arguments_gib=None), config, topology)["bound_s"] is None


def test_what_a_run_holds_beside_a_program():
    """Sampling happens beside the optimiser, and beside the starting policy where one is kept; catches a plan that
    lets a run overflow because it looked at one program at a time."""
    mesh = jax.make_mesh((1, 8, 1), ("replica", "fsdp", "tensor"), axis_types=(jax.sharding.AxisType.Auto,) * 3)
    exp = prepare(_small("--mesh.fsdp=8", "--model.param_dtype=float32"))
    with jax.set_mesh(mesh), RULES(exp.config.mesh):
        held = programs.Held.of(exp)
    count = 596_049_920
    assert held.policy == held.start
    assert count * 4 / 8 <= held.policy < count * 4 / 8 * 1.001  # norms are whole on every device
    assert held.state == pytest.approx(3 * held.policy, rel=1e-6)
    assert not run_state.keeps_start(load(SCMA, ["--reward.preset=lp"]))
    assert run_state.keeps_start(load(SCMA, ["--reward.preset=lp", "--grpo.beta=[0.1,0,0]"]))


def test_each_role_is_sampled_with_shapes_of_its_own(tmp_path):
    """The shapes that are compiled: 12 problems for the reasoner, 48 rows for a helper. Catches memory and time of one
    role worked out for the batch of another, which every figure would follow without a word."""
    (tmp_path / "config.json").write_text(json.dumps(tiny_config("qwen3")))
    settings = [
        f"--model.path={tmp_path}",
        "--data.prompts_per_step=12",
        "--data.max_prompt_length=32",
        "--sampling.num_generations=4",
        "--sampling.max_completion_length=16",
    ]
    exp = prepare(load(SCMA, settings))
    found = {name: trace for name, trace in programs.of_a_step(exp) if name.startswith("sample")}
    for name, rows in (("reason", 12), ("segment", 48)):
        program = found[f"sample {name}"]()
        (_, query, *_), _ = program.traced.args_info
        assert query.prompts.tokens.shape[0] == rows
        assert query.limit.shape == (rows, 4 if name == "reason" else 1)
        assert program.calls == 1
        if name == "reason":
            assert program.work == sampling.reasoner_work(exp.config)


MODEL_32 = ModelConfig(num_hidden_layers=1, num_key_value_heads=1, head_dim=4)
"""32 bytes of keys and values a token."""


def test_work_of_refilled_slots_by_hand():
    """Two prompts of 3 tokens, four completions in two slots. Catches passes as if a batch waited for its longest row,
    and keys and values that are counted for rows that are not there."""
    length_PG = np.array([[64, 192], [64, 64]])
    work = sampling.sampler_work(MODEL_32, Room(slots=2), length_PG, 3)
    assert work.trips == 192  # beside 192 there is room for the other three, one after the other
    assert work.tokens == 2 * 3 + 64 * 3 + 192
    assert work.predicted == 64 * 3 + 192
    assert work.pairs == 2 * 6 + 3 * (64 * 3 + 64 * 65 / 2) + 192 * 3 + 192 * 193 / 2
    own = 3 * 64 * 64 + 64 * (64 + 128 + 192)  # pages filled, token for token
    assert work.cache_bytes == 32 * (own + 192 * 2 * 3)
    copied = sampling.sampler_work(MODEL_32, Room(slots=2), length_PG, 3, block=8, drawn=2)
    assert copied.trips == 10 + 10 + 10  # the long one takes 26, the others 10 each
    assert copied.predicted == 0


@pytest.mark.parametrize(("mean", "limit"), [(4096, 16384), (290, 2048), (100, 100), (1, 50)])
def test_lengths_of_a_mean_and_a_limit(mean, limit):
    """Catches a cut that moves the mean. A file gives its own."""
    found = sampling.read_lengths(f"{mean},{limit}")
    assert np.mean(found) == pytest.approx(mean, rel=0.02)
    assert 1 <= min(found) <= max(found) <= limit


def test_lengths_of_a_file(tmp_path):
    file = tmp_path / "lengths.txt"
    file.write_text("5\n70\n12\n")
    assert sampling.read_lengths(str(file)) == (5, 12, 70)
    assert sorted(sampling.spread((5, 12, 70), 6, 50)) == [5, 5, 12, 12, 50, 50]
    answers = tmp_path / "step_000010.jsonl"
    answers.write_text('{"n_tokens": 9, "resps": [["\\u2028"]]}\n{"n_tokens": 4, "mode": "greedy"}\n')
    assert sampling.read_lengths(str(answers)) == (4, 9)
    for bad in ("7,x", "0,9", "9,3", "nowhere.txt"):
        with pytest.raises(ValueError, match=r"--lengths: expected MEAN,LIMIT"):
            sampling.read_lengths(bad)
    for bad in ("5\n-1\n", "", '{"tokens": 4}', "[3, 4]", "five", "5.7", '{"n_tokens": true}'):
        file.write_text(bad)
        with pytest.raises(ValueError, match=r"--lengths: expected a file with a number of tokens .* or the answers"):
            sampling.read_lengths(str(file))


def test_measuring_contributions_is_a_program_of_the_step(tmp_path):
    """Catches a plan that leaves out a forward pass of a step: G completions, whole and cut."""
    (tmp_path / "config.json").write_text(json.dumps(tiny_config("qwen3")))
    asked = ["--reward.preset=contribution", "--agents.max_chunks=3"]
    small = ["--data.prompts_per_step=12", "--data.max_prompt_length=32"]
    small += ["--sampling.num_generations=4", "--sampling.max_completion_length=16"]
    exp = prepare(load(SCMA, [f"--model.path={tmp_path}", *asked, *small]))
    found = dict(programs.of_a_step(exp))
    program = found["contribution"]()
    assert program.calls == 3  # a quarter of the problems
    assert program.work.tokens >= 4 * (3 + 1) * (32 + 16)
    assert "contribution" not in dict(programs.of_a_step(prepare(load(SCMA, [f"--model.path={tmp_path}", *small]))))


def _guess(config: Config) -> Estimate:
    """Update memory falls with the devices a row is split over, time rises with them and with the micro-batches."""
    rows = config.grpo.micro_batch_rows / config.mesh.fsdp
    update = rows * (4.0 if not config.model.remat else 1.0) * 7.5 / config.mesh.tensor
    return Estimate(update, 10.0, config.mesh.tensor + 1 / rows + 0.3 * config.model.remat)


def test_candidates_are_ordered_by_what_they_should_cost():
    """Those that should fit first, the quickest of them first; what cannot be divided or is hopeless is left out."""
    config = prepare(_small()).config
    found, reason = choose.candidates(config, parse("v5e:4x4"), _guess)
    assert {c.config.mesh.tensor for c in found} == {1, 2, 4, 8}  # 16 does not divide 8 key heads
    assert "model.num_key_value_heads" in reason
    memory = parse("v5e:4x4").chip.memory_gib
    fits = [c.estimate.gib <= memory for c in found]
    assert fits == sorted(fits, reverse=True)
    costs = [c.estimate.seconds for c, fit in zip(found, fits, strict=True) if fit]
    assert costs == sorted(costs)
    assert all(c.estimate.gib <= 1.5 * memory for c in found)
    first = found[0].settings
    assert first == {
        "mesh.replica": 1,
        "mesh.fsdp": 16,
        "mesh.tensor": 1,
        "grpo.micro_batch_rows": 32,
        "model.remat": True,
    }


def test_slices_become_replicas():
    config = prepare(_small()).config
    found, _ = choose.candidates(config, parse("v5e:2x2", slices=2), _guess)
    assert {c.config.mesh.replica for c in found} == {2}


@pytest.mark.parametrize("limit", [5.0, 0.5, 0.0])
def test_a_search_ends_at_the_first_that_fits(limit):
    """With a compiler that fits what needs no more than a limit. Catches a search that compiles what needs more than
    one that did not fit, that goes on behind its answer, or that proposes what does not fit."""
    config = prepare(_small()).config
    ordered, _ = choose.candidates(config, parse("v5e:4x4"), _guess)
    compiled = []

    def compile_one(candidate, known):
        compiled.append(candidate.estimate.update_gib)
        return {"programs": [{"name": "update", "fits": candidate.estimate.update_gib <= limit}]}

    best, tried = choose.first_that_fits(ordered, compile_one)
    assert len(tried) == len(compiled) <= choose.MOST
    assert compiled[:-1] == sorted(compiled[:-1], reverse=True)
    assert len(set(compiled)) == len(compiled)
    fitting = [c for c in ordered if c.estimate.update_gib <= limit]
    assert best == (fitting[0] if fitting else None)
    assert all(need > limit for need in compiled[:-1])


def test_an_estimate_is_near_what_was_compiled():
    """Of Qwen3-0.6B on a v5e:4x4, whose update takes 2.57 GiB and its sampling 2.3 by libtpu 0.0.42.1: within a half,
    which is enough to order by."""
    config = _small("--grpo.micro_batch_rows=16", "--mesh.fsdp=16")
    exp = prepare(config)
    found = estimate(exp.config, exp.tokenizer, 596_049_920, parse("v5e:4x4"))
    assert found.update_gib == pytest.approx(2.57 + 0.14, rel=0.5)
    without = dataclasses.replace(exp.config, model=dataclasses.replace(exp.config.model, remat=False))
    assert footprint.activations(without.model, 5120) > 5 * footprint.activations(exp.config.model, 5120)


def test_stored_shapes_are_those_of_the_releases():
    """Against the number of parameters that the hub counts."""
    from jaxreason.policy import api, huggingface

    counts = {"Qwen3-0.6B": 596_049_920, "Qwen3-8B": 8_190_735_360, "Qwen3-30B-A3B-Instruct-2507": 30_532_122_624}
    assert {folder.name for folder in Path(SHAPES).iterdir()} == set(counts)
    for name, count in counts.items():
        model = huggingface.model_config(SHAPES / name, ModelConfig())
        assert json.loads((SHAPES / name / "config.json").read_text())["hidden_size"] == model.hidden_size
        shapes = jax.eval_shape(lambda model=model: api.init(jax.random.key(0), model))
        assert api.num_params(shapes) == count


def test_what_a_terminal_shows():
    """A program that fits with what stands beside it, one that repeats a product and loses its donation, and one that
    did not compile. Catches a warning that is worked out and not printed."""
    topology, work = parse("v5e:2x2"), Work(trips=1, tokens=4, predicted=4, pairs=1.0, passes=3)
    config = dataclasses.replace(Config(), model=MODEL, mesh=dataclasses.replace(Config().mesh, fsdp=4))
    sizes = {"arguments_gib": 1.0, "temporaries_gib": 2.0, "peak_gib": 3.0, "largest": [(0.5, "f32[8,8]")]}
    good = Finding("update", work, 2, True, 1.25, state_aliased=True, flops=4e15, flops_compiled=4e15, **sizes)
    bad = dataclasses.replace(
        good, state_aliased=False, flops_compiled=8e15, collectives={"all-gather": (3.0, 2e9)}, fits=False
    )
    burst = Finding("sample reason", work, 1, False, 0.0, "Used 20.00G of 15.75G hbm", flops=1e15)
    found = {"topology": "v5e:2x2", "slices": 1, "devices": 4, "memory_gib": 16, "libtpu": "0"}
    found |= {"mesh": {"replica": 1, "fsdp": 4, "tensor": 1}, "slots": 64, "pages": 90, "mean_length": 50.0}
    found["programs"] = [dataclasses.asdict(one) | roofline.bound(one, config, topology) for one in (good, bad, burst)]
    text = "\n".join(show.lines(found))
    assert "update             yes    4.25    1.25" in text
    assert "all-gather 2 GB in 3" in text
    assert text.count("200.0% of the FLOPs traced: several devices repeat some product") == 1
    assert text.count("held twice") == 1
    assert "sample reason       no  Used 20.00G of 15.75G hbm" in text
    settings = {"mesh.tensor": 2, "model.remat": True}
    assert "--mesh.tensor=2 --model.remat=true" in "\n".join(
        show.search_lines({"settings": settings, "tried": [found]})
    )
    assert "none of 1 arrangements fits" in "\n".join(show.search_lines({"settings": None, "tried": [found]}))


def _on_gpu(gib: float, config: str, shape: str, *more: str) -> dict:
    return gpu.plan(load(ROOT / "configs" / config, [f"--model.path={SHAPES / shape}", *more]), gib)


def test_adapters_fit_where_the_whole_policy_does_not(monkeypatch):
    """8B on a GPU of 80 GiB, 0.6B on Colab's 15 GiB in float32, since its T4 has no bfloat16. Worked by hand: 8.19e9
    frozen numbers of 2 bytes, and 12 bytes for each of the 43.6M of the adapters."""
    for variable in gpu.VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    eight = ("scma_qwen3_8b_gsm8k.yaml", "Qwen3-8B", "--grpo.micro_batch_rows=auto", "--model.param_dtype=bfloat16")
    found = _on_gpu(80, *eight, "--lora.r=16")
    layer = 2 * (4096 + 4096) + 2 * (4096 + 1024) + 3 * (4096 + 12288)  # q and o, k and v, the three of SwiGLU
    assert found["trained_params"] == 36 * 16 * layer
    assert found["held_gib"] * 2**30 == 2 * found["params"] + 12 * found["trained_params"]
    assert found["free_gib"] == 60
    assert found["held_gib"] + max(found["update_gib"], found["sampling_gib"]) < 60
    said = gpu.lines(found)
    assert "8,191M parameters, 43.6M trained in adapters of rank 16" in said[0]
    assert said[-1].startswith("fits: ")
    with pytest.raises(ValueError, match=r"memory: an update .* needs \d+\.\d GiB .* got 60.0 GiB free"):
        _on_gpu(80, *eight)
    colab = ("colab_qwen3_0.6b.yaml", "Qwen3-0.6B")
    found = _on_gpu(15, *colab, "--lora.r=16", "--model.dtype=float32")
    assert found["held_gib"] + max(found["update_gib"], found["sampling_gib"]) < 0.75 * 15
    with pytest.raises(ValueError, match="memory: an update"):
        _on_gpu(15, *colab)


def test_what_a_gpu_plan_refuses(capsys):
    for arguments, message in (
        (["--gpu", "0"], "--gpu: expected the GPU's memory in GiB, above 0, got 0"),
        ([], "plan: expected either --topology, such as v5p:2x2x4, or --gpu, such as 80"),
        (["--gpu", "80", "--topology", "v5e:1x1"], "give one of them"),
        (["--gpu", "80", "--mesh.tensor=2"], "mesh: expected a divisor of the 1 devices"),
    ):
        assert main(["plan", str(ROOT / "configs" / "tiny.yaml"), *arguments]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.splitlines()[-1].startswith("jaxreason: error: ")


def test_what_a_run_of_adapters_holds_beside_each_program(tmp_path):
    """Every program is given the frozen policy, so nothing but the adapters' moments stands beside one that samples."""
    (tmp_path / "config.json").write_text(json.dumps(tiny_config("qwen3")))
    settings = ["--lora.r=2", "--data.prompts_per_step=8", "--sampling.max_completion_length=16"]
    exp = prepare(load(SCMA, [f"--model.path={tmp_path}", "--grpo.beta=[0.1,0,0]", *settings]))
    made = {
        name: trace() for name, trace in programs.of_a_step(exp) if name in ("update", "sample reason", "reference")
    }
    adapters = 4 * footprint.num_trained(exp.config.model, exp.config.lora)
    frozen = footprint.num_params(exp.config.model) * footprint.number_size(exp.config.model.param_dtype)

    def given(name: str, position: int) -> int:
        leaves = jax.tree.leaves(made[name].traced.args_info[0][position])
        return sum(math.prod(x.shape) * x.dtype.itemsize for x in leaves)

    counters = 64  # bytes of steps, of both
    assert 0 <= given("update", 0) - 3 * adapters < counters
    assert (given("update", 2), made["update"].beside) == (frozen, 0)
    assert given("sample reason", 0) == frozen + adapters
    assert 0 <= made["sample reason"].beside - 2 * adapters < counters
    assert given("reference", 0) == frozen
    assert 0 <= made["reference"].beside - 3 * adapters < counters
