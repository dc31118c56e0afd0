"""Split problems by how often one policy answers them right, a part at a time; parts that were answered stay."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxreason.agents.reasoner import Drawing
from jaxreason.data import difficulty
from jaxreason.data.difficulty import RATED, Outcome
from jaxreason.data.problems import Problem, write_jsonl
from jaxreason.evaluation import ask, loop, suite
from jaxreason.evaluation.ask import Asking
from jaxreason.evaluation.stored import Place
from jaxreason.grading.pool import Pool
from jaxreason.parallel import hosts
from jaxreason.run import keys, room, setup
from jaxreason.run.files import append_line, write_json_atomic
from jaxreason.run.interrupt import Abandoned, Interrupt
from jaxreason.run.progress import Display
from jaxreason.sampling.methods import Method
from jaxreason.sampling.room import most_slots
from jaxreason.types import Params

ROUNDS = 4
"""Answers of a part for each slot. More leave fewer slots idle at its end, fewer lose less to a kill."""
ANSWERS, SUMMARY = "answers.jsonl", "split.json"


class Thresholds(NamedTuple):
    """Of `data.difficulty.divide`."""

    easy_above: float = difficulty.THRESHOLD
    hard_at_most: float = difficulty.THRESHOLD


def split(
    place: Place,
    data: str,
    *,
    samples: int = 8,
    thresholds: Thresholds = Thresholds(),
    step: int | str | None = None,
    output: Path | None = None,
    limit: int | None = None,
    seed: int | None = None,
    display: Display | None = None,
) -> tuple[Path, dict]:
    """Answer every problem `samples` times, and write rated.jsonl, easy.jsonl, hard.jsonl and split.json.

    Sampled as evaluations are, by evaluation.temperature and top_p. A problem draws by its place in the file alone, so
    a split that was stopped ends as one that was not. Thresholds may change: what was answered is not asked again.

    Args:
      data: JSONL file or prepared folder.
      step: as in `ask.evaluate`.
      output: folder; None: difficulty/NAME_DATA, or in the run.
      limit: the first so many problems only.
      seed: of the draws; None: the policy's run.seed.

    Returns:
      The folder, and what its split.json holds.

    Raises:
      ValueError: bad problems or thresholds, answers of something else in `output`, or too many that can't be graded.
      Stopped: interrupted; what was answered stays.
    """
    display = display or Display()
    for flag, value in (("--samples", samples), ("--limit", 1 if limit is None else limit)):
        if value < 1:
            raise ValueError(f"{flag}: expected at least 1, got {value}")
    difficulty.divide((), *thresholds)
    if output and output.is_file():
        raise ValueError(f"--output: expected a folder, got the file {output}")
    place = _drawn_alike(place, samples, seed)
    asked = hosts.together(lambda: setup.read(data))[:limit]
    asking = ask.prepare(place, asked, data, display.say, narrow=True)
    ask.same_on_all_hosts(place, [asking], step)
    size = max(1, ROUNDS * most_slots(jax.device_count()) // samples)
    part = asking._replace(problems=asking.problems[:size])
    with Interrupt(hosts.gather) as interrupt, ask.opened([part], place, step, display) as (params, number, pool):
        output = output or _folder(place, number, Path(data).stem)
        answers, mark = output / ANSWERS, identity(place, number, asking)
        held = hosts.together(lambda: read_answers(answers, mark) if hosts.first() else [])
        done: list[Outcome] = hosts.agree(held)
        if done:
            display.say(f"going on after {len(done)} of {len(asking.problems)} problems, in {answers}")
        try:
            with display.bar("sample", len(asking.problems), done=len(done), every=0) as advance:
                while len(done) < len(asking.problems):
                    interrupt.check()
                    found = _answer(params, asking, len(done), size, pool, interrupt, advance)
                    if hosts.first():
                        _append(answers, mark, found)
                    done += found
                    _refuse_ungradable(done, answers, asking)
        except Abandoned:
            raise interrupt.stopped(f"after {len(done)} of {len(asking.problems)} problems") from None
    summary = {"policy": str(place.path), "step": number, "data": data, "samples": samples, "identity": mark}
    summary |= {"temperature": place.config.evaluation.temperature, "top_p": place.config.evaluation.top_p}
    summary |= {"limit": asking.config.sampling.max_completion_length, "dropped_problems": asking.dropped}
    return output, write(output, asking.problems, done, thresholds, summary)


def _drawn_alike(place: Place, samples: int, seed: int | None) -> Place:
    """The policy, to be asked so often at the temperature of evaluations."""
    config = place.config
    evaluation = dataclasses.replace(config.evaluation, num_samples=samples, greedy=False, budgets=())
    own = dataclasses.replace(config.run, seed=config.run.seed if seed is None else seed)
    return dataclasses.replace(place, config=dataclasses.replace(config, evaluation=evaluation, run=own))


def _folder(place: Place, number: int, stem: str) -> Path:
    if place.released:
        return Path("difficulty") / f"{Path(place.released.name).name}_{stem}"
    return place.path / "difficulty" / f"step_{number:06d}_{stem}"


def identity(place: Place, number: int, asking: Asking) -> str:
    """As `suite.identity`, and with what is counted as right."""
    parts = [suite.identity(place, number, asking), asking.config.reward.require_eos]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _answer(
    params: Params,
    asking: Asking,
    first: int,
    size: int,
    pool: Pool,
    interrupt: Interrupt,
    advance: Callable[[int], None],
) -> list[Outcome]:
    """The outcomes of the part that begins with problem `first`."""
    problems, config = asking.problems[first : first + size], asking.config
    config = room.fit_evaluation(config, len(problems), loaded=True)
    asked, number = config.evaluation, first + np.arange(len(problems))
    found = loop.answer_all(
        params,
        problems,
        keys.of_evaluation(config),
        config,
        asking.tokenizer,
        Drawing(asked.num_samples, asked.temperature, Method(top_p=asked.top_p), number=number),
        pool=pool,
        advance=advance,
        wait=interrupt.wait,
    )
    rows = zip(found.correct, found.gradable, found.length, found.finished, strict=True)
    return [Outcome(p.id, *(x.tolist() for x in row)) for p, row in zip(problems, rows, strict=True)]


def _append(file: Path, mark: str, found: Sequence[Outcome]) -> None:
    """Outcomes behind those of earlier parts; a new file begins with whose they are."""
    lines = [json.dumps(dataclasses.asdict(outcome)) for outcome in found]
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        lines.insert(0, json.dumps({"identity": mark}))
    append_line(file, "".join(f"{line}\n" for line in lines))


def read_answers(file: Path, mark: str) -> list[Outcome]:
    """What was answered before. The half of a line that a kill left is cut off.

    Raises:
      ValueError: answers of another policy, of other problems or under other settings, or a damaged file.
    """
    if not file.is_file():
        return []
    whole, _, torn = file.read_bytes().rpartition(b"\n")
    if torn:
        with file.open("r+b") as opened:
            opened.truncate(len(whole) + 1 if whole else 0)
    if not whole:
        file.unlink()
        return []
    try:
        head, *rows = map(json.loads, whole.split(b"\n"))
        held, outcomes = head["identity"], [Outcome(**row) for row in rows]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{file}: expected the answers of a split that was stopped, got others; remove it") from None
    if held != mark:
        raise ValueError(
            f"{file}: expected answers of this policy, these settings and these problems, got others; give --output "
            "with another folder, or remove the file"
        )
    return outcomes


def _refuse_ungradable(done: Sequence[Outcome], file: Path, asking: Asking) -> None:
    lost = float(np.mean([not gradable for outcome in done for gradable in outcome.gradable]))
    most = asking.config.grading.max_failure_rate
    if lost > most:
        raise ValueError(
            f"{file}: {lost:.0%} of the answers could not be graded, expected at most grading.max_failure_rate={most}; "
            "check the answers of the data, or raise it to go on"
        )


def write(
    folder: Path,
    problems: Sequence[Problem],
    done: Sequence[Outcome],
    thresholds: Thresholds,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the files of rated problems, and their figures into split.json, `about` with them; returns the figures.

    A file that would hold no problem is removed.
    """
    graded = [pair for pair in zip(problems, done, strict=True) if pair[1].pass_rate is not None]
    rated = [difficulty.rated(problem, outcome) for problem, outcome in graded]
    parts = difficulty.divide(rated, *thresholds)
    found = {**about, "thresholds": thresholds._asdict(), "ungradable": len(done) - len(rated)}
    found["all"] = difficulty.figures(rated)
    for name, part in parts.items():
        found[name] = difficulty.figures(part)
    if hosts.first():
        for file, part in ((RATED, rated), ("easy.jsonl", parts["easy"]), ("hard.jsonl", parts["hard"])):
            if part:
                write_jsonl(part, folder / file)
            else:
                (folder / file).unlink(missing_ok=True)
        write_json_atomic(folder / SUMMARY, found)
    return found
