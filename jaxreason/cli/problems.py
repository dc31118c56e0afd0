"""The commands about problems as files: `jaxreason data prepare`, `convert`, `split`."""

import argparse
import collections
from collections.abc import Sequence
from pathlib import Path

AUDIT_SHOWN = 5
"""Lines named whose answers cannot be graded."""


def prepare(args: argparse.Namespace) -> None:
    """Check a file of problems and build its dataset, or write the built-in task."""
    if (args.file is None) == (args.builtin is None):
        raise ValueError("data prepare: expected either a FILE or --builtin N; see `jaxreason data prepare --help`")
    if args.file is None:
        _write_builtin(args)
        return
    from jaxreason.data import dataset, problems

    for flag in ("split", "levels", "seed"):
        if getattr(args, flag) is not None:
            raise ValueError(f"--{flag}: expected with --builtin only, got it beside {args.file}; leave it out")
    found = problems.read_jsonl(args.file)
    folder = dataset.prepare(found, args.to)
    sources = collections.Counter(problem.source or "no source" for problem in found)
    print(f"{len(found)} problems ({', '.join(f'{n} of {source}' for source, n in sources.items())}) in {folder}")
    _audit([problem.answer for problem in found], problems.line_numbers(args.file))


def _write_builtin(args: argparse.Namespace) -> None:
    from jaxreason.data import problems
    from jaxreason.tasks.calculator import problems as arithmetic

    _refuse_existing(args.to)
    for flag, least in (("builtin", 1), ("seed", 0)):
        if (value := getattr(args, flag)) is not None and value < least:
            raise ValueError(f"--{flag}: expected at least {least}, got {value}")
    levels = [1, 2, 3] if args.levels is None else args.levels
    try:
        made = arithmetic.generate(args.builtin, seed=args.seed or 0, levels=levels, split=args.split or "train")
    except ValueError as error:  # in the words of the configuration
        raise ValueError(str(error).replace("data.levels", "--levels").replace("data.test_size", "--builtin")) from None
    problems.write_jsonl(made, args.to)
    print(f"{len(made)} problems written to {args.to}")


def convert(args: argparse.Namespace) -> None:
    """Turn a released data set's file into problems."""
    from jaxreason.data import problems, released

    _refuse_existing(args.to)
    source = args.source or args.file.stem
    found = released.convert(args.file, source)
    problems.write_jsonl(found.problems, args.to)
    print(f"{len(found.problems)} problems of {source} written to {args.to}")
    if found.empty:
        print(f"warning: {len(found.empty)} rows have no question or no answer, first row {found.empty[0]}; left out")
    _audit([problem.answer for problem in found.problems], problems.line_numbers(args.to))


def split(args: argparse.Namespace) -> None:
    """Hold problems out for testing."""
    from jaxreason.data import problems
    from jaxreason.data.split import split

    parts = split(problems.read_jsonl(args.file), args.test_size, args.seed)
    files = [args.file.with_name(f"{args.file.stem}-{side}.jsonl") for side in ("train", "test")]
    for file in files:
        _refuse_existing(file)
    for file, part in zip(files, parts, strict=True):
        problems.write_jsonl(part, file)
        print(f"{len(part)} problems written to {file}")


def _audit(golds: Sequence[str], lines: Sequence[int]) -> None:
    """Say which right answers would not be recognised as right."""
    from jaxreason.grading import answers
    from jaxreason.grading.pool import Pool

    with Pool() as pool:
        bad = answers.audit(golds, pool.verify)
    if bad:
        first = ", ".join(f"line {lines[i]} ({reason})" for i, reason in list(bad.items())[:AUDIT_SHOWN])
        print(
            f"warning: {len(bad)} of {len(golds)} answers cannot be graded against themselves, first {first}; "
            "mend or remove them"
        )


def _refuse_existing(file: Path) -> None:
    if file.exists():
        raise ValueError(f"{file}: is there already; move it away or choose another name")
