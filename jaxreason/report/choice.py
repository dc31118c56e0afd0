"""Which texts go into the page: held-out problems evenly from every source, training samples evenly over the steps."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from jaxreason.evaluation import selection
from jaxreason.report.read import Evaluation, Run
from jaxreason.report.tables import MODES


@dataclasses.dataclass(frozen=True)
class Pair:
    """One held-out problem and its first answers."""

    question: str
    source: str
    target: str
    answers: dict[str, tuple[dict | None, dict | None]]  # mode -> before, after; None where there is none


def held_out(run: Run) -> list[Pair]:
    """Every problem that the first or the last evaluation kept an answer to, in their order."""
    first: dict[str, dict] = {}
    answers: dict[str, dict[str, list[dict | None]]] = {}
    for side, one in enumerate((run.before, run.after)):
        for row in _first_answers(one):
            name = str(row.get("doc_id"))
            first.setdefault(name, row)
            answers.setdefault(name, {}).setdefault(row["mode"], [None, None])[side] = row
    return [
        Pair(
            field(row, "question"),
            field(row, "source"),
            str(row.get("target", "")),
            {mode: (both[0], both[1]) for mode in MODES if (both := answers[name].get(mode))},
        )
        for name, row in first.items()
    ]


def chunks_of(row: dict[str, Any]) -> list:
    """The chunks that helpers made of a completion; empty where there are none."""
    chunks = row.get("chunks")
    return chunks if isinstance(chunks, list) else []


def is_coloured(pair: Pair) -> bool:
    """Whether helpers were asked about any of the answers."""
    return any("chunks" in row for both in pair.answers.values() for row in both if row)


def shown(pairs: Sequence[Pair], limit: int) -> list[Pair]:
    """The problems for the page: evenly of those that helpers were asked about, of all where there is none."""
    return evenly([pair for pair in pairs if is_coloured(pair)] or pairs, limit)


def evenly(pairs: Sequence[Pair], limit: int) -> list[Pair]:
    """At most so many problems, as many of each source, the sources in turn."""
    return [pairs[n] for n in selection.evenly([pair.source for pair in pairs], limit)]


def samples(run: Run, limit: int) -> list[tuple[int, dict]]:
    """(step, row) of training samples: of each problem a right and a wrong one where there are both."""
    kept = []
    for step in selection.spread(run.sample_steps(), max(1, limit // 4)):
        problems: dict[str, list[dict]] = {}
        for row in run.samples(step):
            problems.setdefault(str(row.get("doc_id")), []).append(row)
        for rows in problems.values():
            right = [row for row in rows if row.get("exact_match")]
            wrong = [row for row in rows if not row.get("exact_match")]
            both = [*right[:1], *wrong[:1]] if right and wrong else rows[:2]
            kept += [(step, row) for row in both]
    return selection.spread(kept, limit)


def field(row: dict[str, Any], name: str) -> str:
    """A field of a row's problem as text; empty where there is none."""
    doc = row.get("doc")
    return str(doc.get(name) or "") if isinstance(doc, dict) else ""


def _first_answers(one: Evaluation | None) -> list[dict]:
    return [row for row in one.rows if not row.get("sample_index") and row.get("mode") in MODES] if one else []
