"""What every comparison of forms needs: what it may look at and ask, and truths of three values over several parts."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from jaxreason.grading.forms import (
    Form,
    Named,
    Value,
)
from jaxreason.grading.nodes import Node, Nodes

MAX_ITEMS = 40

UNFINISHED = re.compile(r"\\(?:sum|prod|i+nt|oint|lim)(?![a-zA-Z])")
"""Operators that leave something to work out."""

Ask = Callable[[str, str, bool], bool | None]
"""Asks math-verify about (answer, gold) in LaTeX, and says whether the gold could be read here."""


@dataclass(frozen=True)
class Rules:
    """What a comparison needs besides the forms."""

    compare: "Callable[[Form, Form, Rules], bool | None]"
    question: str = ""
    ask: Ask | None = None
    finished: bool = True
    """whether the first form must be worked out as far as the second one is"""

    def same(self, answer: Form, gold: Form) -> bool | None:
        """Whether an answer is the gold; None where only math-verify could tell and it was not to be asked."""
        return self.compare(answer, gold, self)

    def loose(self) -> "Rules":
        """The same, with arithmetic left to do allowed."""
        return replace(self, finished=False)


def value_of(nodes: Nodes) -> Value:
    return Value(nodes, nodes)


def quotient(above: Nodes, below: Nodes) -> Nodes:
    return (Node("frac", "", (above, below)),)


def bare(form: Form) -> Form:
    return form.value if isinstance(form, Named) else form


def all_same(a: Sequence[Form], g: Sequence[Form], rules: Rules) -> bool | None:
    """Items one by one, in order."""
    if len(a) != len(g) or len(a) > MAX_ITEMS:
        return False
    return every(lambda i: rules.same(a[i], g[i]), range(len(a)))


def every(same: Callable[[int], bool | None], indices: Sequence[int] | range) -> bool | None:
    """All of three-valued truths: one that is wrong settles it."""
    unsure = False
    for i in indices:
        verdict = same(i)
        if verdict is False:
            return False
        unsure |= verdict is None
    return None if unsure else True


def matched(a: Sequence[Form], g: Sequence[Form], rules: Rules) -> bool | None:
    """Items in any order, each used once."""
    left = list(range(len(g)))
    unsure = False
    for item in a:
        verdicts = {}
        for j in left:
            verdicts[j] = rules.same(item, g[j])
            if verdicts[j]:
                left.remove(j)
                break
        else:
            if not any(v is None for v in verdicts.values()):
                return False
            unsure = True
    return None if unsure else True
