"""Suites of benchmarks as the two papers report them: which sets, under which protocol, and where their files are.

The protocol of every set is in this file. Where a paper is silent the choice is ours and says so: SCMA
(arXiv:2601.21919) names neither samples nor temperature nor limit, The Art of Efficient Reasoning (arXiv:2602.20945)
neither temperature nor top-p. No JAX, no model.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxreason.data import problems, released
from jaxreason.data.problems import Problem
from jaxreason.data.released.files import rows

KINDS = (".jsonl", ".json", ".parquet", ".csv")
"""Files that are looked for, in this order."""
BUDGETS = (2048, 4096, 8192, 16384, 32768)
"""Tokens; read off one evaluation afterwards, as the second paper's curves are."""


class Benchmark(NamedTuple):
    """A benchmark as it is released."""

    title: str
    problems: int
    """as published; with an answer that can be graded"""
    names: tuple[str, ...]
    """what its file may be called, without letters' case, `-`, `_` and the ending"""
    hub: tuple[str, str]
    """data set of the Hugging Face hub, and which file of it"""
    marks: tuple[str, ...]
    """words of some of its problems, by which it is told from others"""


class Protocol(NamedTuple):
    """How a set is answered: a set's own line of a suite."""

    benchmark: str
    num_samples: int
    temperature: float = 0.6
    top_p: float = 0.95
    max_completion_length: int = BUDGETS[-1]


BENCHMARKS = {
    "gsm8k": Benchmark(
        "GSM8K",
        1319,
        ("gsm8ktest", "gsm8k"),
        ("openai/gsm8k", "main/test-*.parquet"),
        ("ducks lay 16 eggs per day", "2 bolts of blue fiber"),
    ),
    "math500": Benchmark(
        "MATH-500",
        500,
        ("math500", "math500test"),
        ("HuggingFaceH4/MATH-500", "test.jsonl"),
        ("in rectangular coordinates to polar coordinates", "how many positive whole-number divisors does 196 have"),
    ),
    "aime24": Benchmark(
        "AIME24",
        30,
        ("aime24", "aime2024"),
        ("HuggingFaceH4/aime_2024", "data/train-*.parquet"),
        ("every morning aya goes for a", "kilometer-long walk"),
    ),
    "aime25": Benchmark(
        "AIME25",
        30,
        ("aime25", "aime2025"),
        ("math-ai/aime25", "test.jsonl"),
        ("find the sum of all integer bases",),
    ),
    "amc23": Benchmark(
        "AMC23",
        40,
        ("amc23", "amc2023"),
        ("math-ai/amc23", "data/test-*.parquet"),
        ("alicia bikes towards", "miles apart. alicia lives in"),
    ),
    "amc": Benchmark(
        "AMC",
        83,
        ("amc", "aimovalidationamc", "amc2223", "amc23", "amc2023"),
        ("AI-MO/aimo-validation-amc", "data/train-*.parquet"),
        ("alicia bikes towards", "miles apart. alicia lives in"),
    ),
    "olympiadbench": Benchmark(
        "OlympiadBench",
        675,
        ("olympiadbench", "oetomathsencomp"),
        ("Hothan/OlympiadBench", "*/OE_TO_maths_en_COMP/*.parquet"),
        ("xenia and sergey play the following game",),
    ),
}

SUITES = {
    # One sample of the large sets; of the small ones several, since 30 problems alone say little.
    "scma": (
        Protocol("gsm8k", 1),
        Protocol("math500", 1),
        Protocol("aime24", 8),
        Protocol("aime25", 8),
        Protocol("amc23", 8),
    ),
    # Mean@8 at 32k, section 3 of the paper; which release of its sixth set, LiveCodeBench, is not known.
    "art": (Protocol("amc", 8), Protocol("olympiadbench", 8), Protocol("aime25", 8)),
}


def protocols(suite: str) -> tuple[Protocol, ...]:
    """The sets of a suite.

    Raises:
      ValueError: no such suite.
    """
    if suite not in SUITES:
        raise ValueError(f"--suite: expected {' or '.join(SUITES)}, got {suite!r}")
    return SUITES[suite]


def read(name: str, folder: Path | None) -> tuple[Path, list[Problem]]:
    """The file of a benchmark and its problems.

    Args:
      folder: with the files as released, or as `data convert` writes them; None: fetched from the hub, once.

    Raises:
      ValueError: no such file, one that cannot be read, or one of another benchmark.
    """
    known = BENCHMARKS[name]
    file = _fetch(known) if folder is None else _find(known, folder)
    found = _problems(file, name)
    asked = [_plain(problem.question) for problem in found]
    if not _has(known, asked):
        other = next((b.title for b in BENCHMARKS.values() if b.names[0] != known.names[0] and _has(b, asked)), "")
        got = (
            f"problems of {other}"
            if other
            else f"{len(found)} problems without it, the first {found[0].question!r:.60}"
        )
        raise ValueError(f"{file}: expected {known.title}, which asks {known.marks[0]!r}, got {got}; take another file")
    return file, found


def _has(benchmark: Benchmark, asked: Sequence[str]) -> bool:
    return all(any(mark in question for question in asked) for mark in benchmark.marks)


def _plain(text: str) -> str:
    """Small letters, without dollars, with one space for any white space."""
    return " ".join(text.replace("$", "").lower().split())


def _find(known: Benchmark, folder: Path) -> Path:
    if not folder.is_dir():
        raise ValueError(f"--data-dir: expected a folder with benchmark files, got {folder}")
    files = sorted((f for f in folder.iterdir() if f.suffix in KINDS), key=lambda f: (KINDS.index(f.suffix), f.name))
    for name in known.names:
        for file in files:
            if _stem(file) == name:
                return file
    raise ValueError(
        f"{folder}: expected a file of {known.title}, such as {known.names[0]}.jsonl, got none; `hf download "
        f"{known.hub[0]} --repo-type dataset` fetches it"
    )


def _stem(file: Path) -> str:
    return "".join(letter for letter in file.stem.lower() if letter.isalnum())


def _fetch(known: Benchmark) -> Path:
    import huggingface_hub  # takes a second

    where, pattern = known.hub
    try:
        folder = Path(huggingface_hub.snapshot_download(where, repo_type="dataset", allow_patterns=[pattern]))
    except Exception as error:  # the network, in its many ways
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{known.title}: {where} can't be fetched from the Hugging Face hub ({reason[:120]}); give --data-dir, a "
            "folder with the files"
        ) from None
    files = sorted(folder.glob(pattern))
    if not files:
        raise ValueError(f"{known.title}: expected {pattern} in {where}, got none; give --data-dir with the file")
    return files[0]


def _problems(file: Path, name: str) -> list[Problem]:
    _, _, first = next(iter(rows(file)), (0, "", None))
    own = isinstance(first, dict) and {"id", "question", "answer"} <= first.keys() <= {*Problem.__dataclass_fields__}
    return problems.read_jsonl(file) if own else released.convert(file, name).problems
