"""The data sets that can be read, each by the columns it is released with: one function and one line of a table each.

A data set is added by a function from a `Row` to an `Item` and a line in FORMATS.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from jaxreason.data.released import code, golds
from jaxreason.data.released.row import Format, Item, Row

LETTERS = "ABCD"
COLUMNS_SHOWN = 12
"""Columns named of a file that is not known."""


def recognise(columns: Mapping[str, Any], where: str) -> Format:
    """The first data set of the table whose columns are all present.

    Raises:
      ValueError: there is none.
    """
    for known in FORMATS:
        if all(column in columns for column in known.columns):
            return known
    names = [str(name) for name in columns]
    got = ", ".join(names[:COLUMNS_SHOWN]) + (f" and {len(names) - COLUMNS_SHOWN} more" * (len(names) > COLUMNS_SHOWN))
    raise ValueError(
        f"{where}: expected the columns of {', '.join(known.name for known in FORMATS)}, got {got or 'none'}; "
        "rename those that hold the question and the answer to problem and answer"
    )


def _gsm8k(row: Row) -> Item:
    """The result stands behind the last `####` of the worked solution."""
    answer = row.text("answer")
    if answer and "####" not in answer:
        row.refuse(
            "answer",
            "it to end in `####` and the result, as GSM8K's do",
            "none",
            "a file of {id, question, answer} needs no conversion; else rename question to problem",
        )
    return Item(row.text("question"), golds.without_thousands(answer.rpartition("####")[2].strip()))


def _math(row: Row) -> Item:
    own = row.columns
    return Item(row.text("problem"), row.gold("answer"), own.get("unique_id", own.get("id")))


def _solution(row: Row) -> Item:
    """The answer is the last box of the worked solution, as the authors of MATH take it; its unit stands outside."""
    solution = row.text("solution")
    answer = golds.last_box(solution)
    if solution and not answer:
        row.refuse("solution", "a result in \\boxed{}", "none that is closed", "add a column answer")
    return Item(row.text("problem"), answer, row.columns.get("idx"))


def _olympiad(row: Row) -> Item:
    """Text-only problems; several answers as a list. A theorem to prove has no final answer."""
    if any(row.columns.get(column) is not None for column in row.columns if column.startswith("image_")):
        row.refuse("image_1", "a problem in text alone", "an image", "convert the files of text-only problems, OE_TO_*")
    given = row.columns["final_answer"]
    several = row.columns.get("is_multiple_answer") is True
    if several and isinstance(given, list) and all(isinstance(one, str) for one in given):
        answer = golds.as_list(",".join(given))
    else:
        answer = row.gold("final_answer")
    if row.columns.get("answer_type") == "Need_human_evaluate":
        answer = ""
    question = "\n\n".join(part for part in (row.text("context"), row.text("question")) if part)
    return Item(question if row.text("question") else "", answer, row.columns.get("id"))


def _svamp(row: Row) -> Item:
    """Body and question joined by a space, as its authors join them."""
    question = row.text("Question")
    return Item(f"{row.text('Body')} {question}".strip() if question else "", row.number_text("Answer"), row.text("ID"))


def _mawps(row: Row) -> Item:
    return Item(row.text("input"), row.number_text("target"))


def _college(row: Row) -> Item:
    name = f"{row.text('data_source')}/{row.text('question_number')}"
    return Item(row.text("question"), row.gold("answer"), name)


def _gpqa(row: Row) -> Item:
    """Four choices in an order of the seed, which every row draws by its own id; the gold is a letter."""
    columns = ("Correct Answer", *(f"Incorrect Answer {i}" for i in (1, 2, 3)))
    choices = [row.text(column) for column in columns]
    for column, choice in zip(columns, choices, strict=True):
        if not choice:
            row.refuse(column, "a choice", "none", "correct or remove the row")
    own = row.text("Record ID") or str(row.number)

    def drawn(i: int) -> bytes:  # the same on every version of Python, unlike random.shuffle
        return hashlib.sha256(f"{row.seed}/{own}/{i}".encode()).digest()

    order = sorted(range(len(choices)), key=drawn)
    listed = [choices[i] for i in order]
    lines = "\n".join(f"({letter}) {choice}" for letter, choice in zip(LETTERS, listed, strict=True))
    question = row.text("Question")
    asked = f"{question}\n\n{lines}\n\nAnswer with the letter of the right choice." if question else ""
    return Item(asked, LETTERS[order.index(0)], row.text("Record ID"), {"answer_type": "choice", "choices": listed})


_SUBJECT = {"level": "level", "subject": "subject", "type": "type", "difficulty": "difficulty"}
_OLYMPIAD = ("unit", "answer_type", "is_multiple_answer", "error", "subfield", "subject", "difficulty", "language")
FORMATS = (
    Format(
        "GPQA",
        ("Question", "Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"),
        _gpqa,
        {"High-level domain": "subject", "Subdomain": "subfield"},
        shuffled=True,
    ),
    Format(
        "LiveCodeBench",
        ("question_content", "public_test_cases"),
        code.livecodebench,
        {name: name for name in ("difficulty", "platform", "contest_date")},
    ),
    Format("HumanEval", ("prompt", "entry_point", "canonical_solution", "test"), code.humaneval),
    Format("OlympiadBench", ("question", "final_answer"), _olympiad, {name: name for name in _OLYMPIAD}),
    Format("SVAMP", ("Body", "Question", "Answer"), _svamp, {"Type": "type"}),
    Format("MAWPS", ("input", "target"), _mawps),
    Format(
        "college_math",
        ("data_source", "question_number", "question", "answer"),
        _college,
        {"data_topic": "subject"},
    ),
    Format("MATH (and AIME, AMC, DeepScaleR)", ("problem", "answer"), _math, _SUBJECT),
    Format("Minerva (and MATH as first released)", ("problem", "solution"), _solution, _SUBJECT),
    Format("GSM8K", ("question", "answer"), _gsm8k),
)
"""In the order they are tried: a data set stands before those whose columns are a part of its own."""
