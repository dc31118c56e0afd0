"""What the policy wrote: answers to held-out problems before and after, and training samples in their chunks.

All of it is untrusted text. At most `LIMIT` problems and as many samples go into a page, long ones shortened.
"""

from collections.abc import Sequence

from jaxreason.evaluation.selection import SHOWN
from jaxreason.report import choice
from jaxreason.report.choice import Pair, field
from jaxreason.report.markup import Markup, el, join
from jaxreason.report.read import Run
from jaxreason.report.wording import fixed, number, percent, signed

LIMIT = SHOWN
"""Problems, and training samples, of all runs of a page together."""
MAX_CHARACTERS = 4000
"""Of one text; the middle of a longer one is left out."""
MAX_CHUNKS = 80


def held_out(run: Run, pairs: Sequence[Pair]) -> Markup:
    """A card a problem, the answers of before and after side by side."""
    widest = max(_tokens(row) for pair in pairs for both in pair.answers.values() for row in both if row)
    return el("div", *[_card(run, pair, widest) for pair in pairs], class_="cards")


def samples(run: Run, rows: Sequence[tuple[int, dict]]) -> Markup:
    """A card a training sample."""
    return el("div", *[_sample(run, step, row) for step, row in rows], class_="cards")


OUTCOMES_HELD_OUT = ("became right", "became wrong", "right after", "wrong after")
OUTCOMES_SAMPLES = ("right", "wrong")


def filters(outcomes: Sequence[str], runs: Sequence[Run], sources: Sequence[str], steps: Sequence[int]) -> Markup:
    """Controls of one section; hidden until the script, which they need, has run."""
    fields = [
        el("label", "Search", el("input", type="search", name="text", placeholder="problem or answer")),
        _select("outcome", "Outcome", outcomes) if outcomes else None,
        _select("source", "Source", sources) if len(sources) > 1 else None,
        _select("step", "Step", [str(step) for step in steps]) if len(steps) > 1 else None,
        _select("run", "Run", [run.label for run in runs]) if len(runs) > 1 else None,
        el("output", class_="note"),
    ]
    return el("form", *fields, class_="filters", hidden=True)


def score_legend() -> Markup:
    """What the digits and colours mean."""
    names = ("needless", "", "", "", "essential")
    items = [el("span", el("b", s), name and f" {name}", class_=f"chip s{s}") for s, name in enumerate(names, 1)]
    return el("p", "Importance of a chunk, as the scorer gave it: ", join(*items, by=" "), class_="legend")


def _card(run: Run, pair: Pair, widest: int) -> Markup:
    first = next(iter(pair.answers.values()))
    was, is_ = (None if row is None else _right(run, row) for row in first)
    outcome = []
    if is_ is not None:
        outcome.append("right after" if is_ else "wrong after")
        if was is not None and was != is_:
            outcome.append("became right" if is_ else "became wrong")
    blocks = []
    for mode, both in pair.answers.items():
        names = ("before", f"after {run.after.step} steps" if run.after else "")
        columns = [_answer(run, row, name, widest) for row, name in zip(both, names, strict=True) if row]
        block = el("div", *columns, class_="pair")
        blocks.append(block if not blocks else el("details", el("summary", f"{mode} answers"), block))
    return el(
        "article",
        _problem(pair.question, pair.source, pair.target),
        *blocks,
        class_="card",
        data_run=run.label,
        data_source=pair.source,
        data_outcome="|".join(outcome),
    )


def _answer(run: Run, row: dict, name: str, widest: int) -> Markup:
    tokens = _tokens(row)
    bar = el("div", el("div", style=f"width:{round(100 * tokens / max(1, widest), 1)}%"), class_="length")
    return el(
        "div",
        _line(name, _right(run, row), row),
        bar,
        _body(row),
        el("p", "cut at the token limit", class_="note") if row.get("finish_reason") == "length" else None,
        el("p", f"its answer {_found(row)}", class_="note") if choice.chunks_of(row) else None,
        class_="answer",
    )


def _sample(run: Run, step: int, row: dict) -> Markup:
    right = _right(run, row)
    rewards = row.get("rewards")
    rewards = rewards if isinstance(rewards, dict) else {}
    paid = [f"{role} {signed(value, 2)}" for role in rewards if (value := number(rewards, role)) is not None]
    return el(
        "article",
        _problem(field(row, "question"), field(row, "source"), str(row.get("target", ""))),
        _line(f"step {step}", right, row),
        _body(row),
        el("p", f"Its answer {_found(row)}. ", f"Reward: {', '.join(paid)}." if paid else None, class_="note"),
        class_="card",
        data_run=run.label,
        data_source=field(row, "source"),
        data_step=step,
        data_outcome="right" if right else "wrong",
    )


def _body(row: dict) -> Markup:
    """A completion in its coloured chunks, or whole where it has none, and why."""
    if chunks := choice.chunks_of(row):
        return _chunks(chunks, *(row[name] if isinstance(row.get(name), list) else [] for name in _OF_CHUNKS))
    causes = [
        str(cause) for role in ("segment", "score") if (cause := row.get(f"{role}_cause")) not in (None, "", "ok")
    ]
    reason = el("p", f"No chunks: {', '.join(causes)}.", class_="note") if causes else None
    return join(el("pre", _shortened(_response(row))), reason)


_OF_CHUNKS = ("scores", "chunk_lengths")


def _found(row: dict) -> object:
    answers = row.get("filtered_resps")
    return answers[0] if isinstance(answers, list) and answers and answers[0] is not None else "none"


def _chunks(chunks: list, scores: list, lengths: list) -> Markup:
    items = []
    for i, chunk in enumerate(chunks[:MAX_CHUNKS]):
        score = scores[i] if i < len(scores) and scores[i] in (1, 2, 3, 4, 5) else None
        tokens = lengths[i] if i < len(lengths) else ""
        items.append(
            el(
                "li",
                el("b", "·" if score is None else score),
                el("span", _shortened(str(chunk).strip("\n"))),
                el("i", tokens),
                class_="" if score is None else f"s{score}",
            )
        )
    more = (
        el("p", f"{len(chunks) - MAX_CHUNKS} more chunks left out.", class_="note")
        if len(chunks) > MAX_CHUNKS
        else None
    )
    return join(el("ol", *items, class_="chunks"), more)


def _problem(question: str, source: str, target: str) -> Markup:
    under = el("p", f"{source} · " if source else "", "right answer ", el("b", target), class_="note")
    return el("div", el("p", _shortened(question), class_="question"), under, class_="problem")


def _line(when: str, right: bool, row: dict) -> Markup:
    badge = el("span", "✓ right" if right else "✗ wrong", class_=f"badge {'right' if right else 'wrong'}")
    return el("p", el("span", when, class_="when"), badge, el("span", f"{_tokens(row)} tokens", class_="count"))


def _right(run: Run, row: dict) -> bool:
    """As the evaluation counts: an answer cut at the limit is wrong unless the run says otherwise."""
    cut = row.get("finish_reason") == "length" and run.setting("reward", "require_eos", True)
    return bool(row.get("exact_match")) and not cut


def _tokens(row: dict) -> int:
    return int(number(row, "n_tokens") or 0)


def _response(row: dict) -> str:
    found = row.get("resps")
    while isinstance(found, list):
        found = found[0] if found else ""
    return str(found or "")


def _shortened(text: str) -> Markup:
    if len(text) <= MAX_CHARACTERS:
        return join(text)
    half = MAX_CHARACTERS // 2
    gap = el("em", f"\n… {fixed(float(len(text) - 2 * half), 0)} characters left out …\n")
    return join(text[:half], gap, text[-half:])


def _select(name: str, label: str, options: Sequence[str]) -> Markup:
    choices = [el("option", "all", value=""), *[el("option", one, value=one) for one in options]]
    return el("label", label, el("select", *choices, name=name))


def described(run: Run, shown: Sequence[Pair], there: int) -> str:
    """How many of how many problems are embedded, and who gave their chunks the colours."""
    count = f"{len(shown)} of {there} held-out problems ({percent(len(shown) / there)}), evenly from every source."
    if len(shown) == there:
        count = f"All {there} held-out problems."
    if any(choice.is_coloured(pair) for pair in shown):
        who = "a policy of their own" if run.setting("agents", "helper_policy") == "separate" else "the policy itself"
        return (
            f"{count} Chunks and scores of both sides are by the helpers as they were before training ({who}). "
            "They are not asked about an answer cut at the token limit."
        )
    return f"{count} Without colours: the run's helpers, if its method has any, were not asked about these answers."
