"""The commands about problems as files: `jaxreason data prepare`, `convert`, `split`."""

import argparse
import collections
import os
from collections.abc import Sequence
from pathlib import Path

from jaxreason.cli.overrides import refuse_misspelt
from jaxreason.data.problems import Problem

AUDIT_SHOWN = 20
"""Answers named by `convert` that cannot be graded; `prepare` names all."""
ANSWER_SHOWN = 80
"""Characters shown of such an answer."""
SOLUTION_S = 60.0
"""Seconds for all tests of a released solution."""


def prepare(args: argparse.Namespace) -> None:
    """Check a file of problems and build its dataset, or write a task's own."""
    if (args.file is None) == (args.builtin is None):
        raise ValueError("data prepare: expected either a FILE or --builtin N; see `jaxreason data prepare --help`")
    if args.file is None:
        _write_builtin(args)
        return
    from jaxreason.data import dataset, problems

    for flag in ("split", "levels", "seed", "task"):
        if getattr(args, flag) is not None:
            raise ValueError(f"--{flag}: expected with --builtin only, got it beside {args.file}; leave it out")
    found = problems.read_jsonl(args.file)
    folder = dataset.prepare(found, args.to)
    sources = collections.Counter(problem.source or "no source" for problem in found)
    print(f"{len(found)} problems ({', '.join(f'{n} of {source}' for source, n in sources.items())}) in {folder}")
    _audit(found, args.file)


def _write_builtin(args: argparse.Namespace) -> None:
    from jaxreason.config import DataConfig
    from jaxreason.data import problems
    from jaxreason.tasks.base import OwnProblems
    from jaxreason.tasks.opening import task_of

    _refuse_existing(args.to)
    task = task_of(DataConfig(task=args.task or "auto"))
    if not isinstance(task, OwnProblems):
        raise ValueError(f"--task: expected one with problems of its own, got {task.name}")
    for flag, least in (("builtin", 1), ("seed", 0)):
        if (value := getattr(args, flag)) is not None and value < least:
            raise ValueError(f"--{flag}: expected at least {least}, got {value}")
    levels = [1, 2, 3] if args.levels is None else args.levels
    try:
        made = task.problems(args.split or "train", args.builtin, seed=args.seed or 0, levels=levels)
    except ValueError as error:  # in the words of the configuration
        raise ValueError(str(error).replace("data.levels", "--levels").replace("data.test_size", "--builtin")) from None
    problems.write_jsonl(made, args.to)
    print(f"{len(made)} problems written to {args.to}")


def convert(args: argparse.Namespace) -> None:
    """Turn a released data set's file into problems."""
    from jaxreason.data import problems, released

    _refuse_existing(args.to)
    source = args.source or args.file.stem
    if args.seed is not None and args.seed < 0:
        raise ValueError(f"--seed: expected at least 0, got {args.seed}")
    found = released.convert(args.file, source, args.seed or 0)
    if args.seed is not None and not found.shuffled:
        raise ValueError(f"--seed: expected with choices to shuffle only, got it for {found.format}; leave it out")
    problems.write_jsonl(found.problems, args.to)
    print(f"{len(found.problems)} problems of {source} written to {args.to}, read as {found.format}")
    if found.shuffled:
        print(f"choices are in an order of --seed={args.seed or 0}")
    if found.empty:
        print(f"warning: {len(found.empty)} rows have no question or no answer, first row {found.empty[0]}; left out")
    _audit(found.problems, args.to, most=AUDIT_SHOWN)


def split(args: argparse.Namespace) -> None:
    """Split by difficulty, or hold problems out for testing."""
    if (args.data is None) == (args.test_size is None):
        raise ValueError(
            "data split: expected either MODEL --data FILE or FILE --test-size N; see `jaxreason data split --help`"
        )
    if args.data is not None:
        _split_by_difficulty(args)
        return
    own = ("samples", "easy_above", "hard_at_most", "limit", "step", "output")
    given = [f"--{flag.replace('_', '-')}" for flag in own if getattr(args, flag) is not None] + args.overrides
    if given:
        raise ValueError(f"{given[0]}: expected with MODEL --data FILE only, got it with --test-size; leave it out")
    from jaxreason.data import problems
    from jaxreason.data.split import split

    source = Path(args.place)
    parts = split(problems.read_jsonl(source), args.test_size, args.seed or 0)
    files = [source.with_name(f"{source.stem}-{side}.jsonl") for side in ("train", "test")]
    for file in files:
        _refuse_existing(file)
    for file, part in zip(files, parts, strict=True):
        problems.write_jsonl(part, file)
        print(f"{len(part)} problems written to {file}")


def _split_by_difficulty(args: argparse.Namespace) -> None:
    """See `jaxreason.evaluation.difficulty`."""
    from jaxreason import config

    known = ("--data", "--samples", "--easy-above", "--hard-at-most", "--limit", "--step", "--output", "--seed")
    refuse_misspelt(args.overrides, (*known, "--test-size", "--debug", "--help"))
    if own := [one for one in args.overrides if one.lstrip("-").startswith("evaluation.num_samples")]:
        raise ValueError(f"{own[0]}: expected --samples N; leave it out")
    if args.seed is not None and args.seed < 0:
        raise ValueError(f"--seed: expected at least 0, got {args.seed}")
    conf = config.load(None, args.overrides)
    from jaxreason.cli.runs import cache_compilations
    from jaxreason.evaluation import difficulty, show, stored
    from jaxreason.evaluation.stored import Place
    from jaxreason.parallel import hosts
    from jaxreason.run.progress import Display

    hosts.join(conf.distributed)
    display = Display(quiet=not hosts.first())

    def opened() -> Place:
        place = stored.open_place(args.place, args.overrides)
        cache_compilations(place.config.run.compilation_cache_dir)
        return place

    given = {name: value for name in ("easy_above", "hard_at_most") if (value := getattr(args, name)) is not None}
    folder, found = difficulty.split(
        hosts.together(opened),
        args.data,
        samples=8 if args.samples is None else args.samples,
        thresholds=difficulty.Thresholds(**given),
        step=args.step,
        output=args.output,
        limit=args.limit,
        seed=args.seed,
        display=display,
    )
    show.difficulty(found, display.console)
    for name in ("easy", "hard"):
        if not found[name]["problems"]:
            display.say(f"no problem is {name}: no {name}.jsonl was written")
    display.say(f"written to {folder / 'easy.jsonl'}, hard.jsonl and, with all problems, rated.jsonl beside it")


def _audit(found: Sequence[Problem], file: Path, most: int | None = None) -> None:
    """Say which right answers would not be recognised as right: line, id, reason and answer of each, and how many.

    Args:
      file: where these problems stand.
      most: how many to name; None for all.
    """
    from jaxreason.data import code_tests
    from jaxreason.data.problems import line_numbers
    from jaxreason.grading import answers
    from jaxreason.grading.pool import Pool

    if any(code_tests.has_tests(problem.meta) for problem in found):
        _audit_code(found)
        return
    with Pool() as pool:
        bad = answers.audit([problem.answer for problem in found], pool.verify)
    if not bad:
        print(f"all {len(found)} answers verify against themselves")
        return
    lines = line_numbers(file)
    print(f"warning: {len(bad)} of {len(found)} answers of {file} cannot be graded; mend or remove them:")
    for i, reason in list(bad.items())[:most]:
        answer = found[i].answer if len(found[i].answer) <= ANSWER_SHOWN else f"{found[i].answer[:ANSWER_SHOWN]}..."
        print(f"  line {lines[i]} ({found[i].id}): {reason}: {answer!r}")
    if most is not None and len(bad) > most:
        print(f"  and {len(bad) - most} more; `jaxreason data prepare {file} --to DIR` names all")


def _audit_code(found: Sequence[Problem]) -> None:
    """Say which problems' own solutions fail their tests."""
    from jaxreason.data import code_tests
    from jaxreason.grading import sandbox
    from jaxreason.grading.pool import Pool
    from jaxreason.tasks import code

    tests = [code_tests.read(problem.meta, f"problem {problem.id!r}") for problem in found]
    print(f"{sum(one.count for one in tests)} tests of {len(found)} code problems")
    solved = sum(problem.answer != code_tests.NO_SOLUTION for problem in found)
    if not solved:
        print("no solutions are released, so none was run")
        return
    if why := sandbox.unavailable():
        print(f"warning: solutions were not run: {why}")
        return
    with Pool(num_workers=len(os.sched_getaffinity(0)), timeout_s=SOLUTION_S) as pool:
        bad = code.audit(found, pool)
    if not bad:
        print(f"all {solved} solutions pass their tests")
        return
    print(f"warning: {len(bad)} of {solved} solutions fail their tests; mend or remove these problems:")
    for i, status in list(bad.items())[:AUDIT_SHOWN]:
        print(f"  {found[i].id}: {status}")
    if len(bad) > AUDIT_SHOWN:
        print(f"  and {len(bad) - AUDIT_SHOWN} more")


def _refuse_existing(file: Path) -> None:
    if file.exists():
        raise ValueError(f"{file}: is there already; move it away or choose another name")
