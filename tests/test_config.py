"""The configuration: what is written is what is read, and each mistake gets a line that says how to mend it."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from jaxreason import config
from jaxreason.config import Config, load

CONFIGS = Path(__file__).parents[1] / "configs"


def _file(tmp_path, text):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    return path


def test_defaults_files_and_overrides_in_that_order(tmp_path):
    path = _file(tmp_path, "grpo:\n  epsilon: 0.1\n  beta: [0, 0.5, 1]\noptimizer:\n  learning_rate: 3e-6\n")
    loaded = load(path, ["--grpo.epsilon=0.3", "--run.output_dir", "runs/x", "--data.levels=[1,3]"])
    assert load(None) == Config()
    assert loaded.grpo == dataclasses.replace(Config().grpo, epsilon=0.3, beta=(0.0, 0.5, 1.0))
    assert loaded.optimizer.learning_rate == 3e-6  # plain YAML reads 3e-6 as text
    assert loaded.run.output_dir == "runs/x"
    assert loaded.data.levels == (1, 3)


def test_a_dotted_key_in_a_file_is_as_good_as_its_section(tmp_path):
    assert load(_file(tmp_path, "grpo.epsilon: 0.1\n")).grpo.epsilon == 0.1


def test_every_section_can_be_a_static_argument():
    """A list inside would make jit refuse it."""
    loaded = load(None, ["--grpo.beta=[0,0,1]", "--evaluation.budgets=[10,20]"])
    assert hash(loaded) == hash(dataclasses.replace(loaded))


def test_save_and_load_are_inverse_and_keep_the_order_of_the_fields(tmp_path):
    changed = load(None, ["--grpo.beta=[0,0.25,1e-9]", "--optimizer.learning_rate=1e-7", "--model.remat=true"])
    config.save(changed, tmp_path / "saved.yaml")
    assert load(tmp_path / "saved.yaml") == changed
    content = yaml.safe_load((tmp_path / "saved.yaml").read_text())
    assert list(content) == [section.name for section in dataclasses.fields(Config)]
    assert next(iter(content["run"])) == "output_dir"


def test_every_field_has_a_help_line():
    help_text = config.parser().format_help()
    for section in dataclasses.fields(Config):
        for field in dataclasses.fields(section.type):
            entry = help_text.split(f"--{section.name}.{field.name}", 2)[-1].split("(type:")[0]
            assert len("".join(entry.split())) > len(field.name) + 5, f"{section.name}.{field.name}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gpro:\n  epsilon: 0.1\n", "x.yaml: gpro: no such section; did you mean grpo?"),
        ("grpo:\n  epsilom: 0.1\n", "x.yaml: grpo.epsilom: no such configuration key; did you mean grpo.epsilon?"),
        ("epsilon: 0.1\n", "x.yaml: epsilon: no such configuration key; did you mean grpo.epsilon?"),
        ("zzzz: 1\n", "x.yaml: zzzz: no such configuration key; `jaxreason train --help` lists the keys"),
        ("grpo: 3\n", "x.yaml: grpo: expected fields below it, such as grpo.epsilon, got 3"),
        ("grpo:\n", "x.yaml: grpo: expected fields below it, such as grpo.epsilon, got nothing"),
        ("grpo:\n  epsilon:\n", "x.yaml: grpo.epsilon: expected a value, got nothing; leave the key out"),
        ("grpo:\n  epsilon: abc\n", "grpo.epsilon: expected a number, got abc"),
        ("run:\n  max_steps: 1.5\n", "run.max_steps: expected a whole number, got 1.5"),
        ("run:\n  seed: no\n", "run.seed: expected a whole number, got False"),
        ("run:\n  output_dir: yes\n", "run.output_dir: expected text, got True"),
        ("model:\n  remat: 1\n", "model.remat: expected true or false, got 1"),
        ("grpo:\n  beta: [0, 1]\n", "grpo.beta: expected a list of 3, got [0, 1]"),
        ("grpo:\n  beta: 0.1\n", "grpo.beta: expected a list, got 0.1"),
        ("grpo:\n  loss_type: dpo\n", "grpo.loss_type: expected one of grpo, dapo, dr_grpo, cispo, got dpo"),
        ("grpo:\n  epsilon: 2\n", "grpo.epsilon: expected in [0, 1), got 2.0"),
        ("optimizer:\n  learning_rate: .nan\n", "optimizer.learning_rate: expected at least 0, got nan"),
        ("data:\n  levels: []\n", "data.levels: expected some of 1, 2, 3, each once, got ()"),
        ("data:\n  levels: [1, 1]\n", "data.levels: expected some of 1, 2, 3, each once, got (1, 1)"),
        ("data:\n  seed: -1\n", "data.seed: expected at least 0, got -1"),
        ("data:\n  demonstrations: 0\n", "data.demonstrations: expected at least 1, got 0"),
        ("data:\n  helper_demonstrations: 0\n", "data.helper_demonstrations: expected at least 1, got 0"),
        ("warmup:\n  learning_rate: 0\n", "warmup.learning_rate: expected above 0, got 0.0"),
        ("warmup:\n  adam_learning_rate: .nan\n", "warmup.adam_learning_rate: expected above 0, got nan"),
        ("warmup:\n  weight_decay: -1\n", "warmup.weight_decay: expected at least 0, got -1.0"),
        ("reward: {preset: scma, format_penalty: -1}\n", "reward.format_penalty: expected at least 0, got -1.0"),
        ("budget:\n  target_tokens: 0.5\n", "budget.target_tokens: expected 0 or at least 1 token, got 0.5"),
        ("budget:\n  target_reduction: 1\n", "budget.target_reduction: expected in [0, 1), got 1.0"),
        (
            "budget: {target_tokens: 50, target_reduction: 0.5}\n",
            "budget.target_tokens: expected 0 beside budget.target_reduction, got 50.0",
        ),
        ("reward: {alpha: 0}\nbudget: {target_tokens: 50}\n", "reward.alpha: expected above 0 beside a target"),
        ("agents:\n  min_chunks_above: -1\n", "agents.min_chunks_above: expected at least 0, got -1"),
        ("grpo:\n  row_length: 1\n", "grpo.row_length: expected at least 2, got 1"),
        ("optimizer:\n  adam_beta1: 1\n", "optimizer.adam_beta1: expected in [0, 1), got 1.0"),
        ("optimizer:\n  adam_beta2: -0.1\n", "optimizer.adam_beta2: expected in [0, 1), got -0.1"),
        ("optimizer:\n  adam_epsilon: 0\n", "optimizer.adam_epsilon: expected above 0, got 0.0"),
        ("optimizer:\n  weight_decay: -1\n", "optimizer.weight_decay: expected at least 0, got -1.0"),
        ("evaluation:\n  budgets: [0, 5]\n", "evaluation.budgets: expected numbers of at least 1, got (0, 5)"),
        ("grading:\n  max_failure_rate: 2\n", "grading.max_failure_rate: expected in [0, 1], got 2.0"),
        ("monitor:\n  inflation_gap: 0\n", "monitor.inflation_gap: expected above 0, got 0.0"),
        ("tokenizer:\n  vocab_size: 0\n", "tokenizer.vocab_size: expected at least 1, got 0"),
        ("model:\n  rope_theta: 0\n", "model.rope_theta: expected above 0, got 0.0"),
        ("model:\n  rms_norm_eps: 0\n", "model.rms_norm_eps: expected above 0, got 0.0"),
        ("model:\n  initializer_range: -1\n", "model.initializer_range: expected above 0, got -1.0"),
        ("model:\n  num_key_value_heads: 0\n", "model.num_key_value_heads: expected at least 1, got 0"),
        ("model:\n  head_dim: 0\n", "model.head_dim: expected an even number (rotary embedding), at least 2, got 0"),
        ("grading:\n  timeout_s: 0\n", "grading.timeout_s: expected above 0, got 0.0"),
        ("monitor:\n  window: 0\n", "monitor.window: expected at least 1, got 0"),
        ("grpo:\n  epsilon: 0.1\n  epsilon: 0.2\n", "x.yaml:3: key 'epsilon' stands twice"),
        ("grpo:\n  epsilon: 0.1\ngrpo:\n  beta: [0, 0, 0]\n", "x.yaml:3: key 'grpo' stands twice"),
        ("", "x.yaml: expected sections of settings, got NoneType; see configs/"),
        ("- 1\n", "x.yaml: expected sections of settings, got list; see configs/"),
        ("a: [\n", "x.yaml: not valid YAML"),
        ("grpo:\n\tepsilon: 1\n", "x.yaml: not valid YAML"),
        ("experiment: a.yaml\nmethods: {}\n", "x.yaml: is a comparison, expected an experiment; run it by `jaxreason"),
        ("1: 2\n", "x.yaml: 1: no such configuration key"),
    ],
)
def test_a_bad_file_gets_one_line_with_the_place_and_the_remedy(tmp_path, text, message):
    with pytest.raises(ValueError) as caught:
        load(_file(tmp_path, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--grpo.epsilom=0.1", "grpo.epsilom: no such configuration key; did you mean grpo.epsilon?"),
        ("--gpro.epsilon=0.1", "gpro.epsilon: no such configuration key; did you mean grpo.epsilon?"),
        ("--epsilon=0.1", "epsilon: no such configuration key; did you mean grpo.epsilon?"),
        (
            "--learning_rate=1",
            "learning_rate: no such configuration key; did you mean warmup.learning_rate or optimizer.learning_rate?",
        ),
        ("--zzzz=1", "zzzz: no such configuration key; `jaxreason train --help` lists the keys"),
        ("grpo.epsilon=0.1", "grpo.epsilon=0.1: expected --grpo.epsilon=0.1"),
        ("--grpo.epsilon=abc", "grpo.epsilon: expected a number, got abc"),
        ("--grpo.epsilon=2", "grpo.epsilon: expected in [0, 1), got 2.0"),
        ("--grpo=3", "grpo: expected one of its fields, such as --grpo.epsilon=..."),
        ("--grpo.epsilon", "argument --grpo.epsilon: expected one argument"),
    ],
)
def test_a_bad_override_gets_one_line_with_the_remedy(override, message):
    with pytest.raises(ValueError) as caught:
        load(None, [override])
    assert str(caught.value) == message


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere.yaml: no such configuration file"):
        load(tmp_path / "nowhere.yaml")


def test_no_message_carries_an_object_s_address(tmp_path):
    """A parser's internals once came through as `functools.partial(<function ... at 0x...>)`."""
    for text in ("grpo: 3\n", "grpo: [1]\n", "grpo: {epsilon: {a: 1}}\n", "model: text\n"):
        with pytest.raises(ValueError) as caught:
            load(_file(tmp_path, text))
        assert "0x" not in str(caught.value)


def test_a_preset_without_format_and_agreement_terms_may_forgo_the_penalty():
    assert load(None, ["--reward.preset=scma", "--reward.format_penalty=0"]).reward.format_penalty == 0


@pytest.mark.parametrize(
    "path", sorted(set(CONFIGS.glob("**/*.yaml")) - set(CONFIGS.glob("compare_*.yaml"))), ids=lambda path: path.stem
)
def test_the_experiments_that_ship_load(path):
    load(path)
