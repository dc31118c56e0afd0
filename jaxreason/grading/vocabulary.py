"""Words that the readers know: usual answers, their synonyms, names of functions and of bases, short nouns."""

from jaxreason.grading import units

SAME_WORDS = {
    "no solutions": "no solution",
    "none": "no solution",
    "no real solution": "no solution",
    "no real solutions": "no solution",
    "no solution exists": "no solution",
    "there is no solution": "no solution",
    "there are no solutions": "no solution",
    "empty set": "no solution",
    "null set": "no solution",
    "all reals": "all real numbers",
    "any real number": "all real numbers",
    "every real number": "all real numbers",
    "all real number": "all real numbers",
    "real numbers": "all real numbers",
    "set of all real numbers": "all real numbers",
    "infinite solutions": "infinitely many solutions",
    "infinitely many": "infinitely many solutions",
    "infinite number of solutions": "infinitely many solutions",
    "infinitely many solution": "infinitely many solutions",
    "dne": "does not exist",
    "limit does not exist": "does not exist",
}
COMMON_WORDS = frozenset(
    "yes no true false odd even none up down left right all any both neither one two six ten red blue north south east "
    "west tie win lose dne mon tue wed thu fri sat sun jan feb mar apr jun jul aug sep oct nov dec on off in out day "
    "min max sum product".split()
)
FUNCTION_WORDS = frozenset(
    "sin cos tan cot sec csc log exp inf min max abs gcd lcm sqrt arcsin arccos arctan sinh cosh tanh infty infinity "
    "asin acos atan".split()
)
BASE_WORDS = {
    name: str(n)
    for n, name in enumerate(
        "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen".split(), start=2
    )
}  # fmt: skip
SHORT_NOUNS = frozenset(
    "day men box car cup pie egg pen toy bus pet dog cat cow pig hen win way lap jar can bag hat kid boy hot new old "
    "big ice tea ham fox bee ant oak key cap dot ray pack job row ton".split()
)


def is_word(word: str) -> bool:
    """Whether bare letters are a word and no product: long, capitalised, or among the usual answers."""
    if word.lower() in COMMON_WORDS:
        return True
    if units.is_scale(word) or word in FUNCTION_WORDS:
        return False
    if len(word) == 3 and word.islower():  # letters in order are rather a product
        return bool(set(word) & set("aeiou")) and list(word) != sorted(word)
    return len(word) >= 4 or (word[0].isupper() and word[1:].islower() and len(word) > 2)
