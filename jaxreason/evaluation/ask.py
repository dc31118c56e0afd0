"""Evaluate a policy on disk on problems that are given: a run's own, a file's, or a set of a suite.

What was found goes into files of its own.
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxreason.config import Config
from jaxreason.data.problems import Problem, fingerprint
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.evaluation import graders, loop
from jaxreason.evaluation.stored import RECIPE, Place, open_policy
from jaxreason.grading.pool import Pool
from jaxreason.parallel import hosts
from jaxreason.parallel.mesh import on_mesh, refuse_vocabulary
from jaxreason.run import keys, room, setup
from jaxreason.run.files import write_json_atomic
from jaxreason.run.progress import Display
from jaxreason.run.provenance import launch_identity
from jaxreason.tasks.grading import refuse_unfit, refuse_without_workers
from jaxreason.tasks.opening import task_of
from jaxreason.types import Params

WIDTH = 64
"""Prompts of a checkpoint are padded to a multiple of this, so that few programs are compiled."""


def evaluate(
    place: Place,
    *,
    data: str | None = None,
    step: int | str | None = None,
    output: Path | None = None,
    limit: int | None = None,
    display: Display | None = None,
) -> tuple[Path, dict]:
    """Evaluate a stored policy, draw for draw as its training did.

    Every answer is judged by simpler graders as well, so that readers see how much of the accuracy the grader decides.
    Of several processes each reads and grades its own rows, and process 0 writes.

    Args:
      data: JSONL file or prepared folder of problems, all of which are asked; None for the run's own held-out ones.
      step: training steps done, of a run; 0 is the policy before training, "best" the best evaluation's; None the
        newest there is.
      output: JSON file to write; None for one in the run's evaluation/, or for a checkpoint in ./evaluation. Every
        answer goes to the .jsonl beside it.
      limit: ask the first so many problems only.

    Returns:
      The file written, and what is in it.

    Raises:
      ValueError: no such step, damaged checkpoints, bad problems, none with a prompt that fits, or an output that would
        take the place of the answers; or the processes differ in what they were given.
    """
    if output and (output.suffix == ".jsonl" or output.is_dir()):
        raise ValueError(f"--output: expected a .json file (the answers go to the .jsonl beside it), got {output}")
    if limit is not None and limit < 1:
        raise ValueError(f"--limit: expected at least 1 problem, got {limit}")
    display = display or Display()
    if place.released and not data and not (place.path / RECIPE).is_file():
        raise ValueError(f"{place.path}: expected --data FILE with problems, since a checkpoint brings none of its own")
    asked = hosts.together(lambda: setup.read(data) if data else setup.held_out(place.config.data))[:limit]
    asking = prepare(place, asked, data or "data.test", display.say)
    same_on_all_hosts(place, [asking], step)
    with opened([asking], place, step, display) as (params, number, pool):
        found, rows = measure(params, asking, pool, display, f"evaluate at {number}")
    stem = Path(data).stem if data else "heldout"
    if place.released:
        output = output or Path("evaluation") / f"{Path(place.released.name).name}_{stem}.json"
    output = output or place.path / "evaluation" / f"again_step_{number:06d}_{stem}.json"
    found = {"run": str(place.path), "step": number, "data": data or place.config.data.test} | found
    if hosts.first():
        write(output, found, rows)
    return output, found


class Asking(NamedTuple):
    """Problems that a policy is asked, and how."""

    problems: list[Problem]
    config: Config
    tokenizer: Tokenizer
    dropped: int  # problems with too long prompts


def prepare(
    place: Place, asked: Sequence[Problem], where: str, say: Callable[[str], None], *, narrow: bool = False
) -> Asking:
    """Which of the problems are asked: those whose prompts fit.

    Args:
      where: they come from, in words.
      narrow: whether prompts are only as wide as the longest of these, as they always are for a checkpoint; a run's
        stay as wide as in training, so that the same is drawn to the last digit.

    Raises:
      ValueError: none fits, or the task cannot be graded with the workers there are, or here, or on these problems.
    """
    config, tok = place.config.for_evaluation, place.tokenizer
    task = task_of(config.data)
    refuse_without_workers(task, config.grading.num_workers)
    refuse_unfit(task, asked)
    problems = [problem for problem in asked if setup.fits(problem, config, tok)]
    if not problems:
        raise ValueError(f"{where}: all {len(asked)} prompts exceed data.max_prompt_length; raise it")
    if len(problems) < len(asked):
        say(f"dropped {len(asked) - len(problems)} of {len(asked)} problems: prompts too long")
    if place.released or narrow:
        config = _as_wide_as(problems, config, tok)
    return Asking(problems, config, tok, len(asked) - len(problems))


def same_on_all_hosts(place: Place, askings: Sequence[Asking], step: int | str | None = None) -> None:
    """Refuse processes that were given different things.

    Raises:
      ValueError: naming what differs.
    """
    hosts.refuse_difference(
        launch_identity(place.config)
        | {"step": step, "tokenizer": place.tokenizer.fingerprint}
        | {"problems": " ".join(fingerprint(asking.problems) for asking in askings)}
        | {"checkpoint": place.released and place.released.fingerprint}
    )


@contextlib.contextmanager
def opened(
    askings: Sequence[Asking], place: Place, step: int | str | None, display: Display
) -> Iterator[tuple[Params, int, Pool]]:
    """The parameters, the step they are of and a pool of graders, on the mesh; no weight is read before everything that
    is asked was found to fit into memory.

    Raises:
      ValueError: see `room.fit_evaluation` and `open_policy`.
    """
    config = place.config
    with on_mesh(config, display.warn), Pool(config.grading.num_workers, config.grading.timeout_s) as pool:
        refuse_vocabulary(config)
        for asking in askings:
            room.fit_evaluation(asking.config, len(asking.problems))
        yield *open_policy(place, step, display), pool


def measure(
    params: Params, asking: Asking, pool: Pool, display: Display, title: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ask the problems, inside `opened`: figures with every answer's outcome, and a row for every answer."""
    problems, config = asking.problems, asking.config
    config = room.fit_evaluation(config, len(problems), display.say, loaded=True)
    modes = 1 + config.evaluation.greedy
    with display.bar(title, modes * len(problems), every=0) as advance:
        answers = loop.evaluate(
            params,
            problems,
            keys.of_evaluation(config),
            config,
            asking.tokenizer,
            compared=True,
            pool=pool,
            advance=advance,
        )
    found = {
        "dropped_problems": asking.dropped,
        "settings": dataclasses.asdict(config.evaluation),
        "limit": config.sampling.max_completion_length,
        "table": loop.table(answers, problems, config),
        "graders": {mode: graders.disagreement(a.samples) for mode, a in answers.items()},
        "answers": {m: {"correct": a.correct.tolist(), "length": a.length.tolist()} for m, a in answers.items()},
    }
    return found, [{"mode": mode} | row for mode, a in answers.items() for row in a.samples]


def write(output: Path, found: dict, rows: Sequence[dict]) -> None:
    """Figures into a JSON file, and before them every answer into the .jsonl beside it."""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.with_suffix(".jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    write_json_atomic(output, found)


def _as_wide_as(problems: Sequence[Problem], config: Config, tok: Tokenizer) -> Config:
    """A configuration with prompts as wide as the longest of these problems: what is wider is read for nothing."""
    longest = max(setup.prompt_lengths(problems, config, tok))
    width = min(config.data.max_prompt_length, -(-longest // WIDTH) * WIDTH)
    return dataclasses.replace(config, data=dataclasses.replace(config.data, max_prompt_length=width))
