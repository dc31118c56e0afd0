"""Methods, alphas and seeds side by side, under one protocol: runs, tables, and a page."""

from collections.abc import Sequence
from typing import Any

from jaxreason.compare import figures, page, words
from jaxreason.compare.grid import Grid, select
from jaxreason.compare.run import final_problems, run_grid, with_models
from jaxreason.run.files import write_json_atomic
from jaxreason.run.progress import Display

RESULTS, TABLES, PAGE = "results.json", "results.md", "compare.html"


def compare(grid: Grid, *, only: Sequence[str] = (), display: Display | None = None) -> dict[str, Any]:
    """Run what is left of a comparison and write what all of it found.

    Args:
      grid: from `grid.load_grid`.
      only: which cells to run, see `grid.select`; the tables hold every cell that was begun.

    Returns:
      What results.json of its folder holds, see `figures.collect`.

    Raises:
      ValueError: a cell's folder holds another configuration, or bad data.
      Stopped: interrupted and saved; the files show what there is.
    """
    display = display or Display()
    grid = with_models(grid)
    chosen = select(grid, only) if only else grid
    try:
        run_grid(grid, chosen.cells, display)
    finally:
        found = write(grid)
    return found


def write(grid: Grid) -> dict[str, Any]:
    """Write results.json, results.md and compare.html from the folders of the cells; nothing where none was begun."""
    begun = [cell for cell in grid.cells if cell.folder.is_dir()]
    if not begun:
        return figures.collect([], None)
    final = final_problems(grid.final, grid.cells[0].config, grid.folder) if grid.final else None
    found = figures.collect(begun, final)
    write_json_atomic(grid.folder / RESULTS, found)
    (grid.folder / TABLES).write_text(words.markdown(found))
    (grid.folder / PAGE).write_text(page.page(found, grid.folder.name), encoding="utf-8", newline="\n")
    return found
