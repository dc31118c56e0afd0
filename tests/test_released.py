"""From a released checkpoint's folder to a trained model and back: the whole way a researcher goes, on tiny weights.

The folders are of the classes that are released (tests/released.py); the weights are random, the files real.
"""

import json
import re
import shutil

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from jaxreason.cli import main
from jaxreason.config import ModelConfig
from jaxreason.data import tokenizer as tokenizers_room
from tests import runs
from tests.reference import transformer as reference
from tests.released import write_checkpoint

pytestmark = pytest.mark.slow

LIMIT = 16
NO_CACHE = runs.NO_CACHE
SETTINGS = {
    "run": {"max_steps": 3, "save_steps": 2},
    "data": {"test_size": 4, "prompts_per_step": 4, "max_prompt_length": 48},
    "sampling": {"num_generations": 4, "max_completion_length": LIMIT},
    "agents": {"prompts": "chat", "max_chunks": LIMIT},
    "reward": {"preset": "scma"},
    "grpo": {"row_length": 576, "micro_batch_rows": 4},
    "optimizer": {"learning_rate": 3.0e-3, "warmup_steps": 0},
    "grading": {"num_workers": 0},
    "mesh": {"fsdp": 1},  # quicker than eight devices, and not what is tested here
}


def write_problems(folder):
    rows = [{"id": str(i), "question": f"What is {i}+{i + 1}?", "answer": str(2 * i + 1)} for i in range(12)]
    (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "problems.jsonl")


def write_config(folder, checkpoint, **sections):
    """A configuration file in a folder, with its problems."""
    problems = write_problems(folder)
    whole = {name: dict(fields) for name, fields in SETTINGS.items()}
    whole["data"] |= {"train": problems, "test": problems}
    whole["model"] = {"path": str(checkpoint)}
    for name, fields in sections.items():
        whole[name] = whole.get(name, {}) | fields
    (folder / "config.yaml").write_text(yaml.safe_dump(whole))
    return folder / "config.yaml"


def train(folder, checkpoint, *arguments, **sections):
    file = write_config(folder, checkpoint, **sections)
    return main(["train", str(file), NO_CACHE, f"--run.output_dir={folder / 'run'}", *arguments])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Three steps of SCMA from a Qwen3 folder: (its folder, the run's)."""
    folder = tmp_path_factory.mktemp("released")
    checkpoint = write_checkpoint(folder / "qwen3", "qwen3")
    assert train(folder, checkpoint) == 0
    return checkpoint, folder / "run"


def _answers(run, step=0, mode="greedy"):
    lines = (run / "evaluation" / f"step_{step:06d}.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["mode"] == mode]


def _by_hand(folder, config):
    """The reference's parameters, read here from the file by name."""
    held = {name: x.astype(np.float64) for name, x in load_file(folder / "model.safetensors").items()}

    def stack(name, turned=True):
        found = [held[f"model.layers.{y}.{name}.weight"] for y in range(config.num_hidden_layers)]
        return np.stack([x.T if turned else x for x in found])

    linear = {f"{n}_proj": {"kernel": stack(f"self_attn.{n}_proj")} for n in "qkvo"}
    linear |= {f"{n}_proj": {"kernel": stack(f"mlp.{n}_proj")} for n in ("gate", "up", "down")}
    norms = {n: {"scale": stack(n, turned=False)} for n in ("input_layernorm", "post_attention_layernorm")}
    norms |= {f"{n}_norm": {"scale": stack(f"self_attn.{n}_norm", turned=False)} for n in "qk"}
    return {
        "embed_tokens": held["model.embed_tokens.weight"],
        "norm": {"scale": held["model.norm.weight"]},
        "layers": {"0": linear | norms},
    }


def test_the_first_evaluation_is_the_checkpoints_own(trained):
    """Template, tokens, weights and end tokens together: greedy answers against NumPy from the file itself."""
    checkpoint, run = trained
    config = ModelConfig(
        vocab_size=640,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        rope_theta=1e6,
    )
    params, tokenizer = _by_hand(checkpoint, config), tokenizers_room.load(checkpoint)
    answers = _answers(run)
    assert len({answer["resps"][0][0] for answer in answers}) > 1
    for answer in answers[:2]:
        question = answer["doc"]["question"]
        asked = (
            f"<|im_start|>user\n{question}\n\nPlease reason step by step, and put your final answer within \\boxed{{}}."
            "<|im_end|>\n<|im_start|>assistant\n"
        )
        (ids,) = tokenizer.encode_batch([asked])
        before = len(ids)
        while len(ids) - before < 6 and ids[-1] not in tokenizer.eos_ids:
            logits_SV = reference.logits(params, ids, np.arange(len(ids)), np.ones(len(ids), int), config)
            ids.append(int(logits_SV[-1].argmax()))
        ended = ids[-1] in tokenizer.eos_ids
        (expected,) = tokenizer.decode_batch([ids[before : len(ids) - ended]])
        assert answer["resps"][0][0].startswith(expected.rstrip("�"))
        if ended:
            assert (answer["n_tokens"], answer["finish_reason"]) == (len(ids) - before, "stop")


def test_a_run_from_a_checkpoint_learns_and_says_where_it_came_from(trained):
    """Three steps in which every role was asked and the weights moved; no second copy of the released weights."""
    checkpoint, run = trained
    rows = runs.rows(run)
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert any(row["grad_norm"] > 0 for row in rows)
    assert all(row["segment/valid"] == row["score/valid"] == 1 for row in rows)
    came_from = json.loads((run / "model.json").read_text())
    assert came_from["path"] == came_from["folder"] == str(checkpoint)
    assert len(came_from["fingerprint"]) == 16
    assert not any(child.name.isdigit() for child in (run / "start").iterdir())
    held = yaml.safe_load((run / "config.yaml").read_text())["model"]
    assert (held["vocab_size"], held["num_hidden_layers"], held["rope_theta"]) == (640, 2, 1e6)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (run / "tokenizer" / name).read_bytes() == (checkpoint / name).read_bytes()


@pytest.mark.parametrize(
    ("kind", "decoding"),
    [("r1_distill", "constrained"), ("qwen3_instruct", "free")],
)
def test_other_classes_train_too(tmp_path, kind, decoding):
    """Biases and an untied head (Qwen2), a thought opened in the prompt, a template without a switch."""
    checkpoint = write_checkpoint(tmp_path / kind, kind)
    assert train(tmp_path, checkpoint, "--run.max_steps=1", f"--agents.decoding={decoding}") == 0
    (row,) = runs.rows(tmp_path / "run")
    assert np.isfinite(row["loss"])
    assert row["reason/completions/mean_length"] > 0
    (sample, *_) = map(json.loads, (tmp_path / "run" / "samples" / "step_000001.jsonl").read_text().splitlines())
    assert sample


def test_a_stopped_run_goes_on_from_the_same_weights_alone(trained, tmp_path, capsys):
    """The frozen reference is read again from the checkpoint: another one there would change every later reward."""
    checkpoint, run = trained
    moved = tmp_path / "moved"
    shutil.copytree(run, moved / "run")
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    runs.remove_checkpoint(moved / "run", 3)
    problems = str(run.parent / "problems.jsonl")
    same = [f"--data.train={problems}", f"--data.test={problems}"]
    assert train(moved, copy, *same) == 2  # another model.path
    assert "model.path" in capsys.readouterr().err
    weights = load_file(checkpoint / "model.safetensors")
    held = (checkpoint / "model.safetensors").read_bytes()
    try:
        weights["model.norm.weight"] = weights["model.norm.weight"] * 1.5
        save_file(weights, str(checkpoint / "model.safetensors"), metadata={"format": "pt"})
        assert train(moved, checkpoint, *same) == 2
        assert "fingerprint" in capsys.readouterr().err
    finally:
        (checkpoint / "model.safetensors").write_bytes(held)
    assert train(moved, checkpoint, *same) == 0
    assert runs.rows(moved / "run") == runs.rows(run)
    assert runs.results(moved / "run") == runs.results(run)


BAD = [
    ({"model": {"hidden_size": 64}}, r"model\.hidden_size: expected 32, as in .*config\.json, got 64; leave it out"),
    ({"model": {"num_hidden_layers": 4}}, r"model\.num_hidden_layers: expected 2"),  # 4 is the default
    ({"model": {"path": ""}}, r"chat template"),
    ({"model": {"path": "", "revision": "main"}}, r"model\.revision: expected a model\.path"),
    ({"model": {"path": "Qwen/Qwen3-0.6B"}}, r"Qwen/Qwen3-0\.6B: .*hf download"),
    ({"model": {"path": "/nowhere/at/all"}}, r"/nowhere/at/all: expected the folder of a checkpoint"),
    ({"sampling": {"max_completion_length": 4096}}, r"made for 4096"),
    ({"grpo": {"row_length": 64}}, r"grpo\.row_length"),
]


@pytest.mark.parametrize(("sections", "message"), BAD)
def test_a_mistake_costs_one_line(tmp_path, capsys, sections, message):
    checkpoint = write_checkpoint(tmp_path / "qwen3", "qwen3")
    assert train(tmp_path, checkpoint, **sections) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line), line


def test_an_exported_checkpoint_answers_as_its_run_did(trained, tmp_path, monkeypatch):
    """Weights, template, limits and draws all go along: greedy and sampled, the same answers to the letter."""
    _, run = trained
    exported = tmp_path / "exported"
    assert main(["export", str(run), "--to", str(exported)]) == 0
    monkeypatch.chdir(tmp_path)
    problems = write_problems(tmp_path)
    for place, output in ((run, tmp_path / "run.json"), (exported, tmp_path / "exported.json")):
        asked = ["evaluate", str(place), "--data", problems, "--output", str(output), NO_CACHE]
        assert main(asked) == 0
    assert (tmp_path / "run.jsonl").read_text() == (tmp_path / "exported.jsonl").read_text()
    tables = [json.loads((tmp_path / f"{name}.json").read_text())["table"] for name in ("run", "exported")]
    assert tables[0] == tables[1]
    assert len((tmp_path / "run.jsonl").read_text().splitlines()) == 2 * 12


def test_a_question_is_answered_as_the_evaluation_answers_it(trained, capsys):
    """Greedy, from the run's start and from the checkpoint it began from: the text of the first evaluation."""
    checkpoint, run = trained
    question, expected = _answers(run)[1]["doc"]["question"], _answers(run)[1]["resps"][0][0]
    limit = f"--max_completion_length={LIMIT}"
    for place, more in ((run, ["--step=0"]), (checkpoint, [limit])):
        capsys.readouterr()
        assert main(["generate", str(place), question, "--temperature=0", *more, NO_CACHE]) == 0
        screen = capsys.readouterr()
        assert expected.rstrip() in screen.out
        assert "tokens in" in screen.out
        assert screen.err == ""


def test_an_answer_is_explained_by_the_same_model(trained, capsys):
    """Every token of the reasoning stands in one scored chunk."""
    _, run = trained
    question = _answers(run)[1]["doc"]["question"]
    assert main(["generate", str(run), question, "--step=0", "--temperature=0", "--explain", NO_CACHE]) == 0
    lines = capsys.readouterr().out.splitlines()
    chunks = [line for line in lines if re.match(r"\[[1-5]\] +\d+  ", line)]
    counts = [int(line.split()[1]) for line in chunks]
    total = int(re.search(r"of (\d+) tokens score 2 or less", "\n".join(lines)).group(1))
    assert sum(counts) == total >= 1
    assert total <= _answers(run)[1]["n_tokens"]


PLACES = [
    (["evaluate", "{empty}", "--data", "x"], "expected the folder of a run"),
    (["evaluate", "{checkpoint}"], "expected --data FILE"),
    (["generate", "{checkpoint}", "q", "--step=2"], "--step: expected with the folder of a run only"),
    (["generate", "{checkpoint}", " "], "QUESTION: expected some text"),
    (["generate", "{checkpoint}", "q", "--top_p=2"], r"--top_p: expected in \(0, 1\]"),
    (["generate", "{checkpoint}", "q", "--max_completion_length=5000"], "the model is made for 4096"),
    (["generate", "nobody/nothing", "q"], "nobody/nothing: "),
    (["generate", "{pickle}", "q"], "a pickle, which could run any code"),
    (["generate", "{small}", "q"], r"model\.vocab_size: expected at least 5\d\d, the ids of"),
    (["generate", "{raises}", "q"], "the chat template failed on these messages: .*no system turn"),
]


@pytest.mark.parametrize(("arguments", "message"), PLACES)
def test_a_place_that_cannot_be_used_is_said_in_one_line(tmp_path, capsys, arguments, message):
    for name in ("checkpoint", "pickle", "small", "raises"):
        write_checkpoint(tmp_path / name, "qwen3", **({"vocab_size": 518} if name == "small" else {}))
    (tmp_path / "empty").mkdir()
    (tmp_path / "pickle" / "model.safetensors").rename(tmp_path / "pickle" / "pytorch_model.bin")
    settings = json.loads((tmp_path / "raises" / "tokenizer_config.json").read_text())
    settings["chat_template"] = "{{ raise_exception('no system turn') }}"
    (tmp_path / "raises" / "tokenizer_config.json").write_text(json.dumps(settings))
    folders = {path.name: str(path) for path in tmp_path.iterdir()}
    assert main([argument.format(**folders) for argument in arguments] + [NO_CACHE]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line), line
