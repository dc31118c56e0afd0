"""One frozen, hashable dataclass a section; `load` reads YAML and dotted overrides into one `Config`.

Names are TRL's where TRL has one. Lengths are tokens. What changes during a run is no field here: the learning rate
and alpha are computed from the step.
"""

import dataclasses
import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import jsonargparse
import yaml

jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)

ROLES = ("reason", "segment", "score")
"""Role names in the order of their ids; `agents/roles.py` says what each is."""

Preset = Literal["scma", "guarded", "frozen", "shuffled", "lp", "truncation", "grpo"]


def _require(ok: bool, field: str, expected: str, got: object) -> None:
    if not ok:
        raise ValueError(f"{field}: expected {expected}, got {got!r}")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Where a run goes and how long it lasts."""

    output_dir: str = "runs/default"
    """folder of the run"""
    seed: int = 0
    """every random number of the run comes from this"""
    max_steps: int = 100
    """GRPO steps"""
    eval_steps: int = 0
    """evaluate every so many steps; 0: only before and after"""
    save_steps: int = 20
    """checkpoint every so many steps; 0: only at the end"""
    save_total_limit: int = 2
    """checkpoints to keep"""
    logging_steps: int = 1
    """a plain log line every so many steps where the output is no terminal"""
    log_completions: int = 2
    """problems a step whose completions of every role are kept in samples/"""
    compilation_cache_dir: str = "~/.cache/jaxreason/xla"
    """JAX's persistent compilation cache; empty: off"""

    def __post_init__(self):
        _require(self.max_steps >= 0, "run.max_steps", "at least 0", self.max_steps)
        _require(self.save_total_limit >= 1, "run.save_total_limit", "at least 1", self.save_total_limit)
        _require(self.logging_steps >= 1, "run.logging_steps", "at least 1", self.logging_steps)
        for name in ("eval_steps", "save_steps", "log_completions"):
            _require(getattr(self, name) >= 0, f"run.{name}", "at least 0", getattr(self, name))


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The policy's shape, in the names of a Hugging Face config.json."""

    vocab_size: int = 0
    """entries of the embedding; 0: the tokenizer's size, rounded up to a multiple of 64"""
    hidden_size: int = 128
    """width D"""
    intermediate_size: int = 384
    """width of the SwiGLU layer"""
    num_hidden_layers: int = 4
    """layers Y"""
    num_attention_heads: int = 4
    """query heads H"""
    num_key_value_heads: int = 2
    """key/value heads J; H must be a multiple of it"""
    head_dim: int = 32
    """head size C"""
    rope_theta: float = 10000.0
    """base of the rotary embedding"""
    rms_norm_eps: float = 1e-6
    """epsilon of every RMSNorm"""
    tie_word_embeddings: bool = True
    """whether the head is the transposed embedding"""
    qk_norm: bool = True
    """RMSNorm on queries and keys (Qwen3)"""
    attention_bias: bool = False
    """biases on q, k and v (Qwen2)"""
    initializer_range: float = 0.02
    """standard deviation of the initial weights"""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """type of the computation"""
    param_dtype: Literal["float32", "bfloat16"] = "float32"
    """type of the stored parameters"""
    remat: bool = False
    """recompute each layer in the backward pass"""
    logp_chunk: int = 4096
    """tokens whose logits exist at one time"""

    def __post_init__(self):
        for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "logp_chunk"):
            _require(getattr(self, name) >= 1, f"model.{name}", "at least 1", getattr(self, name))
        _require(self.num_key_value_heads >= 1, "model.num_key_value_heads", "at least 1", self.num_key_value_heads)
        _require(
            self.num_attention_heads % self.num_key_value_heads == 0,
            "model.num_attention_heads",
            f"a multiple of model.num_key_value_heads={self.num_key_value_heads}",
            self.num_attention_heads,
        )
        _require(
            self.head_dim >= 2 and self.head_dim % 2 == 0,
            "model.head_dim",
            "an even number (rotary embedding), at least 2",
            self.head_dim,
        )
        for name in ("rope_theta", "rms_norm_eps", "initializer_range"):
            _require(getattr(self, name) > 0, f"model.{name}", "above 0", getattr(self, name))
        _require(self.vocab_size >= 0, "model.vocab_size", "at least 0", self.vocab_size)


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """The tokenizer."""

    path: str = ""
    """folder of a tokenizer; empty: train a sentencepiece model on the training data, inside the run folder"""
    vocab_size: int = 420
    """pieces of a trained sentencepiece model, 256 of them byte fallbacks"""

    def __post_init__(self):
        _require(self.vocab_size >= 1, "tokenizer.vocab_size", "at least 1", self.vocab_size)


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Problems: the built-in task, or files of {id, question, answer, source, meta}."""

    train: str = "builtin"
    """training problems: a JSONL file, a folder made by `jaxreason data prepare`, or `builtin`"""
    test: str = "builtin"
    """held-out problems: a JSONL file, a folder made by `jaxreason data prepare`, or `builtin`"""
    train_size: int = 20000
    """built-in task: training problems"""
    test_size: int = 504
    """problems held out for evaluation; of a file, its first so many; 0: all"""
    demonstrations: int = 12000
    """built-in task: problems demonstrated to the reasoner for the warm start"""
    helper_demonstrations: int = 4000
    """built-in task: problems demonstrated to the two helpers"""
    seed: int = 0
    """built-in task: seed of the generator"""
    levels: tuple[int, ...] = (1, 2, 3)
    """built-in task: which levels, in equal shares"""
    prompts_per_step: int = 16
    """problems P in a step"""
    max_prompt_length: int = 48
    """reasoner prompts longer than this many tokens are dropped and counted"""

    def __post_init__(self):
        _require(self.prompts_per_step >= 1, "data.prompts_per_step", "at least 1", self.prompts_per_step)
        _require(self.max_prompt_length >= 1, "data.max_prompt_length", "at least 1", self.max_prompt_length)
        _require(self.test_size >= 0, "data.test_size", "at least 0", self.test_size)
        _require(self.seed >= 0, "data.seed", "at least 0", self.seed)
        for name in ("train_size", "demonstrations", "helper_demonstrations"):
            _require(getattr(self, name) >= 1, f"data.{name}", "at least 1", getattr(self, name))
        _require(
            len(self.levels) == len(set(self.levels)) > 0 and set(self.levels) <= {1, 2, 3},
            "data.levels",
            "some of 1, 2, 3, each once",
            self.levels,
        )


@dataclasses.dataclass(frozen=True)
class WarmupConfig:
    """The supervised start on demonstrations of the three roles."""

    max_steps: int = 0
    """optimiser steps; 0: no supervised start"""
    drill_steps: int = 0
    """the first so many of them on bare equations of the built-in task"""
    result_weight: float = 3.0
    """weight of results (what follows `=`) and of scores, against 1 of other tokens: they hold most of the work"""
    learning_rate: float = 0.01
    """peak learning rate of Muon's matrices"""
    adam_learning_rate: float = 2e-3
    """peak learning rate of everything that is no matrix"""
    rows_per_step: int = 32
    """packed rows in a step"""
    row_length: int = 256
    """tokens of a packed row"""
    weight_decay: float = 0.01
    """decoupled weight decay"""

    def __post_init__(self):
        _require(self.max_steps >= 0, "warmup.max_steps", "at least 0", self.max_steps)
        _require(
            0 <= self.drill_steps <= self.max_steps, "warmup.drill_steps", "in 0..warmup.max_steps", self.drill_steps
        )
        _require(self.result_weight > 1, "warmup.result_weight", "above 1", self.result_weight)
        _require(self.rows_per_step >= 1, "warmup.rows_per_step", "at least 1", self.rows_per_step)
        _require(self.row_length >= 2, "warmup.row_length", "at least 2", self.row_length)
        for name in ("learning_rate", "adam_learning_rate"):
            _require(getattr(self, name) > 0, f"warmup.{name}", "above 0", getattr(self, name))
        _require(self.weight_decay >= 0, "warmup.weight_decay", "at least 0", self.weight_decay)


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """How completions are drawn in training."""

    num_generations: int = 8
    """rollouts G a problem"""
    max_completion_length: int = 160
    """token limit of the reasoner"""
    temperature: float = 1.0
    """softmax temperature; the trainer's log-probabilities use the same"""
    top_p: float = 1.0
    """smallest set of tokens whose probability reaches this; 1: off"""
    top_k: int = 0
    """this many likeliest tokens; 0: off"""
    min_p: float = 0.0
    """tokens at least this fraction as likely as the likeliest; 0: off"""

    def __post_init__(self):
        _require(
            self.num_generations >= 2,
            "sampling.num_generations",
            "at least 2, since an advantage compares the rollouts of one problem",
            self.num_generations,
        )
        _require(
            self.max_completion_length >= 2, "sampling.max_completion_length", "at least 2", self.max_completion_length
        )
        _require(self.temperature > 0, "sampling.temperature", "above 0 (evaluation can be greedy)", self.temperature)
        _require(0 < self.top_p <= 1, "sampling.top_p", "in (0, 1]", self.top_p)
        _require(self.top_k >= 0, "sampling.top_k", "at least 0", self.top_k)
        _require(0 <= self.min_p < 1, "sampling.min_p", "in [0, 1)", self.min_p)


@dataclasses.dataclass(frozen=True)
class AgentsConfig:
    """The two helpers: how they are asked and how their answers are read."""

    prompts: Literal["marks", "chat", "plain"] = "marks"
    """`marks`: one mark a role, for a model trained from scratch; `chat`: instructions through a released model's chat
    template; `plain`: the same instructions as plain text, for a base model"""
    decoding: Literal["free", "constrained"] = "constrained"
    """`free`: helpers write anything (the paper); `constrained`: only well-formed answers can be sampled, but more than
    max_chunks chunks are still invalid"""
    max_chunks: int = 32
    """static maximum K; a split into more is invalid"""
    min_chunks: int = 1
    """a split of more than `min_chunks_above` tokens into fewer is invalid (guards against merging)"""
    min_chunks_above: int = 64
    """see min_chunks"""
    scorer_sees_question: bool = True
    """whether the scorer's prompt holds the question (the paper shows it the chunks only)"""
    exact_whitespace: bool = False
    """whether a lossless split must keep white space byte for byte"""

    def __post_init__(self):
        _require(self.max_chunks >= 1, "agents.max_chunks", "at least 1", self.max_chunks)
        _require(
            1 <= self.min_chunks <= self.max_chunks, "agents.min_chunks", "in 1..agents.max_chunks", self.min_chunks
        )
        _require(self.min_chunks_above >= 0, "agents.min_chunks_above", "at least 0", self.min_chunks_above)


@dataclasses.dataclass(frozen=True)
class RewardConfig:
    """What is rewarded: R = R_acc - alpha * f(sum phi(w_i) |s_i|), and the controls on the same footing."""

    preset: Preset = "guarded"
    """which terms reach which role; `jaxreason/rewards/presets.py` is the table"""
    alpha: float = 0.2
    """weight of the length penalty"""
    alpha_warmup_steps: int = 0
    """steps over which alpha rises from 0"""
    phi: tuple[float, float, float, float, float] = (1.0, 0.75, 0.5, 0.25, 0.0)
    """penalty weight of importance 1 to 5"""
    centred_phi: bool = False
    """subtract the mean phi of the response's chunks and add 0.5, so that scoring everything high gains nothing"""
    normalize_length: Literal["limit", "group_mean"] = "limit"
    """f: `limit` min(1, L / max_completion_length); `group_mean` L / mean |y| of the group"""
    gate: Literal["none", "correct"] = "none"
    """`correct`: wrong answers pay no penalty"""
    unit: Literal["tokens", "characters"] = "tokens"
    """what |s_i| counts"""
    invalid_helper: Literal["running_mean", "zero", "full"] = "running_mean"
    """penalised share of |y| where a helper's answer is invalid"""
    format_penalty: float = 1.0
    """what a role loses for an invalid answer of its own"""
    share_format: bool = False
    """whether the format term reaches all roles"""
    target_length: int = 0
    """L_T of the truncation reward; 0: max_completion_length"""
    require_eos: bool = True
    """whether an answer cut at the limit counts as wrong"""

    def __post_init__(self):
        _require(self.alpha >= 0, "reward.alpha", "at least 0", self.alpha)
        _require(self.alpha_warmup_steps >= 0, "reward.alpha_warmup_steps", "at least 0", self.alpha_warmup_steps)
        _require(
            all(0 <= p for p in self.phi) and list(self.phi) == sorted(self.phi, reverse=True),
            "reward.phi",
            "five numbers, none negative, none above the one before it",
            self.phi,
        )
        _require(self.target_length >= 0, "reward.target_length", "at least 0", self.target_length)
        _require(self.format_penalty >= 0, "reward.format_penalty", "at least 0", self.format_penalty)
        _require(
            self.preset not in ("guarded", "shuffled") or self.format_penalty >= 1,
            "reward.format_penalty",
            f"at least 1 with preset {self.preset}, or an invalid score would beat one that disagrees",
            self.format_penalty,
        )


@dataclasses.dataclass(frozen=True)
class GRPOConfig:
    """Group-relative policy optimisation over the rows of all roles."""

    epsilon: float = 0.2
    """how far the ratio may fall below 1"""
    epsilon_high: float = 0.28
    """how far the ratio may rise above 1"""
    beta: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """k3 KL coefficient to the starting policy, for reason, segment, score"""
    role_weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """weight of each role's loss, for reason, segment, score"""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """divide advantages by the standard deviation of the group, of the batch, or not"""
    loss_type: Literal["grpo", "dapo", "dr_grpo"] = "grpo"
    """`grpo`: mean over sequences of their token means; `dapo`: mean over tokens; `dr_grpo`: over the token limit"""
    credit: Literal["sequence", "chunk"] = "sequence"
    """`sequence`: one advantage for all of a chain (the papers); `chunk`: the length term's on the chunk that caused
    it"""
    mask_truncated_completions: bool = False
    """leave completions cut at the limit out of statistics and loss"""
    num_mini_batches: int = 1
    """optimiser steps a rollout batch, each on its share of the problems"""
    micro_batch_rows: int = 32
    """packed rows of row_length differentiated at a time, twice as many of half rows; gradients accumulate"""
    row_length: int = 256
    """tokens of a packed row; at least the longest prompt and completion of any role"""

    def __post_init__(self):
        _require(0 <= self.epsilon < 1, "grpo.epsilon", "in [0, 1)", self.epsilon)
        _require(self.epsilon_high >= 0, "grpo.epsilon_high", "at least 0", self.epsilon_high)
        _require(all(b >= 0 for b in self.beta), "grpo.beta", "numbers of at least 0", self.beta)
        _require(
            all(w >= 0 for w in self.role_weights) and sum(self.role_weights) > 0,
            "grpo.role_weights",
            "numbers of at least 0, not all 0",
            self.role_weights,
        )
        _require(self.num_mini_batches >= 1, "grpo.num_mini_batches", "at least 1", self.num_mini_batches)
        _require(self.micro_batch_rows >= 1, "grpo.micro_batch_rows", "at least 1", self.micro_batch_rows)
        _require(self.row_length >= 2, "grpo.row_length", "at least 2", self.row_length)


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW, built from optax."""

    learning_rate: float = 1e-6
    """peak learning rate"""
    warmup_steps: int = 10
    """steps of linear rise"""
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = "constant"
    """what follows the rise; linear and cosine end at 0"""
    adam_beta1: float = 0.9
    """decay of the first moment"""
    adam_beta2: float = 0.999
    """decay of the second moment"""
    adam_epsilon: float = 1e-8
    """epsilon of AdamW"""
    weight_decay: float = 0.0
    """decoupled weight decay"""
    max_grad_norm: float = 1.0
    """gradients are scaled down to this global norm; 0: never"""

    def __post_init__(self):
        _require(self.learning_rate >= 0, "optimizer.learning_rate", "at least 0", self.learning_rate)
        _require(self.warmup_steps >= 0, "optimizer.warmup_steps", "at least 0", self.warmup_steps)
        for name in ("adam_beta1", "adam_beta2"):
            _require(0 <= getattr(self, name) < 1, f"optimizer.{name}", "in [0, 1)", getattr(self, name))
        _require(self.adam_epsilon > 0, "optimizer.adam_epsilon", "above 0", self.adam_epsilon)
        _require(self.weight_decay >= 0, "optimizer.weight_decay", "at least 0", self.weight_decay)
        _require(self.max_grad_norm >= 0, "optimizer.max_grad_norm", "at least 0", self.max_grad_norm)


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation on held-out problems."""

    temperature: float = 1.0
    """of the sampled evaluation"""
    top_p: float = 1.0
    """of the sampled evaluation"""
    num_samples: int = 1
    """samples a problem, for Mean@k and Pass@k"""
    greedy: bool = True
    """whether to decode greedily as well"""
    batch_rows: int = 128
    """completions decoded at a time"""
    budgets: tuple[int, ...] = ()
    """token budgets of the post-hoc accuracy curve; empty: eighths of the limit"""

    def __post_init__(self):
        _require(self.num_samples >= 1, "evaluation.num_samples", "at least 1", self.num_samples)
        _require(self.batch_rows >= 1, "evaluation.batch_rows", "at least 1", self.batch_rows)
        _require(self.temperature >= 0, "evaluation.temperature", "at least 0", self.temperature)
        _require(0 < self.top_p <= 1, "evaluation.top_p", "in (0, 1]", self.top_p)
        _require(all(b >= 1 for b in self.budgets), "evaluation.budgets", "numbers of at least 1", self.budgets)


@dataclasses.dataclass(frozen=True)
class GradingConfig:
    """Checking answers on the host."""

    num_workers: int = 1
    """processes for answers that need more than a string comparison; 0: no such grading"""
    timeout_s: float = 3.0
    """seconds before such an answer is given up and counts as wrong"""
    max_failure_rate: float = 0.1
    """the run stops when more than this share of a step's answers could not be graded"""

    def __post_init__(self):
        _require(self.num_workers >= 0, "grading.num_workers", "at least 0", self.num_workers)
        _require(self.timeout_s > 0, "grading.timeout_s", "above 0", self.timeout_s)
        _require(0 <= self.max_failure_rate <= 1, "grading.max_failure_rate", "in [0, 1]", self.max_failure_rate)


@dataclasses.dataclass(frozen=True)
class MonitorConfig:
    """Signs of trouble; they warn, they never change the run."""

    inflation_gap: float = 0.5
    """warn when the live scorer is this much above the frozen one, in points, on the same text"""
    window: int = 20
    """steps over which signs are averaged"""

    def __post_init__(self):
        _require(self.inflation_gap > 0, "monitor.inflation_gap", "above 0", self.inflation_gap)
        _require(self.window >= 1, "monitor.window", "at least 1", self.window)


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole experiment."""

    run: RunConfig = RunConfig()
    """where a run goes and how long it lasts"""
    model: ModelConfig = ModelConfig()
    """the policy's shape"""
    tokenizer: TokenizerConfig = TokenizerConfig()
    """the tokenizer"""
    data: DataConfig = DataConfig()
    """problems"""
    warmup: WarmupConfig = WarmupConfig()
    """the supervised start"""
    sampling: SamplingConfig = SamplingConfig()
    """how completions are drawn"""
    agents: AgentsConfig = AgentsConfig()
    """the helpers"""
    reward: RewardConfig = RewardConfig()
    """what is rewarded"""
    grpo: GRPOConfig = GRPOConfig()
    """the update"""
    optimizer: OptimizerConfig = OptimizerConfig()
    """the optimiser"""
    evaluation: EvaluationConfig = EvaluationConfig()
    """evaluation"""
    grading: GradingConfig = GradingConfig()
    """checking answers"""
    monitor: MonitorConfig = MonitorConfig()
    """signs of trouble"""


def parser() -> jsonargparse.ArgumentParser:
    """A parser of every field, with a help line each, for the commands to extend."""
    result = jsonargparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    result.add_class_arguments(Config)
    return result


def load(path: str | Path | None, overrides: Sequence[str] = ()) -> Config:
    """Read an experiment.

    Args:
      path: YAML file; None for the defaults.
      overrides: `--section.field=value`, applied after the file.

    Raises:
      ValueError: unreadable file, unknown key (the nearest right one is named), wrong type, value out of range.
    """
    known = parser()
    known.add_argument("--config", action="config")
    args = []
    if path is not None:
        if not Path(path).is_file():
            raise ValueError(f"{path}: no such configuration file")
        _refuse_unknown_keys(Path(path), _read(Path(path)))
        args = [f"--config={path}"]
    try:
        parsed = known.parse_args([*args, *overrides])
        sections = known.instantiate(parsed)
        return Config(**{field.name: sections[field.name] for field in dataclasses.fields(Config)})
    except (jsonargparse.ArgumentError, ValueError, TypeError) as error:
        raise ValueError(_explain(str(error))) from None


def to_dict(config: Config) -> dict:
    """The whole configuration as plain data (tuples become lists), as it is written to config.yaml."""
    return yaml.safe_load(yaml.safe_dump(_plain(dataclasses.asdict(config)), sort_keys=False))


def save(config: Config, path: str | Path) -> None:
    """Write the resolved configuration; `load` reads it back equal."""
    Path(path).write_text(yaml.safe_dump(to_dict(config), sort_keys=False))


def _plain(value):
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value


def _sections() -> list[str]:
    return [section.name for section in dataclasses.fields(Config)]


def _keys() -> list[str]:
    defaults = Config()
    return [f"{name}.{f.name}" for name in _sections() for f in dataclasses.fields(getattr(defaults, name))]


def _unknown(name: str) -> str:
    """What to say of a key that does not exist: the right one nearest to it, or every section that has such a field."""
    near = [key for key in _keys() if key.split(".")[1] == name]
    near = near or difflib.get_close_matches(name, _keys() + _sections(), n=1, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "`jaxreason train --help` lists the keys"
    return f"{name}: no such configuration key; {hint}"


_TYPES = {"float": "a number", "int": "a whole number", "bool": "true or false", "str": "text", "tuple": "a list"}


def _explain(message: str) -> str:
    """One line from a parser's complaint, in the words of the configuration and not of the parser."""
    line = re.sub(r"\s*\n\s*", " ", message).strip()
    if bad := re.search(r"does not accept option '([\w.]+)'|Option '([\w.]+)' is not accepted", line):
        group = re.search(r"Group '([\w.]+)'", line)
        name = bad.group(1) or bad.group(2)
        return _unknown(f"{group.group(1)}.{name}" if group and not name.startswith(group.group(1)) else name)
    if bad := re.search(r"unrecognized arguments: (\S+)", line):
        argument = bad.group(1)
        name = argument.lstrip("-").split("=")[0]
        if not argument.startswith("--") and name in _keys():
            return f"{argument}: expected --{argument}"
        return _unknown(name)
    if bad := re.fullmatch(r'Parser key "([\w.]+)": Expected an? (.*?)\. Got value: (.*)', line):
        name, expected, got = bad.groups()
        if kind := re.fullmatch(r"<class '(\w+)'>", expected):
            expected = _TYPES.get(kind.group(1), kind.group(1))
        elif kind := re.fullmatch(r"typing\.Literal\[(.*)\]", expected):
            expected = "one of " + kind.group(1).replace("'", "")
        elif kind := re.fullmatch(r"tuple with (\d+) elements?", expected):
            expected = f"a list of {kind.group(1)}"
        return f"{name}: expected {expected}, got {got}"
    if bad := re.match(r'Parser key "(\w+)": Unable to load config', line):
        return f"{bad.group(1)}: expected one of its fields, such as --{_first_key(bad.group(1))}=..."
    return line


def _first_key(section: str) -> str:
    return next((key for key in _keys() if key.startswith(f"{section}.")), section)


def _refuse_unknown_keys(path: Path, content: dict) -> None:
    """Said here rather than by the parser, which names no file and does not look for the right section."""
    for section, fields in content.items():
        if section in _keys():  # `grpo.epsilon: 0.1` at the top is as good as the section
            fields, section = {section.split(".")[1]: fields}, section.split(".")[0]
        if section not in _sections():
            near = difflib.get_close_matches(str(section), _sections(), n=1, cutoff=0.5)
            raise ValueError(
                f"{path}: {section}: no such section; did you mean {near[0]}?"
                if near
                else f"{path}: {_unknown(str(section))}"
            )
        if not isinstance(fields, dict):
            got = "nothing" if fields is None else repr(fields)
            raise ValueError(f"{path}: {section}: expected fields below it, such as {_first_key(section)}, got {got}")
        for key, value in fields.items():
            if f"{section}.{key}" not in _keys():
                raise ValueError(f"{path}: {_unknown(f'{section}.{key}')}")
            if value is None:
                raise ValueError(f"{path}: {section}.{key}: expected a value, got nothing; leave the key out")


def _read(path: Path) -> dict:
    """A YAML file's sections. YAML keeps the last of two equal keys without a word; here they are a mistake."""

    class Loader(yaml.SafeLoader):
        pass

    def mapping(loader, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = loader.construct_object(key_node, deep=deep)
            if key in seen:
                raise ValueError(f"{path}:{key_node.start_mark.line + 1}: key {key!r} stands twice")
            seen.add(key)
        return yaml.SafeLoader.construct_mapping(loader, node, deep=deep)

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        content = yaml.load(path.read_text(), Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected sections of settings, got {type(content).__name__}; see configs/")
    return content
