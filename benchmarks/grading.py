r"""How often graders are wrong on spellings and near misses of real golds, and how fast the rules are.

    python benchmarks/grading.py FOLDER [--limit 300] [--sets math500 gsm8k_test]     the table of errors
    python benchmarks/grading.py FOLDER --speed                                       verdicts a second, one core

FOLDER holds data sets as released (gsm8k_test.jsonl, math500.jsonl, ...). Of every set at most `--limit` different
golds are taken, evenly spaced. Each is rewritten (must be right) and changed (must be wrong) by
jaxreason.grading.audit, on the text and without the grader's reading. A false rejection is a rewritten gold that is not
right; a false acceptance is a changed one that is right. Compared: this grader, math-verify alone with its defaults,
and string comparison (white space and dollars dropped). An answer that math-verify does not finish in its own five
seconds counts as wrong. Speeds are by CPU time, but for a worker's, which are by the clock.
"""

import argparse
import ast
import functools
import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from jaxreason.grading import audit
from jaxreason.grading.boxes import MAX_ANSWER_CHARS, boxed
from jaxreason.grading.pool import Pool
from jaxreason.grading.verdicts import Verdict, quick

Pairs = list[tuple[str, str]]
Grader = Callable[[Pairs], list[bool]]


def golds_of(path: Path) -> list[str]:
    """The different golds of a released file, in order."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    found = [str(gold).strip() for row in rows if (gold := _gold(row)) is not None]
    return [gold for gold in dict.fromkeys(found) if 0 < len(gold) <= MAX_ANSWER_CHARS]


def _gold(row: dict) -> str | None:
    if (final := row.get("final_answer")) is not None:
        return ", ".join(ast.literal_eval(final) if isinstance(final, str) else final)
    for column in ("answer", "target", "Answer"):
        if column in row:
            return str(row[column]).rpartition("####")[2]
    return boxed(row.get("solution", ""))


def cases(golds: list[str]) -> Iterator[tuple[bool, str, str, str]]:
    """(whether it is right, what was done, answer, gold)."""
    for gold in golds:
        yield from ((True, name, answer, gold) for name, answer in audit.rewrites(gold).items())
        yield from ((False, name, answer, gold) for name, answer in audit.shifts(gold).items())


def this_grader(pairs: Pairs) -> list[bool]:
    """The rules here, and what they leave open in a pool of one worker."""
    verdicts: list[Verdict | None] = [quick(answer, gold) for answer, gold in pairs]
    unsure = [i for i, verdict in enumerate(verdicts) if verdict is None]
    with Pool(num_workers=1, timeout_s=3.0) as pool:
        for i, verdict in zip(unsure, pool.verify([pairs[i] for i in unsure]), strict=True):
            verdicts[i] = verdict
    return [verdict is not None and verdict.outcome == "right" for verdict in verdicts]


def math_verify_alone(pairs: Pairs) -> list[bool]:
    """math-verify as its documentation shows it: parse both, verify."""
    import math_verify

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    read = functools.lru_cache(maxsize=None)(lambda text: math_verify.parse(f"\\boxed{{{text}}}"))
    return [bool(math_verify.verify(read(gold), read(answer))) for answer, gold in pairs]


def strings(pairs: Pairs) -> list[bool]:
    """Equal but for white space and dollars."""

    def bare(text: str) -> str:
        return "".join(text.replace("$", "").split())

    return [bare(answer) == bare(gold) for answer, gold in pairs]


GRADERS: dict[str, Grader] = {"jaxreason": this_grader, "math-verify": math_verify_alone, "strings": strings}


def table(folder: Path, sets: list[str], limit: int, show: int) -> None:
    """Print errors by set and grader."""
    columns = " | ".join(f"{name} rejects | accepts" for name in GRADERS)
    print(f"| set | golds | rewrites | changes | {columns} |\n|{'---|' * (4 + 2 * len(GRADERS))}")
    for path in sorted(folder.glob("*.jsonl")):
        if sets and path.stem not in sets:
            continue
        golds = golds_of(path)
        golds = golds[:: max(1, len(golds) // limit)][:limit]
        made = list(cases(golds))
        pairs = [(answer, gold) for _, _, answer, gold in made]
        right = sum(case[0] for case in made)
        cells = []
        for name, grader in GRADERS.items():
            verdicts = grader(pairs)
            wrong = [(case, verdict) for case, verdict in zip(made, verdicts, strict=True) if case[0] != verdict]
            rejected = sum(case[0] for case, _ in wrong)
            cells += [_share(rejected, right), _share(len(wrong) - rejected, len(made) - right)]
            for case, _ in wrong[:show] if name == "jaxreason" else []:
                print(f"  {case}")
        print(f"| {path.stem} | {len(golds)} | {right} | {len(made) - right} | {' | '.join(cells)} |", flush=True)


def _share(count: int, of: int) -> str:
    return f"{count / max(of, 1):.2%}"


def speed(folder: Path) -> None:
    """Print verdicts a second on this core, of pairs that are all different."""
    _rate("GSM8K answers, plain integers", _plain(folder), rules=True)
    _rate("GSM8K answers, all spellings", _pairs(folder, "gsm8k_test"), rules=True)
    _rate("MATH-500 answers, all spellings", _pairs(folder, "math500"), rules=True)
    algebra = [pair for pair in _pairs(folder, "college_math") if "\\sqrt" in pair[1] or "x" in pair[1]]
    _rate("college_math answers with algebra", algebra, rules=True)
    sums = [(f"{n * (n + 1) // 2 + n % 2}", rf"\sum_{{k=1}}^{{{n}}} k") for n in range(2, 400)]
    _rate("sums that math-verify works out, in a worker", sums, rules=False)


def _plain(folder: Path) -> Pairs:
    golds = [gold for gold in golds_of(folder / "gsm8k_train.jsonl") if gold.isdigit()]
    return [(str(int(gold) + i), gold) for gold in golds for i in range(20)]


def _pairs(folder: Path, name: str) -> Pairs:
    return list(dict.fromkeys((answer, gold) for _, _, answer, gold in cases(golds_of(folder / f"{name}.jsonl"))))


def _rate(what: str, pairs: Pairs, *, rules: bool) -> None:
    if rules:
        start = time.process_time()
        unsure = sum(quick(answer, gold) is None for answer, gold in pairs)
        seconds = time.process_time() - start
        note = f", {unsure} left to math-verify"
    else:
        with Pool(num_workers=1) as pool:
            pool.verify(pairs[:1])
            start = time.perf_counter()
            pool.verify(pairs)
            seconds = time.perf_counter() - start
        note = ""
    print(f"{what}: {len(pairs) / seconds:,.0f} verdicts/s ({len(pairs)} pairs{note})")


def main() -> None:
    """Run what was chosen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the released files are")
    parser.add_argument("--sets", nargs="*", default=[], help="names of files without .jsonl; all when left out")
    parser.add_argument("--limit", type=int, default=300, help="golds of a set at most")
    parser.add_argument("--show", type=int, default=0, help="errors of this grader to print, of a set at most")
    parser.add_argument("--speed", action="store_true", help="measure speed instead")
    args = parser.parse_args()
    if not args.folder.is_dir():
        parser.error(f"{args.folder}: expected a folder of released data sets, got none")
    if args.speed:
        speed(args.folder)
    else:
        table(args.folder, args.sets, args.limit, args.show)


if __name__ == "__main__":
    main()
