r"""Can a data set be graded? Each answer is tried in other spellings, which must be right, and changed, which
must be wrong.

Spellings and changes are made on the text by means of their own, so that what the grader's reading destroys (say, the
line breaks of a matrix) shows here instead of cancelling out on both sides.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from jaxreason.grading.boxes import MAX_ANSWER_CHARS
from jaxreason.grading.verdicts import Verdict, quick, symbolic

Verify = Callable[[Sequence[tuple[str, str]]], Iterable[Verdict]]

_NUMBER = r"(?<![\d.,])(?<!\d\\!)\d+(?:\.\d+)?(?!\d|\.\d|[,.]?\\?[!,]?\s?\d{3}(?!\d))"
_PLAIN_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_INTEGER = re.compile(r"-?\d+")
_LONG = re.compile(r"(?<![\d.,_{^!\\])\d{4,}(?![\d.,\\])")
_MATRIX = re.compile(r"\\begin\{([pb]matrix|array)\}(?:\{[a-z|]*\})?(.*?)\\end\{\1\}", re.DOTALL)
_TUPLE = re.compile(r"(\(|\[)([^()\[\]]*)(\)|\])")
_TEXT = re.compile(r"\\(?:text|mathrm|mbox)\{[~\s]*([^{}]*?)\s*\}")
_STRUCTURE = re.compile(r"[()\[\]=:|]|\^\{\d\},|[A-Za-z]{2}")
_ALGEBRA = re.compile(r"(?:\\(?:frac|sqrt|cdot|pi)(?![a-zA-Z])|[\d\s{}()^+\-./=]|(?<![a-zA-Z\\])[a-z](?![a-zA-Z]))+")
_WORDS = re.compile(r"(?:\\text\{)?(?:[A-Za-z][a-z]{3,}|[A-Za-z][a-z]+(?: [A-Za-z]+)+)\}?")
_LETTER = re.compile(r"(?:\\text(?:bf)?\{)?\(?([A-E])\)?\}?")
_FRACTION = re.compile(r"\\[dt]?frac\{(-?\d+)\}\{(\d+)\}")
_BASED = re.compile(r"(\d+)_\{?(\d+)\}?")
_DEGREES = re.compile(r"(-?\d+(?:\.\d+)?)\s*\^\{?\\circ\}?")
_OTHER_UNIT = {
    "cm": "km", "km": "m", "m": "km", "ft": "yd", "inches": "feet", "in": "ft", "miles": "feet", "hours": "minutes",
    "minutes": "hours", "min": "hr", "kg": "lb", "dollars": "cents", "days": "weeks",
}  # fmt: skip
_UNIT = re.compile(r"\\(?:text|mbox|mathrm)\{[~\s]*(" + "|".join(_OTHER_UNIT) + r")\s*\}")


def audit(golds: Sequence[str], verify: Verify | None = None) -> dict[int, str]:
    """Which gold answers cannot be graded, and why.

    Args:
      golds: gold answers as `grade` takes them.
      verify: grades (prediction, gold) pairs that need math-verify, such as `Pool.verify`, which bounds the time; None:
        here.

    Returns:
      Index into `golds` -> reason, in order; empty when all is well.
    """
    tries = {gold: list(_tries(gold)) for gold in dict.fromkeys(golds)}
    verdicts: dict[tuple[str, str], Verdict] = {}
    unsure: list[tuple[str, str]] = []
    for gold, attempts in tries.items():
        for answer in dict.fromkeys(answer for _, _, answer in attempts):
            if (verdict := quick(answer, gold)) is None:
                unsure.append((answer, gold))
            else:
                verdicts[answer, gold] = verdict
    verdicts.update(zip(unsure, verify(unsure) if verify else (symbolic(*pair) for pair in unsure), strict=True))
    reasons = {gold: _reason(gold, attempts, verdicts) for gold, attempts in tries.items()}
    return {i: reason for i, gold in enumerate(golds) if (reason := reasons[gold])}


def _tries(gold: str) -> Iterator[tuple[str, str, str]]:
    """(the outcome it must have, what it is, the answer)."""
    if not gold.strip() or len(gold) > MAX_ANSWER_CHARS:
        return
    yield "right", "itself", gold
    yield from (("right", f"its form `{answer}`", answer) for answer in rewrites(gold).values())
    yield from (("wrong", f"the other answer `{answer}`", answer) for answer in shifts(gold).values())


def _reason(
    gold: str, attempts: Sequence[tuple[str, str, str]], verdicts: dict[tuple[str, str], Verdict]
) -> str | None:
    if not attempts:
        return f"longer than {MAX_ANSWER_CHARS} characters" if gold.strip() else "empty"
    for outcome, what, answer in attempts:
        verdict = verdicts[answer, gold]
        if verdict.outcome != outcome:
            if what == "itself":
                return f"does not verify against itself ({verdict.status})"
            return f"{what} is {verdict.outcome} for it ({verdict.status})"
    return None


def rewrites(gold: str) -> dict[str, str]:
    """Other spellings of a gold answer, each by the name of what was changed; only those that differ from it."""
    text = _bare(gold)
    bare = "$" not in text.replace("\\$", "")
    found: dict[str, str] = {"full_stop": text + "."}
    if bare:
        found["dollars"] = f"${text}$"
        found["display"] = f"\\[ {text} \\]"
        found["style"] = "\\displaystyle " + text
        found["box"] = f"\\boxed{{{text}}}"
    found["big_fraction"] = text.replace("\\frac", "\\dfrac")
    found["small_fraction"] = text.replace("\\dfrac", "\\frac").replace("\\frac", "\\tfrac")
    found["sizes"] = re.sub(r"(?<!left)(?<!right)(?<!\\)(?<!big)([()])", _sized, text) if "\\text" not in text else text
    found["no_sizes"] = re.sub(r"\\left(?![a-zA-Z])\s*|\\right(?![a-zA-Z])\s*", "", text).replace("\\left.", "")
    if re.search(r"\\(?:left|right)\.", text):
        del found["no_sizes"]
    if (
        "\\text" not in text
        and "\\mbox" not in text
        and "\\mathrm" not in text
        and not re.search(r"[A-Za-z]{4}", _no_commands(text))
    ):
        found["spread"] = re.sub(r"(?<![\d\\])\s*([+=,&]|\\\\)\s*(?!\d{3}|\\!)", r" \1 ", text)
        found["compact"] = re.sub(r"\s*([&+]|\\\\)\s*", r"\1", text)
    found["braced_power"] = re.sub(r"([\^_])([0-9a-z])(?![0-9a-z])", r"\1{\2}", text)
    found["bare_power"] = re.sub(r"\^\{(\d)\}", r"^\1", text)
    found["minus"] = text.replace("-", "−") if not re.search(r"[A-Za-z]-", text) else text
    found["relations"] = re.sub(r"\\(le|ge)(?:q|qslant)?(?![a-zA-Z])", r"\\\1qslant", text)
    found["brackets"] = text.replace("pmatrix", "bmatrix")
    found["infinity"] = (
        text.replace("\\infty", "∞").replace("\\pi", "π") if not re.search(r"\\(?:pi|infty)[a-zA-Z]", text) else text
    )
    for name, separator in (
        ("thousands", ","),
        ("braced_thousands", "{,}"),
        ("thin_thousands", "\\,"),
        ("tex_thousands", ",\\!"),
    ):
        if not re.search(r"[,(\[]", text) or re.fullmatch(r"\$?\\?\$?[\d,]+", text):
            found[name] = _LONG.sub(lambda m, s=separator: f"{int(m[0]):,}".replace(",", s), text)
    found["no_thousands"] = re.sub(
        r"^((?:\\\$)?\d{1,3})((?:,\\?!?\s?\d{3})+)$", lambda m: m[1] + re.sub(r"\D", "", m[2]), text
    )
    if _ALGEBRA.fullmatch(text) and re.search("[a-z]", _no_commands(text)):
        found["joined"] = re.sub(r"(\\[a-zA-Z]+ )|(?<=[\da-z}]) (?=[a-z(])", lambda m: m[1] or "", text)
        found["explicit_product"] = re.sub(r"(?<=\d) ?(?=[a-z(])", r" \\cdot ", re.sub(r"(?<=\d) (?=[a-z])", "", text))
    found.update(_by_form(text))
    return {name: answer for name, answer in found.items() if answer != gold and len(answer) <= MAX_ANSWER_CHARS}


def _bare(gold: str) -> str:
    """A gold without its full stop, and without dollars around all of it."""
    text = gold.strip().removesuffix(".").strip()
    whole = text.startswith("$") and text.endswith("$") and text.count("$") == 2 and len(text) > 2
    return text[1:-1].strip() if whole else text


def _no_commands(text: str) -> str:
    return re.sub(r"\\[a-zA-Z]+|\{[a-z]*matrix\}|\{array\}(?:\{[a-z|]*\})?", " ", text)


def _sized(match: re.Match) -> str:
    return {"(": "\\left(", ")": "\\right)"}[match[1]]


def _by_form(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    if _PLAIN_NUMBER.fullmatch(text):
        found |= {"named": f"x = {text}", "unit": f"{text}\\text{{ units}}", "text": f"\\text{{{text}}}"}
        found |= {"roman": f"\\mathrm{{{text}}}", "bold": f"**{text}**", "self_chain": f"x = {text} = {text}"}
        found["decimal"] = f"{text}0" if "." in text else f"{text}.00"
        if not text.startswith("-"):
            found |= {"money": f"\\${text}", "noun": f"{text} apples", "plus": f"+{text}"}
    if match := _FRACTION.fullmatch(text):
        found |= {"slash": f"{match[1]}/{match[2]}", "doubled": f"\\frac{{{2 * int(match[1])}}}{{{2 * int(match[2])}}}"}
    if match := _BASED.fullmatch(text):
        found |= {"base": f"{match[1]}_{{{match[2]}}}", "base_words": f"{match[1]}_{{\\text{{{match[2]}}}}}"}
    if match := _DEGREES.fullmatch(text):
        found |= {
            "degree_sign": f"{match[1]}°",
            "degree_words": f"{match[1]}\\text{{ degrees}}",
            "degree_bare": match[1],
        }
        found["degree_braced"] = f"{match[1]}^{{\\circ}}"
    if (match := _LETTER.fullmatch(text)) and ("\\text" in text or "(" in text):
        letter = match[1]
        found |= {"letter": letter, "letter_text": f"\\text{{{letter}}}", "letter_bold": f"\\textbf{{({letter})}}"}
    elif _WORDS.fullmatch(text):
        words = text.removeprefix("\\text{").removesuffix("}")
        found |= {"words": words, "words_text": f"\\text{{{words}}}", "words_case": f"\\text{{{words.capitalize()}}}"}
    if _TEXT.search(text) and not re.search(r"\\frac|[:=-]", text):
        found["unit_gap"] = _TEXT.sub(r"\\ \\text{\1}", text)
    if text.endswith("\\%"):
        found["percent"] = text.removesuffix("\\%").strip() + "%"
    if items := _items(text):
        distinct = len({item.replace(" ", "") for item in items}) == len(items)
        if distinct and not _STRUCTURE.search(_no_commands(text)) and not re.search(r"\\pm|\\mid", text):
            found |= {
                "reversed": ", ".join(items[::-1]),
                "or": " \\text{ or } ".join(items),
                "set": f"\\{{{', '.join(items)}\\}}",
            }
    return found


def _items(text: str) -> list[str]:
    """The items of a list between commas outside all brackets; none where there is one item only."""
    depth, items, last = 0, [], 0
    for match in re.finditer(r"\\.|[{}()\[\],]", text):
        symbol = match[0]
        depth += symbol in "{([" or symbol == "\\{"
        depth -= symbol in "})]" or symbol == "\\}"
        if symbol == "," and depth == 0 and not re.match(r"\\?!?\d{3}(?!\d)", text[match.end() :]):
            items.append(text[last : match.start()].strip())
            last = match.end()
    items.append(text[last:].strip())
    return items if len(items) > 1 and all(items) else []


def shifts(gold: str) -> dict[str, str]:
    """Answers near a gold answer that are not it, each by the name of what was changed."""
    text = _bare(gold)
    found: dict[str, str] = {}
    numbers = [
        m for m in re.finditer(_NUMBER, text) if not _is_index(text, m.start()) and not _is_base(text, m.start())
    ]
    # A number in a power of one or a product with zero changes nothing; such golds are left out.
    if numbers and not re.search(r"(?<![\d.])0(?![\d.])|(?<![\d.])1\s*\^|\\ldots|\\dots|Cdots", text):
        for name, match in (("last_number", numbers[-1]), ("first_number", numbers[0])):
            found[name] = text[: match.start()] + _next(match[0]) + text[match.end() :]
    if _PLAIN_NUMBER.fullmatch(text):
        if float(text) != 0:
            found["sign"] = text[1:] if text.startswith("-") else f"-{text}"
            found |= {"ten_times": _ten_times(text), "hedge": f"{text} \\text{{ or }} {_next(text.lstrip('-'))}"}
        found |= {"sum": f"{text} + 0 + 1 - 1", "contradiction": f"x = {_next(text.lstrip('-'))} = {text}"}
        found["negated"] = f"\\text{{not }} {text}"
        found["bound"] = f"x < {text}"
        if _INTEGER.fullmatch(text):
            found |= {"near": f"{text}.0000001", "base": f"{text}_{{12}}"}
    if match := _FRACTION.fullmatch(text):
        if match[1].lstrip("-") != match[2] and match[1] != "0":
            found["inverted"] = f"\\frac{{{match[2]}}}{{{match[1]}}}"
        found["rounded"] = f"{int(match[1]) / int(match[2]):.4f}" if 10**4 % int(match[2]) else f"{int(match[1])}"
        if found["rounded"] == match[1] and match[2] == "1":
            del found["rounded"]
    if match := _BASED.fullmatch(text):
        found |= {"other_base": f"{match[1]}_{int(match[2]) + 1}", "no_base": match[1]}
    if match := _UNIT.search(text):
        found["other_unit"] = text[: match.start(1)] + _OTHER_UNIT[match[1]] + text[match.end(1) :]
    if match := _LETTER.fullmatch(text):
        letter = "ABCDE"[("ABCDE".index(match[1]) + 1) % 5]
        found["other_letter"] = f"\\text{{({letter})}}" if "\\text" in text else letter
    elif _WORDS.fullmatch(text):
        words = text.removeprefix("\\text{").removesuffix("}")
        found["other_word"] = f"\\text{{{words[1:] + words[0]}}}" if words[1:] + words[0] != words else "\\text{else}"
    if _ALGEBRA.fullmatch(text):
        if match := re.search(r"(?<=[\da-z}]) ?[+-] ?(?=[\d\\a-z])", text):
            found["other_sign"] = text[: match.start()] + ("-" if "+" in match[0] else "+") + text[match.end() :]
        if match := re.search(r"\\sqrt\{", text):
            found["no_root"] = text[: match.start()] + "{" + text[match.end() :]
        if match := re.search(r"X", text):
            name = "w" if match[0] != "w" else "v"
            found["other_variable"] = text[: match.start()] + name + text[match.end() :]
            found["one_power_more"] = text[: match.start()] + f"{match[0]} {match[0]}" + text[match.end() :]
    found.update(_shifted_vectors(text))
    return {name: answer for name, answer in found.items() if answer != gold}


def _shifted_vectors(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    if len(_MATRIX.findall(text)) == 1 and (match := _MATRIX.search(text)):
        rows = [row.strip() for row in re.split(r"\\\\", match[2]) if row.strip()]
        if len({row.replace(" ", "") for row in rows}) > 1:
            turned = " \\\\ ".join([*rows[1:], rows[0]])
            found["rotated"] = text[: match.start(2)] + turned + text[match.end(2) :]
            found["shorter"] = text[: match.start(2)] + " \\\\ ".join(rows[:-1]) + text[match.end(2) :]
    elif match := _TUPLE.fullmatch(text.replace("\\left", "").replace("\\right", "").strip()):
        items = [item.strip() for item in match[2].split(",")]
        if len(items) > 1 and len({item.replace(" ", "") for item in items}) > 1 and "\\{" not in text:
            found["rotated"] = match[1] + ",".join([*items[1:], items[0]]) + match[3]
            found["longer"] = match[1] + ",".join([*items, items[0]]) + match[3]
            found["bracket"] = ("[" if match[1] == "(" else "(") + match[2] + match[3]
    elif items := _items(text):
        if not re.search(r"\\text|\\ldots|\\cdots|\\dots|where", text):
            found |= {"one_less": ", ".join(items[:-1]), "one_more": ", ".join([*items, "7777"])}
    return found


def _is_index(text: str, at: int) -> bool:
    return re.search(r"_\{?\s*$", text[:at]) is not None


def _is_base(text: str, at: int) -> bool:
    """Whether a number is written with a base or inside words, where another number may be the same answer."""
    return re.search(r"^\d+_", text[at:]) is not None


def _next(number: str) -> str:
    return str(int(number) + 1) if number.isdigit() else number[:-1] + str((int(number[-1]) + 1) % 10 or 1)


def _ten_times(number: str) -> str:
    whole, point, part = number.partition(".")
    return f"{whole}0" if not point else f"{whole}{part[0]}.{part[1:] or '0'}"
