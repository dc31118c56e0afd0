"""The commands about runs and models: each calls one function of the package and prints what came of it."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from jaxreason.cli.overrides import refuse_misspelt
from jaxreason.config import shipped
from jaxreason.run.interrupt import CTRL_C, Stopped

MIN_COMPILE_SECONDS = 0.5
"""What compiles quicker than this is not worth a file in the compilation cache."""


def train(args: argparse.Namespace) -> None:
    """Run an experiment; see `jaxreason.train`."""
    try:
        _train_and_show(args)
    except KeyboardInterrupt:
        raise Stopped("stopped; what was saved before stays, the same command goes on from there", CTRL_C) from None


def _train_and_show(args: argparse.Namespace) -> None:
    from jaxreason import config
    from jaxreason.run.progress import Display

    refuse_misspelt(args.overrides, ("--resume", "--debug", "--help"))
    file = shipped.find(args.config)
    conf = config.load(file, args.overrides)
    cache_compilations(conf.run.compilation_cache_dir)
    from jaxreason.parallel import hosts

    hosts.join(conf.distributed)
    display = Display(quiet=not hosts.first(), every=conf.run.logging_steps)
    from jaxreason.evaluation import show
    from jaxreason.run import base_model
    from jaxreason.run.trackers import Trackers
    from jaxreason.train import train

    written = config.given(file, args.overrides)  # only here it is known
    base_model.find(conf, written)
    base_model.find_helpers(conf, written)
    results = train(conf, display=display)
    if not hosts.first():
        return
    display.say("")
    show.results(results, display.console)
    folder = Path(conf.run.output_dir).expanduser()
    report = _report_of(folder, display.warn)
    if report:
        with Trackers(conf, folder, display.warn) as trackers:
            trackers.report(report)
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


def compare(args: argparse.Namespace) -> None:
    """Run the cells of a grid; see `jaxreason.compare`."""
    from jaxreason.compare.grid import load_grid
    from jaxreason.run.progress import Display

    refuse_misspelt(args.overrides, ("--only", "--to", "--debug", "--help"))
    grid = load_grid(shipped.find(args.grid), args.overrides, args.to)
    cache_compilations(grid.cells[0].config.run.compilation_cache_dir)
    from jaxreason.compare import PAGE, RESULTS, TABLES, compare, words

    display = Display()
    try:
        found = compare(grid, only=args.only, display=display)
    except KeyboardInterrupt:
        raise Stopped("stopped; what was saved before stays, the same command goes on from there", CTRL_C) from None
    display.say("\n" + words.markdown(found))
    for name in (TABLES, RESULTS, PAGE):
        display.say(f"written to {grid.folder / name}")


def evaluate(args: argparse.Namespace) -> None:
    """Evaluate a run's policy or a checkpoint; see `jaxreason.evaluation.ask` and `jaxreason.evaluation.suite`."""
    from jaxreason import config

    known = ("--data", "--suite", "--data-dir", "--limit", "--step", "--output")
    refuse_misspelt(args.overrides, (*known, "--debug", "--help"))
    if args.suite and args.data:
        raise ValueError(f"--data: expected without --suite, which has its own files (--data-dir), got {args.data}")
    if args.data_dir and not args.suite:
        raise ValueError(f"--data-dir: expected with --suite only, got {args.data_dir}; --data names one file")
    conf = config.load(None, args.overrides)
    from jaxreason.evaluation import ask, show, stored, suite
    from jaxreason.parallel import hosts
    from jaxreason.run.progress import Display

    hosts.join(conf.distributed)
    display = Display(quiet=not hosts.first())

    def opened() -> stored.Place:
        place = stored.open_place(args.place, args.overrides)
        cache_compilations(place.config.run.compilation_cache_dir)  # JAX reads it once, before the first program
        return place

    place = hosts.together(opened)
    given = {"limit": args.limit, "step": args.step, "output": args.output, "display": display}
    if args.suite:
        try:
            folder, found = suite.run(place, args.suite, args.overrides, data_dir=args.data_dir, **given)
        except KeyboardInterrupt:
            told = "stopped; the sets that were finished stay, the same command goes on with the next"
            raise Stopped(told, CTRL_C) from None
        show.suite(found, display.console)
        display.say(f"written to {folder / suite.TABLE} and beside it")
        return
    file, found = ask.evaluate(place, data=args.data, **given)
    show.evaluation(found["table"], display.console)
    show.graders(found["graders"], display.console)
    display.say(f"written to {file}")


def generate(args: argparse.Namespace) -> None:
    """Answer one question; see `jaxreason.generate`."""
    known = ("--temperature", "--top_p", "--max_completion_length", "--seed", "--step", "--explain")
    refuse_misspelt(args.overrides, (*known, "--debug", "--help"))
    question = sys.stdin.read() if args.question == "-" else args.question
    if not question.strip():
        raise ValueError("QUESTION: expected some text, got none")
    from jaxreason import config

    conf = config.load(None, args.overrides)
    from jaxreason import generate
    from jaxreason.evaluation import stored
    from jaxreason.parallel import hosts
    from jaxreason.run.progress import Display

    hosts.join(conf.distributed)
    hosts.refuse_several("generate", "`jaxreason evaluate` with --data FILE asks a file of questions on all of them")
    place = generate.adjust(
        stored.open_place(args.place, args.overrides), args.temperature, args.top_p, args.max_completion_length
    )
    cache_compilations(place.config.run.compilation_cache_dir)
    generate.show(place, question.strip(), seed=args.seed, step=args.step, explained=args.explain, display=Display())


def plan(args: argparse.Namespace) -> None:
    """Compile a run for TPUs that are not here, or estimate it for a GPU; see `jaxreason.plan`."""
    from jaxreason import config
    from jaxreason.plan.topology import parse

    refuse_misspelt(
        args.overrides, ("--topology", "--gpu", "--slices", "--search", "--lengths", "--json", "--debug", "--help")
    )
    conf = config.load(shipped.find(args.config), args.overrides)
    if (args.topology is None) == (args.gpu is None):
        raise ValueError("plan: expected either --topology, such as v5p:2x2x4, or --gpu, such as 80; give one of them")
    topology = args.topology and parse(args.topology, args.slices)
    os.environ["JAX_PLATFORMS"] = "cpu"  # what compiles is not what computes, and must not claim a chip
    from jaxreason import plan

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    if topology is None:
        from jaxreason.plan import gpu

        found = gpu.plan(conf, args.gpu, say)
        print(json.dumps(found, indent=2) if args.json else "\n".join(gpu.lines(found)))
        return
    if args.search and args.lengths:
        raise ValueError("--lengths: expected without --search, which goes by the limits; leave one of them out")
    if args.search:
        found = plan.search(conf, topology, say)
    else:
        from jaxreason.plan.sampling import read_lengths

        found = plan.plan(conf, topology, say, read_lengths(args.lengths) if args.lengths else ())
    if args.json:
        print(json.dumps(found, indent=2))
        return
    from jaxreason.plan import show

    print("\n".join((show.search_lines if args.search else show.lines)(found)))


def doctor(args: argparse.Namespace) -> None:
    """Show what the machine has; see `jaxreason.run.doctor`."""
    from rich.console import Console
    from rich.table import Table

    from jaxreason.config import RunConfig
    from jaxreason.run.doctor import findings

    table, group = Table(box=None, show_header=False, pad_edge=False), ""
    for found in findings(RunConfig().compilation_cache_dir):
        value = f"{found.value}; {found.remedy}" if found.remedy else found.value
        table.add_row(found.group if found.group != group else "", found.name, value)
        group = found.group
    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 120)
    console.print(table)


def methods(args: argparse.Namespace) -> None:
    """Print the table of methods, a line each."""
    from jaxreason.rewards.methods import METHODS, own_fields

    for name, method in METHODS.items():
        own = "".join(f"  reward.options.{field}={default}" for field, default in own_fields(method).items())
        divided = "" if method.scale == "group" else f"  grpo.scale_rewards={method.scale}"
        print(f"{name:18}{method.summary} ({method.source}){own}{divided}")


def report(args: argparse.Namespace) -> None:
    """Write the page of runs; see `jaxreason.report`."""
    from jaxreason.report import write_report

    print(f"written to {write_report(args.runs, args.output)}")


def export(args: argparse.Namespace) -> None:
    """Write a run's policy for others; see `jaxreason.export`."""
    from jaxreason.export import export_adapters, export_run
    from jaxreason.report.card import write_card
    from jaxreason.run import base_model
    from jaxreason.run.progress import Display

    if args.adapter:
        step = export_adapters(args.run, args.to, step=args.step, dtype=args.dtype)
        base = base_model.recorded(args.run)
        print(f"the adapters after step {step}, with the tokenizer, written to {args.to} and read back")
        write_card(args.run, args.to.expanduser(), step, base.folder if base else None, adapter=True)
        return
    step = export_run(args.run, args.to, step=args.step, dtype=args.dtype, display=Display())
    print(f"the policy after step {step}, with its tokenizer, written to {args.to} and read back")
    base = base_model.recorded(args.run)
    card = write_card(args.run, args.to.expanduser(), step, base.folder if base else None)
    print(f"its model card: {card}; read it, and say what you know better")


def cache_compilations(folder: str) -> None:
    """Keep compiled programs for the next run; an empty name leaves JAX as its environment set it."""
    if not folder:
        return
    import jax

    jax.config.update("jax_compilation_cache_dir", str(Path(folder).expanduser()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)
