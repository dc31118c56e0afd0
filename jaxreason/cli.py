"""The commands: each reads its arguments, calls one function of the package and prints what came of it.

JAX is imported inside the commands that need it, after the configuration has been read, so that help and most mistakes
are answered at once.
"""

import argparse
import collections
import contextlib
import dataclasses
import difflib
import errno
import json
import logging
import os
import sys
import traceback
import typing
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxreason import __version__
from jaxreason.interrupt import Stopped
from jaxreason.storage import Unwritable

MISTAKE, FAILURE, CTRL_C = 2, 1, 130
AUDIT_SHOWN = 5
"""Lines named whose answers cannot be graded."""
PLACE = "folder of a run, or folder or hub id of a Hugging Face checkpoint"
MIN_COMPILE_SECONDS = 0.5
"""What compiles quicker than this is not worth a file in the compilation cache."""
REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EACCES: "choose a place that you may write to",
    errno.EPERM: "choose a place that you may write to",
    errno.EROFS: "choose a place that you may write to",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}
"""What to do about an error of the operating system."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
      argv: without the program's name; None for the process's own.

    Returns:
      The exit code: 0 only for success, 2 for a mistake of the user's, 1 for a failure, 128 + signal for an interrupt.
    """
    argv = _join_overrides(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv
    try:
        with _quiet():
            args, overrides = _parser().parse_known_args(argv)
            args.overrides = overrides
            if overrides and not args.takes_overrides:
                raise ValueError(f"{' '.join(overrides)}: not an argument of this command; see `jaxreason --help`")
            args.command(args)
        return 0
    except SystemExit as leave:  # argparse, after --help
        return int(leave.code or 0)
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        code, line = _say(error)
        print(f"jaxreason: {line}", file=sys.stderr)
        return code


def _say(error: BaseException) -> tuple[int, str]:
    """Exit code and line for whatever ended a command."""
    line = " ".join(str(error).split())
    if isinstance(error, Stopped):
        return error.exit_code, line
    if isinstance(error, KeyboardInterrupt):
        return CTRL_C, "stopped; give the same command again to start over"
    if isinstance(error, ValueError) and _ours(error):
        return MISTAKE, f"error: {line}"
    if isinstance(error, FloatingPointError | Unwritable):
        return FAILURE, f"error: {line}"
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        remedy = REMEDIES.get(error.errno or 0, "check this place")
        return FAILURE, f"error: {where}{error.strerror}; {remedy} and give the command again"
    return FAILURE, f"error: unexpected {type(error).__name__}: {line or 'no message'}; --debug shows where"


def _ours(error: BaseException) -> bool:
    """Whether this package raised it, which it does for users' mistakes only; a library's ValueError is a fault."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).is_relative_to(Path(__file__).parent)


class _Parser(argparse.ArgumentParser):
    """One that answers mistakes with ValueError and lists configuration fields only when asked for help."""

    def __init__(self, *args, fields: Sequence[str] = (), **kwargs):
        super().__init__(*args, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)
        self.fields = fields

    def error(self, message: str):
        raise ValueError(f"{message}; see `{self.prog} --help`")

    def format_help(self) -> str:
        return super().format_help() + _fields_help(self.fields)


def _fields_help(sections: Sequence[str]) -> str:
    """A line for each field of the sections: its override, default and meaning."""
    if not sections:
        return ""
    import docstring_parser

    from jaxreason.config import Config

    lines = []
    for section in dataclasses.fields(Config):
        if section.name not in sections or not dataclasses.is_dataclass(section.default):
            continue
        lines.append(f"\n{section.name}: {(section.type.__doc__ or '').splitlines()[0]}")
        kinds = {field.name: field.type for field in dataclasses.fields(section.default)}
        for field in docstring_parser.parse_from_object(section.type).params:
            default = getattr(section.default, field.arg_name)
            shown = str(list(default) if isinstance(default, tuple) else default).replace(" ", "")
            meaning = " ".join((field.description or "").split())
            if typing.get_origin(kinds[field.arg_name]) is typing.Literal:
                meaning += f" ({', '.join(typing.get_args(kinds[field.arg_name]))})"
            lines.append(f"{f'  --{section.name}.{field.arg_name}={shown}':48}  {meaning}")
    return "\nsettings, with their defaults:\n" + "\n".join(lines) + "\n"


def _parser() -> argparse.ArgumentParser:
    from jaxreason.config import Config

    parser = _Parser(prog="jaxreason", description="Train reasoning language models to think in fewer tokens.")
    parser.add_argument("--version", action="version", version=f"jaxreason {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    def add(group, name: str, command, about: str, fields: Sequence[str] = ()) -> argparse.ArgumentParser:
        made = group.add_parser(name, help=about, description=about, fields=fields)
        made.add_argument("--debug", action="store_true", help="show a traceback where an error is raised")
        made.set_defaults(command=command, takes_overrides=bool(fields))
        return made

    sections = [section.name for section in dataclasses.fields(Config)]
    train = add(commands, "train", _train, "run an experiment, evaluated before and after", sections)
    train.add_argument("config", metavar="CONFIG", help="YAML file, such as configs/quickstart.yaml")
    train.add_argument("--resume", action="store_true", help="go on where the run stopped; without it too")

    evaluate = add(
        commands, "evaluate", _evaluate, "evaluate a policy", ["evaluation", "grading", "mesh", "distributed"]
    )
    evaluate.add_argument("place", metavar="RUN_OR_MODEL", help=PLACE)
    evaluate.add_argument("--data", metavar="FILE", help="problems to ask, JSONL or prepared; default: the run's own")
    evaluate.add_argument(
        "--step", type=_step, help="checkpoint to load, 0 for the start, or best; default: the newest"
    )
    evaluate.add_argument("--output", metavar="FILE", type=Path, help="JSON file to write; default: in RUN/evaluation")

    generate = add(commands, "generate", _generate, "answer a question while you watch", ["agents", "model"])
    generate.add_argument("place", metavar="RUN_OR_MODEL", help=PLACE)
    generate.add_argument("question", metavar="QUESTION", help="in quotes; - reads it from the standard input")
    generate.add_argument("--temperature", type=float, help="0: greedy; default: the evaluation's")
    generate.add_argument("--top_p", type=float, help="smallest set of tokens that reaches this probability")
    generate.add_argument("--max_completion_length", type=int, help="tokens of the answer; default: as in training")
    generate.add_argument("--seed", type=int, default=0, help="of the draw; default: 0")
    generate.add_argument("--step", type=int, help="checkpoint of a run, 0 for the start; default: the newest")
    generate.add_argument("--explain", action="store_true", help="then show its chunks and how important it finds each")

    compare = add(commands, "compare", _compare, "run methods, alphas and seeds side by side", sections)
    compare.add_argument("grid", metavar="GRID", help="YAML file, such as configs/compare_arithmetic.yaml")
    compare.add_argument(
        "--only", metavar="CELLS", action="append", default=[], help="run a part, such as method=lp,alpha=2"
    )
    compare.add_argument("--to", metavar="DIR", type=Path, help="folder of all runs; default: the file's output_dir")

    report = add(commands, "report", _report, "write a page with the figures and curves of runs")
    report.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folders of runs")
    report.add_argument("--output", metavar="FILE", type=Path, help="HTML file to write; default: in the first run")

    export = add(commands, "export", _export, "write the policy of a run as a Hugging Face checkpoint")
    export.add_argument("run", metavar="RUN", type=Path, help="folder of a run")
    export.add_argument("--to", metavar="DIR", type=Path, required=True, help="folder to make")
    export.add_argument("--step", type=_step, help="checkpoint to write, 0 for the start, or best; default: the newest")
    export.add_argument(
        "--dtype", choices=("bfloat16", "float32"), help="of the tensors; default: the checkpoint's it began from"
    )

    plan = add(commands, "plan", _plan, "compile a step for TPUs that are not here: memory, FLOPs, bounds", sections)
    plan.add_argument("config", metavar="CONFIG", help="YAML file, such as configs/quickstart.yaml")
    plan.add_argument("--topology", metavar="NAME", required=True, help="v5p:2x2x4, or a product such as v5litepod-16")
    plan.add_argument("--slices", type=int, default=1, help="slices of this topology; default: 1")
    plan.add_argument("--search", action="store_true", help="try mesh.tensor, micro-batches and remat until one fits")
    plan.add_argument("--json", action="store_true", help="print JSON")

    data = commands.add_parser("data", help="convert, prepare or split problems", description="problems as files")
    data = data.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    prepare = add(data, "prepare", _prepare, "check a JSONL file and build its dataset, or write the built-in task")
    prepare.add_argument("file", metavar="FILE", nargs="?", type=Path, help="JSONL problems to check and build")
    prepare.add_argument(
        "--to", metavar="PLACE", type=Path, required=True, help="folder to build in, or JSONL to write"
    )
    prepare.add_argument("--builtin", metavar="N", type=int, help="write N problems of the built-in task instead")
    prepare.add_argument("--split", choices=("train", "test"), help="built-in task: which questions; default: train")
    prepare.add_argument("--levels", type=int, nargs="+", help="built-in task: which levels; default: 1 2 3")
    prepare.add_argument("--seed", type=int, help="built-in task: seed of the generator; default: 0")

    convert = add(data, "convert", _convert, "turn a released data set's file into JSONL problems")
    convert.add_argument("file", metavar="FILE", type=Path, help="GSM8K's columns, or problem and answer")
    convert.add_argument("--to", metavar="FILE", type=Path, required=True, help="JSONL to write")
    convert.add_argument("--source", help="where the problems come from; default: the file's name")

    split = add(data, "split", _split, "hold problems out for testing, no question on both sides")
    split.add_argument("file", metavar="FILE", type=Path, help="JSONL problems; writes FILE-train and FILE-test")
    split.add_argument("--test-size", metavar="N", type=int, required=True, help="problems to hold out")
    split.add_argument("--seed", type=int, default=0, help="of the draw")
    return parser


def _train(args: argparse.Namespace) -> None:
    try:
        _train_and_show(args)
    except KeyboardInterrupt:
        raise Stopped("stopped; what was saved before stays, the same command goes on from there", CTRL_C) from None


def _train_and_show(args: argparse.Namespace) -> None:
    from jaxreason import config
    from jaxreason.progress import Display

    _refuse_misspelt(args.overrides, ("--resume", "--debug", "--help"))
    conf = config.load(args.config, args.overrides)
    _cache_compilations(conf.run.compilation_cache_dir)
    from jaxreason.parallel import hosts

    hosts.join(conf.distributed)
    display = Display(quiet=not hosts.first(), every=conf.run.logging_steps)
    from jaxreason import basemodel
    from jaxreason.evaluation import show
    from jaxreason.train import train

    written = config.given(args.config, args.overrides)  # only here it is known
    basemodel.find(conf, written)
    basemodel.find_helpers(conf, written)
    results = train(conf, display=display)
    if not hosts.first():
        return
    display.say("")
    show.results(results, display.console)
    folder = Path(conf.run.output_dir).expanduser()
    report = _report_of(folder, display.warn)
    display.say("")
    show.places(folder, report, display.console)


def _report_of(folder: Path, warn: Callable[[str], None]) -> Path | None:
    """Write the report of a run that has ended well, whatever becomes of its report."""
    from jaxreason.report import write_report

    try:
        return write_report([folder])
    except Exception as error:
        warn(f"no report was written: {' '.join(str(error).split()) or type(error).__name__}")
        return None


def _compare(args: argparse.Namespace) -> None:
    from jaxreason.compare.grid import load_grid
    from jaxreason.progress import Display

    _refuse_misspelt(args.overrides, ("--only", "--to", "--debug", "--help"))
    grid = load_grid(args.grid, args.overrides, args.to)
    _cache_compilations(grid.cells[0].config.run.compilation_cache_dir)
    from jaxreason.compare import PAGE, RESULTS, TABLES, compare, words

    display = Display()
    try:
        found = compare(grid, only=args.only, display=display)
    except KeyboardInterrupt:
        raise Stopped("stopped; what was saved before stays, the same command goes on from there", CTRL_C) from None
    display.say("\n" + words.markdown(found))
    for name in (TABLES, RESULTS, PAGE):
        display.say(f"written to {grid.folder / name}")


def _evaluate(args: argparse.Namespace) -> None:
    from jaxreason.evaluation import show
    from jaxreason.progress import Display

    _refuse_misspelt(args.overrides, ("--data", "--step", "--output", "--debug", "--help"))
    from jaxreason import config
    from jaxreason.parallel import hosts

    hosts.join(config.load(None, args.overrides).distributed)
    display = Display(quiet=not hosts.first())
    from jaxreason.evaluation import stored

    def opened() -> stored.Place:
        place = stored.open_place(args.place, args.overrides)
        _cache_compilations(place.config.run.compilation_cache_dir)  # JAX reads it once, before the first program
        return place

    place = hosts.together(opened)
    file, found = stored.evaluate(place, data=args.data, step=args.step, output=args.output, display=display)
    show.evaluation(found["table"], display.console)
    display.say(f"written to {file}")


def _generate(args: argparse.Namespace) -> None:
    from jaxreason.progress import Display

    known = ("--temperature", "--top_p", "--max_completion_length", "--seed", "--step", "--explain")
    _refuse_misspelt(args.overrides, (*known, "--debug", "--help"))
    question = sys.stdin.read() if args.question == "-" else args.question
    if not question.strip():
        raise ValueError("QUESTION: expected some text, got none")
    from jaxreason import config
    from jaxreason.parallel import hosts

    hosts.join(config.load(None, args.overrides).distributed)
    hosts.refuse_several("generate", "`jaxreason evaluate` with --data FILE asks a file of questions on all of them")
    from jaxreason import generate
    from jaxreason.evaluation import stored

    place = generate.adjust(
        stored.open_place(args.place, args.overrides), args.temperature, args.top_p, args.max_completion_length
    )
    _cache_compilations(place.config.run.compilation_cache_dir)
    generate.show(place, question.strip(), seed=args.seed, step=args.step, explained=args.explain, display=Display())


def _plan(args: argparse.Namespace) -> None:
    from jaxreason import config
    from jaxreason.plan.topology import parse

    _refuse_misspelt(args.overrides, ("--topology", "--slices", "--search", "--json", "--debug", "--help"))
    conf = config.load(args.config, args.overrides)
    topology = parse(args.topology, args.slices)
    os.environ["JAX_PLATFORMS"] = "cpu"  # what compiles is not what computes, and must not claim a chip
    from jaxreason import plan

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    found = (plan.search if args.search else plan.plan)(conf, topology, say)
    if args.json:
        print(json.dumps(found, indent=2))
        return
    from jaxreason.plan import show

    print("\n".join((show.search_lines if args.search else show.lines)(found)))


def _report(args: argparse.Namespace) -> None:
    from jaxreason.report import write_report

    print(f"written to {write_report(args.runs, args.output)}")


def _export(args: argparse.Namespace) -> None:
    from jaxreason.export import export_run
    from jaxreason.progress import Display

    step = export_run(args.run, args.to, step=args.step, dtype=args.dtype, display=Display())
    print(f"the policy after step {step}, with its tokenizer, written to {args.to} and read back")


def _prepare(args: argparse.Namespace) -> None:
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
    from jaxreason.data import arithmetic, problems

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


def _convert(args: argparse.Namespace) -> None:
    from jaxreason.data import problems, released

    _refuse_existing(args.to)
    source = args.source or args.file.stem
    found = released.convert(args.file, source)
    problems.write_jsonl(found.problems, args.to)
    print(f"{len(found.problems)} problems of {source} written to {args.to}")
    if found.empty:
        print(f"warning: {len(found.empty)} rows have no question or no answer, first row {found.empty[0]}; left out")
    _audit([problem.answer for problem in found.problems], problems.line_numbers(args.to))


def _split(args: argparse.Namespace) -> None:
    from jaxreason.data import problems
    from jaxreason.data.split import split

    parts = split(problems.read_jsonl(args.file), args.test_size, args.seed)
    files = [args.file.with_name(f"{args.file.stem}-{side}.jsonl") for side in ("train", "test")]
    for file in files:
        _refuse_existing(file)
    for file, part in zip(files, parts, strict=True):
        problems.write_jsonl(part, file)
        print(f"{len(part)} problems written to {file}")


def _refuse_existing(file: Path) -> None:
    if file.exists():
        raise ValueError(f"{file}: is there already; move it away or choose another name")


def _step(word: str) -> int | str:
    """`best`, or a number of steps."""
    if word == "best":
        return word
    try:
        return int(word)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number of steps or best, got {word}") from None


def _join_overrides(argv: Sequence[str]) -> list[str]:
    """`--section.field value` as one word, so that the value is not taken for an argument of its own."""
    joined: list[str] = []
    for word in argv:
        last = joined[-1] if joined else ""
        if last.startswith("--") and "." in last and "=" not in last and not word.startswith("--"):
            joined[-1] = f"{last}={word}"
        else:
            joined.append(word)
    return joined


def _refuse_misspelt(overrides: Sequence[str], flags: Sequence[str]) -> None:
    """A flag near one of the command's own; the configuration only knows its keys."""
    for override in overrides:
        name = override.split("=")[0]
        if "." not in name and (near := difflib.get_close_matches(name, flags, n=1, cutoff=0.75)):
            raise ValueError(f"{name}: no such argument; did you mean {near[0]}?")


def _cache_compilations(folder: str) -> None:
    """Keep compiled programs for the next run; an empty name leaves JAX as its environment set it."""
    if not folder:
        return
    import jax

    jax.config.update("jax_compilation_cache_dir", str(Path(folder).expanduser()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)


@contextlib.contextmanager
def _quiet():
    """Keep the chatter of libraries off the terminal; our own warnings become one line each."""
    for name, value in (
        ("TF_CPP_MIN_LOG_LEVEL", "2"),
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("GRPC_VERBOSITY", "ERROR"),
    ):
        os.environ.setdefault(name, value)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # of a failed save Orbax logs every traceback there
    hook = sys.unraisablehook

    def unraisable(about) -> None:
        """What tensorstore has to say of the other files when one could not be read or written is not for a user."""
        if "Event loop is closed" not in str(about.exc_value):
            hook(about)

    sys.unraisablehook = unraisable
    with warnings.catch_warnings(), contextlib.ExitStack() as after:
        after.callback(setattr, sys, "unraisablehook", hook)
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
            warnings.filterwarnings("default", module=r"jaxreason\b")
        warnings.showwarning = lambda message, *_: print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)
        yield
