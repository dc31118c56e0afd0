"""MkDocs hook: the pages that are made from something else, so that they cannot disagree with it.

`configuration.md` comes from the dataclasses, `metrics.md` from the table of metrics, the table in `methods.md` from
the methods, `tpu/` from the guides beside the scripts. A folder in `nav` stands for its pages, `index.md` first and the
others by name; a page that `nav` does not name comes last in the guide.
"""

import html
import re
import sys
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
LONGEST_FIGURE = 32
"""Characters of a cell in a table of figures."""
sys.path.insert(0, str(ROOT))  # this checkout's, whatever is installed

from jaxreason.config import describe  # noqa: E402
from jaxreason.rewards.methods import METHODS  # noqa: E402
from jaxreason.run import alarm_table, metric_table  # noqa: E402


def on_config(config):
    """Folders of `nav` become lists of their pages, and pages that it does not name join the guide."""
    config.nav = [_expand(entry) for entry in config.nav]
    named = set(_named(config.nav))
    (guide,) = [entry["Guide"] for entry in config.nav if "Guide" in entry]
    pages = sorted(str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md"))
    guide += [page for page in pages if page not in named]
    return config


def on_files(files, config):
    """Add the pages that are no file below docs/."""
    made = {"configuration.md": configuration(), "metrics.md": metrics()}
    made |= {f"tpu/{page.name}": page.read_text() for page in sorted((ROOT / "tpu").glob("*.md"))}
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_content(content, **_):
    """Tables of figures, whose cells are all short, break no line in a cell; those of words are wider on a phone."""
    return re.sub(r"<table>.*?</table>", _kind, content, flags=re.DOTALL)


def _kind(table: re.Match[str]) -> str:
    cells = [re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<t[dh]\b.*?</t[dh]>", table[0], re.DOTALL)]
    kind = "figures" if max(map(len, cells)) <= LONGEST_FIGURE else "words"
    return f'<div class="{kind}">{table[0]}</div>'


def on_page_markdown(markdown, page, **_):
    """Put the table of methods where a page asks for it."""
    return markdown.replace("<!-- table of methods -->", methods())


def methods() -> str:
    """A row for each method that ships."""
    helpers = {"none": "none", "train": "trained", "frozen": "the starting policy"}
    rows = ["| `reward.preset` | what it is | price | helpers | source |", "|---|---|---|---|---|"]
    for name, method in METHODS.items():
        price = "alpha" if method.priced else "–"
        source = "this project" if method.source == "ours" else method.source
        rows.append(f"| `{name}` | {method.summary} | {price} | {helpers[method.helpers]} | {source} |")
    return "\n".join(rows)


def configuration() -> str:
    """Every field of every section: name, default, meaning, choices."""
    page = [
        "# Configuration",
        "",
        "An experiment is one YAML file with a section for each heading below. Any field can be set on the command line"
        " as well, `--section.field=value`, which wins over the file. A key that does not exist is an error that names"
        " the nearest one. This page is written from the dataclasses in `jaxreason/config/`; `jaxreason train --help`"
        " prints the same.",
        "",
    ]
    described = describe.sections()
    model = {field.name.split(".")[1] for section in described if section.name == "model" for field in section.fields}
    for section in described:
        page += [f"## {section.name}", "", section.about, ""]
        if section.name != "model" and {field.name.split(".")[1] for field in section.fields} == model:
            page += [
                "It has the fields of [model](#model), with the same defaults and meanings: "
                f"`{section.name}.hidden_size` and so on.",
                "",
            ]
            continue
        for field in section.fields:
            default = f"`{field.default}`" if field.default else "empty"
            choices = "" if not field.choices else " One of " + ", ".join(f"`{c}`" for c in field.choices) + "."
            page += [
                f'<span id="{field.name}"></span>`{field.name}` <span class="default">default {default}</span>',
                f":   {_prose(field.meaning[:1].upper() + field.meaning[1:])}.{choices}",
                "",
            ]
    return "\n".join(page)


def metrics() -> str:
    """The table of metrics, a section a group."""
    page = [
        "# Metrics",
        "",
        metric_table.ABOUT,
        "",
    ]
    for group in (*metric_table.GROUPS, metric_table.EVALUATION):
        page += [f"## {group.title}", "", group.about, "", "| name | unit | what it is | absent |", "|---|---|---|---|"]
        for row in group.rows:
            whose = "The reasoner's is read" if "{role}" in row.name else "Read"
            alarm = f" **{whose} by alarm {row.alarm}.**" if row.alarm else ""
            shown = html.escape(row.name).replace("/", "/<wbr>")
            name = f'<code id="{html.escape(row.name)}">{shown}</code>'
            page.append(f"| {name} | {row.unit} | {_cell(row.meaning)}{alarm} | {_cell(row.absent)} |")
        page.append("")
    page += ["## Alarms", "", alarm_table.ABOUT_ALARMS, "", "| alarm | sign | what to do |", "|---|---|---|"]
    page += [f"| {alarm.name} | {_cell(alarm.sign)} | {_cell(alarm.remedy)} |" for alarm in alarm_table.ALARMS]
    return "\n".join([*page, ""])


def _prose(text: str) -> str:
    """A docstring's line as Markdown: `<`, `*` and `|` are themselves outside code."""
    parts = text.split("`")
    parts[::2] = [html.escape(part, quote=False).replace("*", "\\*").replace("_", "\\_") for part in parts[::2]]
    return "`".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _expand(entry):
    if isinstance(entry, str):
        return entry
    (title, value), *_ = entry.items()
    if isinstance(value, list):
        return {title: [_expand(part) for part in value]}
    if value.endswith("/"):
        names = sorted((ROOT / "docs" / value).glob("*.md"), key=lambda page: (page.name != "index.md", page.name))
        return {title: [f"{value}{page.name}" for page in names]}
    return entry


def _named(entry) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    return [page for part in (entry.values() if isinstance(entry, dict) else entry) for page in _named(part)]
