"""HTML and SVG from nested calls. Text is escaped unless it was made here, so a model's text cannot become markup."""

import re

_VOID = frozenset(("meta", "input", "br"))
_SHAPES = frozenset(("path", "line", "circle", "rect"))
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_NO_CHARACTER = re.compile("[\ud800-\udfff\ufffe\uffff\x80-\x9f]")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(text: object) -> Markup:
    """Text as HTML that shows it. Control characters become their pictures, what is no character becomes U+FFFD.

    >>> escape("<b> & \\x00")
    '&lt;b&gt; &amp; ␀'
    """
    if isinstance(text, Markup):
        return text
    shown = str(text).replace("\r\n", "\n").translate(_ENTITIES)
    shown = _CONTROL.sub(lambda found: chr(0x2400 + min(ord(found[0]), 0x21)), shown)
    return Markup(_NO_CHARACTER.sub("\ufffd", shown))


def join(*children: object, by: str = "") -> Markup:
    """Children one after the other, escaped where they are plain text; None and nested sequences are allowed."""
    parts = []
    for child in children:
        if isinstance(child, list | tuple):
            parts.append(join(*child, by=by))
        elif child is not None:
            parts.append(escape(child))
    return Markup(by.join(parts))


def el(tag: str, *children: object, **attributes: object) -> Markup:
    """One element.

    Args:
      children: as in `join`.
      attributes: `class_` is class, other underscores are hyphens; None or False leaves one out, True writes it bare.

    >>> el("p", "1 < 2", el("br"), class_="note", data_step=3, hidden=None)
    '<p class="note" data-step="3">1 &lt; 2<br></p>'
    """
    words = [tag]
    for name, value in attributes.items():
        name = name.rstrip("_").replace("_", "-")
        if value is True:
            words.append(name)
        elif value is not None and value is not False:
            words.append(f'{name}="{escape(value)}"')
    opening = " ".join(words)
    if tag in _VOID:
        return Markup(f"<{opening}>")
    if tag in _SHAPES and not children:
        return Markup(f"<{opening}/>")
    return Markup(f"<{opening}>{join(*children)}</{tag}>")
