"""What a configuration stands for, made real: problems, tokenizer, the model's final shape.

Everything here is host work done once, before the first step, and the same on every host.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxreason.agents import prompts, sizes
from jaxreason.config import ROLES, Config, DataConfig, ModelConfig
from jaxreason.config.doors import DoorError, in_a_line, own_traceback
from jaxreason.data import dataset, problems, tokenizer
from jaxreason.data.problems import Problem
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.policy import lora
from jaxreason.rewards.length_adaptive import HISTORY
from jaxreason.rewards.methods import chosen, named
from jaxreason.run import folder as run_folder
from jaxreason.run.base_model import BaseModel, keep_files
from jaxreason.tasks.asking import asked_for
from jaxreason.tasks.base import Demonstrated, Labelled, OwnProblems, Task
from jaxreason.tasks.grading import refuse_unfit, refuse_without_workers
from jaxreason.tasks.opening import task_of

BUILTIN = "builtin"
"""In data.train and data.test: the task's own problems."""
TOKENIZER_TEXTS = 2000
"""Demonstrations a sentencepiece model is trained on; more would add nothing."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The fixed half of a run; what changes is in `run.state.RunState`."""

    config: Config  # with model.vocab_size filled in
    task: Task
    tokenizer: Tokenizer
    stream: dataset.ProblemStream
    test: list[Problem]
    dropped: int  # problems whose prompt was too long
    base: BaseModel | None  # the released checkpoint that the run starts from
    helper_base: BaseModel | None = None  # the one that the helpers start from, where they are a policy of their own
    columns: tuple[str, ...] = ()  # of the training problems, see `data.problems.columns`

    @property
    def for_helpers(self) -> "Experiment":
        """The experiment with the policy that plays the helpers as its policy; see `Config.for_helpers`."""
        if not self.config.agents.separate:
            return self
        return dataclasses.replace(self, config=self.config.for_helpers, base=self.helper_base)


def prepare(
    config: Config,
    folder: Path,
    say: Callable[[str], None] = lambda line: None,
    base: BaseModel | None = None,
    helper_base: BaseModel | None = None,
) -> Experiment:
    """Make or find the data and the tokenizer of a run inside its folder.

    Args:
      config: as `base_model.find` and `base_model.find_helpers` give it.
      say: is told, in a line each, what was done and what was dropped.

    Raises:
      ValueError: bad data, an empty data set, a tokenizer that does not fit.
    """
    task = task_of(config.data)
    if chosen(config).labelled and not isinstance(task, Labelled):
        raise ValueError(
            f"reward.preset: {config.reward.preset} reads a task's labels, expected data.task to have some, as "
            f"calculator has, got {task.name}; take guarded"
        )
    refuse_without_workers(task, config.grading.num_workers)
    prompts.try_prompts(config.agents)
    train, test = _training(config.data), held_out(config.data)
    refuse_unasked(train, config)
    refuse_unfit(task, [*train, *test])
    if config.tokenizer.path:
        tok = tokenizer.load(config.tokenizer.path)
    elif base:
        keep_files(base, folder / "tokenizer")
        tok = tokenizer.load(folder / "tokenizer")
    elif run_folder.begun(folder) and (folder / "tokenizer" / "tokenizer.model").is_file():
        tok = tokenizer.load(folder / "tokenizer")
    else:  # also where a launch that came to nothing, perhaps of another configuration, left one
        tok = _train_tokenizer(config, train, folder / "tokenizer")
        say(f"trained a sentencepiece tokenizer of {tok.vocab_size} pieces")
    config = with_vocabulary(config, tok)
    if helper_base:
        refuse_other_tokens(helper_base, tok)
    refuse_overlong(config, tok)
    refuse_adapters(config)
    kept = [fits(problem, config, tok) for problem in train]
    dropped = len(train) - sum(kept)
    if dropped:
        limit = config.data.max_prompt_length
        say(f"warning: dropped {dropped} of {len(train)} training problems: prompts above {limit} tokens")
    train = [problem for problem, ok in zip(train, kept, strict=True) if ok]
    if not train:
        raise ValueError(
            f"data.max_prompt_length: all {len(kept)} training prompts are longer than "
            f"{config.data.max_prompt_length} tokens; raise it"
        )
    test_kept = [problem for problem in test if fits(problem, config, tok)]
    if len(test_kept) < len(test):
        say(f"warning: dropped {len(test) - len(test_kept)} of {len(test)} held-out problems: prompts too long")
    if not test_kept:
        raise ValueError("data.test: no held-out problem left; raise data.max_prompt_length")
    if warning := unmet(len(train), config):
        say(f"warning: {warning}")
    built = dataset.prepare(train, folder / "data")
    stream = dataset.open_stream(
        built, seed=config.run.seed, batch_size=config.data.prompts_per_step, curriculum=config.data.curriculum
    )
    return Experiment(config, task, tok, stream, test_kept, dropped, base, helper_base, problems.columns(train))


def refuse_unasked(train: list[Problem], config: Config) -> None:
    """Refuse a method that compares with what the prompt asks for where some prompt asks for nothing."""
    missing = [problem.id for problem in train if problems.TARGET_TOKENS not in problem.meta]
    if missing and "asked" in chosen(config).reads:
        raise ValueError(
            f"data.target_tokens: expected two numbers, such as [20, 100], since reward.preset={config.reward.preset} "
            f"compares with the tokens that the prompt asks for, got none for problem {missing[0]!r}"
        )


def unmet(count: int, config: Config) -> str:
    """What to say of a method that compares with a problem's earlier answers, where none is met twice; empty: nothing.

    Args:
      count: of training problems.
    """
    steps, P = config.run.max_steps, config.data.prompts_per_step
    if chosen(config).memory is not HISTORY or not steps or steps * P > count:
        return ""
    return (
        f"reward.preset: {config.reward.preset} compares with earlier answers to the same problem, but {steps} steps "
        f"of {P} problems meet none of {count} twice, so no length is ever paid for; take fewer problems, or more steps"
    )


def fits(problem: Problem, config: Config, tok: Tokenizer) -> bool:
    """Whether the reasoner's prompt for a problem is within data.max_prompt_length."""
    return prompt_lengths([problem], config, tok)[0] <= config.data.max_prompt_length


def prompt_lengths(some: Sequence[Problem], config: Config, tok: Tokenizer) -> list[int]:
    """Tokens of the reasoner's prompt for each problem."""
    return [len(ids) for ids in tok.encode_batch(prompts.render_reason(some, task_of(config.data), config.agents, tok))]


def held_out(config: DataConfig) -> list[Problem]:
    """The problems a run keeps for evaluation, before those with too long prompts are dropped.

    Raises:
      ValueError: bad data, or more problems of the task's own than it has.
    """
    if config.test != BUILTIN:
        return _asked(read(config.test)[: config.test_size or None], config)
    if not config.test_size:
        raise ValueError("data.test_size: expected at least 1 of the task's own problems, which have no end, got 0")
    return _asked(own_problems(config, "test", config.test_size), config)


def own_problems(config: DataConfig, split: str, count: int) -> list[Problem]:
    """Problems that the task brings.

    Raises:
      ValueError: it brings none, or not so many; a user's task raised, or gave no problems.
    """
    task = task_of(config)
    if not isinstance(task, OwnProblems):
        raise ValueError(
            f"data.{split}: expected a file of problems, got {BUILTIN}, but data.task={task.name} brings none of its "
            "own; give a file, or the task a method problems(split, count, *, seed, levels)"
        )
    if task.door is None:
        return task.problems(split, count, seed=config.seed, levels=config.levels)
    where = f"data.task: {task.name}: problems"
    try:
        found = task.problems(split, count, seed=config.seed, levels=config.levels)
    except Exception as error:
        raise DoorError(f"{where}: it raised {in_a_line(error)}", own_traceback(error)) from None
    if not isinstance(found, list) or not found or not all(isinstance(one, Problem) for one in found):
        raise DoorError(f"{where}: expected a list of tasks.base.Problem, got {found!r:.80}")
    return found


def read(path: str) -> list[Problem]:
    """Problems of a JSONL file, or of a folder made by `jaxreason data prepare`."""
    return dataset.read(path) if Path(path).is_dir() else problems.read_jsonl(path)


def _training(config: DataConfig) -> list[Problem]:
    found = read(config.train) if config.train != BUILTIN else own_problems(config, "train", config.train_size)
    return _asked(found, config)


def _asked(found: list[Problem], config: DataConfig) -> list[Problem]:
    """Problems with the number of tokens that their prompts ask for, where data.target_tokens wants some."""
    low, high = config.target_tokens
    return problems.ask_for_tokens(found, low, high, seed=config.seed) if high else found


def _train_tokenizer(config: Config, train: list[Problem], folder: Path) -> Tokenizer:
    task = task_of(config.data)
    if isinstance(task, Demonstrated):
        few = dataclasses.replace(config.data, demonstrations=min(TOKENIZER_TEXTS, config.data.demonstrations))
        texts = ["".join(piece.text for piece in pieces) for _, pieces in task.demonstrations(few)]
        texts += [f"{problem.question}{asked_for(problem)}" for problem in train[:TOKENIZER_TEXTS]]
    else:
        texts = [text for problem in train for text in (problem.question, problem.answer)]
    symbols = [*prompts.marks(config.agents.max_chunks), *task.symbols]
    return tokenizer.train_sentencepiece(
        texts, folder, vocab_size=config.tokenizer.vocab_size, symbols=list(dict.fromkeys(symbols))
    )


def refuse_overlong(config: Config, tok: Tokenizer) -> None:
    """Refuse what would be longer than the model was made for: its positions would mean nothing it has learnt.

    Raises:
      ValueError: naming the role and the two lengths.
    """
    lengths = sizes.row_limits(config, tok)
    for model, roles in ((config.model, played_by_policy(config)), (config.for_helpers.model, asked_helpers(config))):
        most = model.max_position_embeddings
        longest, role = max(((lengths[role], role) for role in roles), default=(0, ""))
        if most and longest > most:
            raise ValueError(
                f"sampling.max_completion_length: prompt and completion of role {role} can have {longest} tokens, the "
                f"model is made for {most}; lower it or data.max_prompt_length"
            )
    most, asked = config.model.max_position_embeddings, config.for_evaluation
    if most and (longest := config.data.max_prompt_length + asked.sampling.max_completion_length) > most:
        raise ValueError(
            f"evaluation.max_completion_length: prompt and completion can have {longest} tokens, the model is made for "
            f"{most}; lower it or data.max_prompt_length"
        )


def refuse_adapters(config: Config) -> None:
    """Refuse adapters that a policy that is trained cannot have.

    Raises:
      ValueError: as `lora.targets`.
    """
    lora.refuse(config.model, config.lora)
    if config.agents.separate and named(config.reward.preset).helpers == "train":
        lora.refuse(config.helper_model, config.lora)


def refuse_other_tokens(base: BaseModel, tok: Tokenizer) -> None:
    """Refuse helpers to whom the policy's token ids mean other texts.

    Raises:
      ValueError: naming the first id that differs.
    """
    theirs = tokenizer.load(base.folder)
    shared = min(theirs.vocab_size, tok.vocab_size)
    differing = next((i for i in range(shared) if theirs.token_bytes(i) != tok.token_bytes(i)), None)
    if differing is not None or theirs.vocab_size < tok.vocab_size:
        what = f"token {shared if differing is None else differing} differs"
        raise ValueError(
            f"helper_model.path: expected the tokenizer of {tok.path}, since one text passes between both policies, "
            f"got another in {base.folder} ({what}); take a smaller model of the same family"
        )


def asked_helpers(config: Config) -> tuple[str, ...]:
    """The helpers that a run's preset makes use of."""
    return config.agents.helper_roles if named(config.reward.preset).helpers != "none" else ()


def played_by_policy(config: Config) -> tuple[str, ...]:
    """The roles that the policy itself plays."""
    return ROLES[:1] if config.agents.separate else (ROLES[0], *asked_helpers(config))


def demonstrated(config: Config) -> tuple[str, ...]:
    """The roles that the policy is shown in its supervised start, whatever the preset asks for."""
    return ROLES[:1] if config.agents.separate else (ROLES[0], *config.agents.helper_roles)


def with_vocabulary(config: Config, tok: Tokenizer) -> Config:
    """Fill in model.vocab_size, and that of the helpers' own model, or check it: an id outside the embedding would
    silently be another token."""
    config = dataclasses.replace(config, model=_with_vocabulary(config.model, tok, "model"))
    if not config.agents.separate:
        return config
    return dataclasses.replace(config, helper_model=_with_vocabulary(config.helper_model, tok, "helper_model"))


def _with_vocabulary(model: ModelConfig, tok: Tokenizer, section: str) -> Any:
    size = model.vocab_size or -(-tok.vocab_size // 64) * 64
    if size < tok.vocab_size:
        raise ValueError(
            f"{section}.vocab_size: expected at least {tok.vocab_size}, the ids of {tok.path}, got {size}; "
            + ("take the checkpoint's own tokenizer" if model.path else "set it to 0")
        )
    return dataclasses.replace(model, vocab_size=size)
