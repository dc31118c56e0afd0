r"""Units behind a value: which words and symbols are one, and when two of them are the same.

A unit of measurement is compared by its meaning in spelling only (`cm`, `centimetres`), never converted: `100 cm` does
not answer `1 m`, as a question asks for its unit. Any other noun (`ways`, `apples`) is compared by its words.
"""

import re
from fractions import Fraction
from typing import NamedTuple


class Unit(NamedTuple):
    """A unit: factors of measurement with their powers, or the words of a noun, and what a scale word multiplies by."""

    factors: tuple[tuple[str, int], ...] = ()
    words: frozenset[str] = frozenset()
    scale: Fraction = Fraction(1)


# name: (dimension, spellings)
_MEASURES: dict[str, tuple[str, str]] = {
    "m": ("length", "m meter metre"),
    "cm": ("length", "cm centimeter centimetre"),
    "mm": ("length", "mm millimeter millimetre"),
    "km": ("length", "km kilometer kilometre"),
    "um": ("length", "um micrometer micron"),
    "nm": ("length", "nm nanometer nanometre"),
    "in": ("length", "in inch inches"),
    "ft": ("length", "ft foot feet"),
    "yd": ("length", "yd yds yard"),
    "mi": ("length", "mi mile"),
    "g": ("mass", "g gram gramme gm"),
    "kg": ("mass", "kg kilogram kilo kgs"),
    "mg": ("mass", "mg milligram"),
    "lb": ("mass", "lb lbs pound"),
    "oz": ("mass", "oz ounce"),
    "ton": ("mass", "ton tonne"),
    "s": ("time", "s sec second secs"),
    "ms": ("time", "ms millisecond"),
    "min": ("time", "min mins minute"),
    "h": ("time", "h hr hrs hour"),
    "day": ("time", "day"),
    "week": ("time", "wk week"),
    "month": ("time", "month mo"),
    "year": ("time", "yr yrs year"),
    "decade": ("time", "decade"),
    "century": ("time", "century centuries"),
    "L": ("volume", "L l liter litre"),
    "mL": ("volume", "mL ml milliliter millilitre cc"),
    "gal": ("volume", "gal gallon"),
    "qt": ("volume", "qt quart"),
    "pt": ("volume", "pint"),
    "cup": ("volume", "cup"),
    "tbsp": ("volume", "tbsp tablespoon"),
    "tsp": ("volume", "tsp teaspoon"),
    "dollar": ("money", "$ dollar usd USD buck"),
    "cent": ("money", "cent ¢ penny pennies"),
    "pound sterling": ("money", "£ GBP quid"),
    "euro": ("money", "€ euro EUR"),
    "yen": ("money", "¥ yen JPY yuan"),
    "rupee": ("money", "₹ rupee Rs"),
    "%": ("percent", "% percent percentage pct"),
    "deg": ("angle", "deg degree"),
    "degC": ("temperature", "degC celsius Celsius centigrade"),
    "degF": ("temperature", "degF fahrenheit Fahrenheit"),
    "rad": ("angle", "rad radian"),
    "mph": ("speed", "mph"),
    "kph": ("speed", "kph kmph kmh"),
    "acre": ("area", "acre"),
    "hectare": ("area", "ha hectare"),
    "N": ("force", "N newton"),
    "J": ("energy", "J joule"),
    "kJ": ("energy", "kJ kilojoule"),
    "cal": ("energy", "cal calorie"),
    "eV": ("energy", "eV"),
    "W": ("power", "W watt"),
    "kW": ("power", "kW kilowatt"),
    "Pa": ("pressure", "Pa pascal"),
    "kPa": ("pressure", "kPa kilopascal"),
    "atm": ("pressure", "atm atmosphere"),
    "V": ("voltage", "V volt"),
    "A": ("current", "A amp ampere"),
    "ohm": ("resistance", "ohm Ω Omega"),
    "K": ("temperature", "K kelvin"),
    "mol": ("amount", "mol mole"),
    "M": ("concentration", "molar"),
    "Hz": ("frequency", "Hz hertz"),
    "kHz": ("frequency", "kHz kilohertz"),
    "C": ("charge", "coulomb"),
    "T": ("field", "tesla"),
    "unit": ("any", "unit"),
    "bit": ("data", "bit"),
    "byte": ("data", "byte"),
}
_COMPOUND = {
    "mph": (("mi", 1), ("h", -1)), "kph": (("km", 1), ("h", -1)), "cc": (("cm", 3),), "L": (("L", 1),)
}  # fmt: skip
_SPELLINGS = {spelling: name for name, (_, spellings) in _MEASURES.items() for spelling in spellings.split()}
_SCALES = {
    "hundred": Fraction(100),
    "thousand": Fraction(1000),
    "million": Fraction(10**6),
    "billion": Fraction(10**9),
    "trillion": Fraction(10**12),
}
BARE = frozenset(
    "cm mm km kg in ft yd yds mi lb lbs oz hr hrs min mins sec secs mph kph mL ml gal inch mg Hz kHz kJ kW kPa "
    "atm USD EUR GBP JPY".split()
) | frozenset(spelling for spelling in _SPELLINGS if spelling.isalpha() and len(spelling) >= 4)
"""Bare letters behind a number that are a unit: as a product of variables they are not to be expected."""
SINGLE = frozenset("m s g h L N J W K V A T C".split())
"""Single letters that are a unit in an upright font or as text, and a variable otherwise."""

_NOT_A_NOUN = frozenset(
    "not or and if when where unless maybe perhaps possibly mod most least than except but either neither nor is are "
    "was were for all any some no because since so then also to about around approximately roughly nearly almost "
    "between with without only equals equal plus minus times divided squared over under above below solutions exist "
    "otherwise while both even odd more! infinitely prime positive negative undefined i.e e.g which wait false true "
    "wrong incorrect correct right sorry instead rather alternatively factorial".split()
)
_DROPPED_WORDS = frozenset("a an the of total in on at each every".split())
MAX_WORDS = 6

_TOKEN = re.compile(r"[A-Za-zΩ]+(?:'s)?|[$£€¥₹%¢]|\^\{?\s*-?\d+\s*\}?|[/*()]|-(?=[A-Za-z])|\S")
_PER = re.compile(r"\bper\b|\ba(?=\s+(?:day|week|month|year|hour|minute|second|person|piece)\b)")
_SQUARE = re.compile(r"\b(?:square|sq\.?)\s+([A-Za-z]+)|\b([A-Za-z]+)[\s-]squared\b")
_CUBIC = re.compile(r"\b(?:cubic|cu\.?)\s+([A-Za-z]+)|\b([A-Za-z]+)[\s-]cubed\b")


def read(text: str) -> Unit | None:
    """What the words behind a value mean as a unit; None where they cannot be one.

    >>> read("square centimetres") == read("cm^{2}")
    True
    >>> read("maybe 6") is None
    True
    """
    text = _SQUARE.sub(lambda m: f"{m[1] or m[2]}^2", text)
    text = _CUBIC.sub(lambda m: f"{m[1] or m[2]}^3", text)
    text = _PER.sub(" / ", text.replace("\\", " "))
    tokens = [token.removesuffix("'s") for token in _TOKEN.findall(text) if token != "."]
    scale = Fraction(1)
    for place in (0, 1):  # `million dollars`, `$ million`
        while len(tokens) > place and (found := _SCALES.get(tokens[place].lower().removesuffix("s"))):
            scale *= found
            tokens = tokens[:place] + tokens[place + 1 :]
    for end in range(min(len(tokens), 8), -1, -1):
        factors = _factors(tokens[:end]) if end else ()
        if factors is not None:
            break
    words = [token.lower() for token in tokens[end:] if token not in "()/*"]
    if len(words) > MAX_WORDS or any(not w.isalpha() or w in _NOT_A_NOUN for w in words):
        return None
    return Unit(factors or (), frozenset(_singular(word) for word in words if word not in _DROPPED_WORDS), scale)


def compatible(a: Unit | None, b: Unit | None) -> bool:
    """Whether two units can stand for one another: the same, one of them not given, or one noun more precise.

    >>> compatible(read("cm"), read("centimeters")), compatible(read("cm"), read("km")), compatible(None, read("cm"))
    (True, False, True)
    """
    if a is None or b is None or a[:2] == b[:2]:
        return True
    if not (a.factors or a.words) or not (b.factors or b.words):
        return True
    if bool(a.factors) != bool(b.factors):
        return False
    if a.factors != b.factors:
        pair = {a.factors, b.factors}
        return (("deg", 1),) in pair and bool(pair & {(("degC", 1),), (("degF", 1),)})
    return a.words <= b.words or b.words <= a.words


def measures_of(text: str) -> dict[str, set[str]]:
    """The units of measurement that a question names: dimension -> names."""
    found: dict[str, set[str]] = {}
    for word in re.findall(r"[A-Za-z]+|[$£€%¢]|\\circ", text):
        name = "deg" if word == "\\circ" else _name(word)
        if name and (len(word) > 1 or not word.isalpha()):
            found.setdefault(_MEASURES[name][0], set()).add(name)
    return found


def dimension(unit: Unit) -> str | None:
    """The dimension of a plain unit of measurement; None for a compound one and for a noun."""
    if len(unit.factors) == 1 and unit.factors[0][1] == 1 and unit.factors[0][0] in _MEASURES:
        return _MEASURES[unit.factors[0][0]][0]
    return None


def is_percent(unit: Unit | None) -> bool:
    """Whether the unit is the percent sign alone."""
    return unit is not None and unit.factors == (("%", 1),)


def is_measure(word: str) -> bool:
    """Whether a word names a unit of measurement."""
    return _name(word) is not None


def is_money(word: str) -> bool:
    """Whether a word names a currency."""
    name = _name(word)
    return name is not None and _MEASURES[name][0] == "money"


def is_scale(word: str) -> bool:
    """Whether a word multiplies, such as `million`."""
    return word.lower().removesuffix("s") in _SCALES


def _name(word: str) -> str | None:
    """The unit of measurement that a word names, in singular or plural, in any case if it is long."""
    for form in (word, word.lower() if len(word) > 2 else word):
        for candidate in (form, form.removesuffix("s") if len(form) > 3 else form):
            if candidate in _SPELLINGS:
                return _SPELLINGS[candidate]
    return None


def _factors(tokens: list[str]) -> tuple[tuple[str, int], ...] | None:
    """Tokens as a product of units of measurement; None where one of them is not."""
    powers: dict[str, int] = {}
    sign, last = 1, ""
    for i, token in enumerate(tokens):
        if token == "/":
            sign = -1
        elif token[0] == "^":
            if not last:
                return None
            exponent = int(re.sub(r"[^\d-]", "", token))
            powers[last] += (exponent - 1) * (1 if powers[last] >= 0 else -1)
        elif token in "*-":
            last = ""
        elif token in "()" or token.lower() == "of":
            continue
        elif token == "deg" and i + 1 < len(tokens) and tokens[i + 1] in ("C", "F"):
            continue
        elif token in "CF" and i and tokens[i - 1] == "deg":
            last = "deg" + token
            powers[last] = powers.get(last, 0) + sign
        else:
            name = _name(token)
            if name is None or (token == "in" and last):  # dollars in total
                return None
            for factor, power in _COMPOUND.get(name, ((name, 1),)):
                powers[factor] = powers.get(factor, 0) + sign * power
                last = factor
    if "degC" in powers or "degF" in powers:
        powers.pop("deg", None)
    powers.pop("unit", None)  # any unit will do
    return tuple(sorted((name, power) for name, power in powers.items() if power))


def _singular(word: str) -> str:
    for ending, instead in (("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("xes", "x"), ("sses", "ss"), ("s", "")):
        if word.endswith(ending) and len(word) > len(ending) + 1 and not word.endswith("ss" if ending == "s" else "\0"):
            return word.removesuffix(ending) + instead
    return word
