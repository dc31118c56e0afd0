r"""When two forms are the same answer: the rules of docs/grading.md, in order. Three-valued; None is for math-verify.

Comparison is symmetric but for two rules, which look at the answer only: arithmetic left to do (`2+3` for `5`; the
reverse is right), and a claim about several variables (`x+y=5` for `5`; a bare `5` is no equation of a line).
"""

import re

from jaxreason.grading.forms import (
    Bag,
    Chain,
    Choice,
    Colon,
    Form,
    Matrix,
    Named,
    Opaque,
    Region,
    Relation,
    Value,
    Words,
)
from jaxreason.grading.forms import Sequence as Tuple
from jaxreason.grading.nodes import Node, opaque, write
from jaxreason.grading.rules import Rules, all_same, every, quotient, value_of
from jaxreason.grading.same_many import same_bag, same_matrix, same_region
from jaxreason.grading.same_relations import same_chain, same_named, same_relation
from jaxreason.grading.same_values import same_nodes, same_value

_RATIO = re.compile(r"\bratio\b|\bproportion\b", re.IGNORECASE)


def compare(a: Form, g: Form, rules: Rules) -> bool | None:
    """Whether an answer a is the gold g; None where only math-verify could tell and it was not to be asked."""
    if a == g:
        return True
    a, g = _single(a), _single(g)
    if isinstance(a, Chain) or isinstance(g, Chain):
        return same_chain(a, g, rules)
    if isinstance(a, Choice) or isinstance(g, Choice):
        return _same_choice(a, g, rules)
    if isinstance(a, Relation) or isinstance(g, Relation):
        return same_relation(a, g, rules)
    if isinstance(a, Named) or isinstance(g, Named):
        return same_named(a, g, rules)
    if isinstance(a, Region) or isinstance(g, Region):
        return same_region(a, g, rules)
    match a, g:
        case Value(), Value():
            return same_value(a, g, rules)
        case Bag(), Bag():
            return same_bag(a, g, rules)
        case Tuple(), Tuple():
            round_a, round_g = _round(a), _round(g)
            return round_a == round_g and all_same(a.items, g.items, rules)
        case Matrix(), Matrix():
            return same_matrix(a, g, rules)
        case (Bag(items=items), Tuple()) | (Tuple(), Bag(items=items)) if all(isinstance(i, Named) for i in items):
            other = g if isinstance(g, Tuple) else a
            plain = tuple(i.value for i in items if isinstance(i, Named))
            return (
                isinstance(other, Tuple)
                and (other.open, other.close) == ("(", ")")
                and all_same(plain, other.items, rules)
            )
        case (Matrix(rows=rows, factor=()), Tuple()) if all(len(row) == 1 for row in rows):
            return g.open != "[" and all_same([value_of(row[0]) for row in rows], g.items, rules)
        case (Tuple(), Matrix(rows=rows, factor=())) if all(len(row) == 1 for row in rows):
            return a.open != "[" and all_same(a.items, [value_of(row[0]) for row in rows], rules)
        case (Opaque(text=text), Value(whole=whole)) | (Value(whole=whole), Opaque(text=text)):
            return text == opaque(whole)
        case (Words(text=text), Value(whole=(Node(kind="word", text=word),))) | (
            Value(whole=(Node(kind="word", text=word),)),
            Words(text=text),
        ):  # `bca`, which may be a word, for the product `abc`
            return sorted(text) == sorted(word) and list(word) == sorted(word)
        case Colon(), Colon():
            return _same_colon(a, g, rules)
        case (Colon(parts=(above, below)), Value()):
            return not _is_time(a, rules) and same_value(value_of(quotient(above, below)), g, rules)
        case (Value(), Colon(parts=(above, below))):
            return not _is_time(g, rules) and same_value(a, value_of(quotient(above, below)), rules)
    return False


def _single(form: Form) -> Form:
    """A list or set of one item as the item; equal items of a set once."""
    if isinstance(form, Bag):
        items = tuple(dict.fromkeys(form.items)) if form.braces else form.items
        return items[0] if len(items) == 1 else Bag(items, form.braces)
    return form


def _round(form: Tuple) -> tuple[str, str]:
    return ("(", ")") if form.open == "\\langle" else (form.open, form.close)


def _same_choice(a: Form, g: Form, rules: Rules) -> bool | None:
    if isinstance(a, Choice) and isinstance(g, Choice):
        if a.letter != g.letter:
            return False
        return True if a.rest is None or g.rest is None else rules.same(a.rest, g.rest)
    choice, other = (a, g) if isinstance(a, Choice) else (g, a)
    assert isinstance(choice, Choice)  # one of them is
    if isinstance(other, Words):
        return other.text == choice.letter.casefold()
    if choice.rest is not None:
        return rules.same(choice.rest, other) if choice is a else rules.same(other, choice.rest)
    if isinstance(other, Value) and len(other.nodes) == 1 and other.nodes[0].kind == "let":
        return other.nodes[0].text.upper() == choice.letter and choice.letter in "ABCDE"
    if choice.bare and not isinstance(other, Choice):
        variable = value_of((Node("let", choice.letter),))
        return rules.same(variable, other) if choice is a else rules.same(other, variable)
    return False


def _is_time(form: Colon, rules: Rules) -> bool:
    """Whether numbers with colons can be a time of day, and the question does not ask for a ratio."""
    texts = [write(part) for part in form.parts]
    if form.half:
        return True
    return (
        len(texts) >= 2
        and re.fullmatch(r"\d{1,2}", texts[0]) is not None
        and int(texts[0]) <= 24
        and all(re.fullmatch(r"[0-5]\d", text) for text in texts[1:])
        and not _RATIO.search(rules.question)
    )


def _same_colon(a: Colon, g: Colon, rules: Rules) -> bool | None:
    if _is_time(a, rules) or _is_time(g, rules):
        return bool(_clock(a) & _clock(g))
    if len(a.parts) != len(g.parts):
        return False
    pairs = [quotient(part, a.parts[0]) for part in a.parts[1:]], [quotient(part, g.parts[0]) for part in g.parts[1:]]
    loose = rules.loose()
    return every(lambda i: same_nodes(pairs[0][i], pairs[1][i], loose), range(len(pairs[0])))


def _clock(form: Colon) -> set[int]:
    """The seconds since midnight that a time can mean: without am or pm, as it stands and in either half."""
    texts = [write(part) for part in form.parts]
    if not all(text.isdigit() and len(text) <= 2 for text in texts) or len(texts) > 3:
        return set()
    hour, minute, second = ([int(text) for text in texts] + [0, 0])[:3]
    rest = 60 * minute + second
    if form.half:
        return {3600 * (hour % 12 + (12 if form.half == "pm" else 0)) + rest}
    return {3600 * hour + rest} | ({3600 * (hour % 12) + rest, 3600 * (hour % 12 + 12) + rest} if hour <= 12 else set())
