"""Which form an answer has: the readers of the other modules, in order."""

from jaxreason.grading.forms import Form, FormError
from jaxreason.grading.nodes import Nodes, is_symbol, strip
from jaxreason.grading.read_many import (
    read_brackets,
    read_compound,
    read_list,
    read_matrix,
    read_plus_minus,
    read_union,
)
from jaxreason.grading.read_one import read_based, read_colon, read_value
from jaxreason.grading.read_relations import read_condition, read_relation
from jaxreason.grading.read_words import read_choice, read_sentence, read_text, read_words

_SIGNS = frozenset("+-*/%$")


def read(nodes: Nodes) -> Form:
    """The form of an answer.

    Raises:
      FormError: see there.
    """
    nodes = strip(nodes)
    if not nodes:
        raise FormError("nothing")
    if all(n.kind == "num" or is_symbol(n, *_SIGNS) for n in nodes):  # many answers; no other reader has any use for it
        return read_value(nodes)
    form = (
        read_text(nodes, read)
        or read_choice(nodes, read)
        or read_words(nodes)
        or read_matrix(nodes)
        or read_sentence(nodes)
        or read_condition(nodes, read)
        or read_compound(nodes, read)
        or read_list(nodes, read)
        or read_relation(nodes, read)
        or read_union(nodes, read)
        or (read_brackets(nodes, read) if is_symbol(nodes[0], "\\{") else None)
        or read_plus_minus(nodes, read)
        or read_brackets(nodes, read)
        or read_based(nodes)
        or read_colon(nodes)
    )
    return form or read_value(nodes)
