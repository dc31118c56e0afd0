"""What each command takes: its arguments, its help, and the settings of a run that may stand beside them."""

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxreason import __version__
from jaxreason.cli import problems, runs

PLACE = "folder of a run, or folder or hub id of a Hugging Face checkpoint"


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
    from jaxreason.config import describe

    lines = []
    for section in describe.sections():
        if section.name not in sections:
            continue
        lines.append(f"\n{section.name}: {section.about}")
        for field in section.fields:
            choices = f" ({', '.join(field.choices)})" if field.choices else ""
            lines.append(f"{f'  --{field.name}={field.default}':48}  {field.meaning}{choices}")
    return "\nsettings, with their defaults:\n" + "\n".join(lines) + "\n"


def parser() -> argparse.ArgumentParser:
    """Of all commands; each sets `command`, to be called with the arguments, and `takes_overrides`."""
    from jaxreason.config import Config

    parser = _Parser(prog="jaxreason", description="Train reasoning language models to think in fewer tokens.")
    parser.add_argument("--version", action="version", version=f"jaxreason {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    def add(group, name: str, command, about: str, fields: Sequence[str] = ()) -> argparse.ArgumentParser:
        made = group.add_parser(name, help=about, description=about, fields=fields)
        made.add_argument("--debug", action="store_true", help="show a traceback where an error is raised")
        made.set_defaults(command=command, takes_overrides=bool(fields))
        return made

    _add_runs(commands, add, [section.name for section in dataclasses.fields(Config)])
    _add_results(commands, add)
    _add_data(commands, add)
    return parser


def _add_runs(commands, add: Callable, sections: Sequence[str]) -> None:
    """What trains, evaluates and asks; `sections` are all of a configuration's."""
    train = add(commands, "train", runs.train, "run an experiment, evaluated before and after", sections)
    train.add_argument("config", metavar="CONFIG", help="YAML file, or the name of one that ships, such as quickstart")
    train.add_argument("--resume", action="store_true", help="go on where the run stopped; without it too")

    evaluate = add(
        commands, "evaluate", runs.evaluate, "evaluate a policy", ["evaluation", "grading", "mesh", "distributed"]
    )
    evaluate.add_argument("place", metavar="RUN_OR_MODEL", help=PLACE)
    evaluate.add_argument("--data", metavar="FILE", help="problems to ask, JSONL or prepared; default: the run's own")
    evaluate.add_argument("--suite", choices=("scma", "art"), help="benchmarks of a paper, each under its protocol")
    evaluate.add_argument(
        "--data-dir", metavar="DIR", type=Path, help="with --suite: folder of the files as released; default: the hub"
    )
    evaluate.add_argument("--limit", metavar="N", type=int, help="ask the first N problems only, of every set")
    evaluate.add_argument(
        "--step", type=_step, help="checkpoint to load, 0 for the start, or best; default: the newest"
    )
    evaluate.add_argument("--output", metavar="FILE", type=Path, help="JSON file to write; default: in RUN/evaluation")

    generate = add(commands, "generate", runs.generate, "answer a question while you watch", ["agents", "model"])
    generate.add_argument("place", metavar="RUN_OR_MODEL", help=PLACE)
    generate.add_argument("question", metavar="QUESTION", help="in quotes; - reads it from the standard input")
    generate.add_argument("--temperature", type=float, help="0: greedy; default: the evaluation's")
    generate.add_argument("--top_p", type=float, help="smallest set of tokens that reaches this probability")
    generate.add_argument("--max_completion_length", type=int, help="tokens of the answer; default: as in training")
    generate.add_argument("--seed", type=int, default=0, help="of the draw; default: 0")
    generate.add_argument("--step", type=int, help="checkpoint of a run, 0 for the start; default: the newest")
    generate.add_argument("--explain", action="store_true", help="then show its chunks and how important it finds each")

    compare = add(commands, "compare", runs.compare, "run methods, alphas and seeds side by side", sections)
    compare.add_argument("grid", metavar="GRID", help="YAML file, or the name of one that ships: compare_long")
    compare.add_argument(
        "--only", metavar="CELLS", action="append", default=[], help="run a part, such as method=lp,alpha=2"
    )
    compare.add_argument("--to", metavar="DIR", type=Path, help="folder of all runs; default: the file's output_dir")

    about = "what a step needs on devices that are not here: TPUs, compiled (memory, FLOPs, bounds), or a GPU's memory"
    plan = add(commands, "plan", runs.plan, about, sections)
    plan.add_argument("config", metavar="CONFIG", help="YAML file, or the name of one that ships, such as quickstart")
    plan.add_argument("--topology", metavar="NAME", help="v5p:2x2x4, or a product such as v5litepod-16")
    plan.add_argument("--gpu", metavar="GIB", type=float, help="one GPU of so many GiB: an estimate by formula alone")
    plan.add_argument("--slices", type=int, default=1, help="slices of this topology; default: 1")
    plan.add_argument("--search", action="store_true", help="try mesh.tensor, micro-batches and remat until one fits")
    plan.add_argument(
        "--lengths",
        metavar="MEAN,LIMIT",
        help="lengths of completions to predict a step for, or a file of them, such as an evaluation's answers",
    )
    plan.add_argument("--json", action="store_true", help="print JSON")


def _add_results(commands, add: Callable) -> None:
    """What looks at runs and machines, and takes a policy elsewhere."""
    add(commands, "methods", runs.methods, "list the methods that reward.preset can name, with their own fields")

    add(commands, "doctor", runs.doctor, "show what this machine has for a run, and what is missing")

    report = add(commands, "report", runs.report, "write a page with the figures and curves of runs")
    report.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folders of runs")
    report.add_argument("--output", metavar="FILE", type=Path, help="HTML file to write; default: in the first run")

    export = add(commands, "export", runs.export, "write the policy of a run as a Hugging Face checkpoint")
    export.add_argument("run", metavar="RUN", type=Path, help="folder of a run")
    export.add_argument("--to", metavar="DIR", type=Path, required=True, help="folder to make")
    export.add_argument("--step", type=_step, help="checkpoint to write, 0 for the start, or best; default: the newest")
    export.add_argument(
        "--adapter", action="store_true", help="of a run with lora.r: the adapters alone, as peft and vLLM open them"
    )
    export.add_argument(
        "--dtype", choices=("bfloat16", "float32"), help="of the tensors; default: the checkpoint's it began from"
    )


def _add_data(commands, add: Callable) -> None:
    """What makes files of problems."""
    data = commands.add_parser("data", help="convert, prepare or split problems", description="problems as files")
    data = data.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    prepare = add(
        data, "prepare", problems.prepare, "check a JSONL file and build its dataset, or write the built-in task"
    )
    prepare.add_argument("file", metavar="FILE", nargs="?", type=Path, help="JSONL problems to check and build")
    prepare.add_argument(
        "--to", metavar="PLACE", type=Path, required=True, help="folder to build in, or JSONL to write"
    )
    prepare.add_argument("--builtin", metavar="N", type=int, help="write N of a task's own problems instead")
    prepare.add_argument("--task", help="with --builtin: which task, as data.task names it; default: calculator")
    prepare.add_argument("--split", choices=("train", "test"), help="with --builtin: which questions; default: train")
    prepare.add_argument("--levels", type=int, nargs="+", help="with --builtin: which levels; default: 1 2 3")
    prepare.add_argument("--seed", type=int, help="with --builtin: seed of the generator; default: 0")

    convert = add(data, "convert", problems.convert, "turn a released data set's file into JSONL problems")
    convert.add_argument("file", metavar="FILE", type=Path, help="JSON, JSONL, CSV or Parquet, as released")
    convert.add_argument("--to", metavar="FILE", type=Path, required=True, help="JSONL to write")
    convert.add_argument("--source", help="where the problems come from; default: the file's name")
    convert.add_argument("--seed", type=int, help="of the order of choices, for GPQA; default: 0")

    split = add(
        data,
        "split",
        problems.split,
        "split problems by how often a policy answers them right, or hold some out for testing",
        ["evaluation", "grading", "mesh", "distributed"],
    )
    split.add_argument("place", metavar="MODEL_OR_FILE", help=f"{PLACE}; with --test-size: JSONL problems")
    split.add_argument("--data", metavar="FILE", help="problems to split by difficulty, JSONL or prepared")
    split.add_argument("--samples", metavar="N", type=int, help="answers to each of them; default: 8")
    split.add_argument("--easy-above", metavar="RATE", type=float, help="pass rate that easy ones exceed; default: 0.5")
    split.add_argument("--hard-at-most", metavar="RATE", type=float, help="greatest of hard ones; default: 0.5")
    split.add_argument("--limit", metavar="N", type=int, help="take the first N problems only")
    split.add_argument("--step", type=_step, help="checkpoint of a run, 0 for the start, or best; default: the newest")
    split.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="folder to write; default: difficulty/NAME_DATA, or in RUN/difficulty",
    )
    split.add_argument(
        "--test-size", metavar="N", type=int, help="hold out N problems instead; writes FILE-train and FILE-test"
    )
    split.add_argument("--seed", type=int, help="of the draw; default: 0, or the run's")


def _step(word: str) -> int | str:
    """`best`, or a number of steps."""
    if word == "best":
        return word
    try:
        return int(word)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number of steps or best, got {word}") from None
