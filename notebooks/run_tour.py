# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A tour of a run folder
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/jaxreason/jaxreason/blob/main/notebooks/run_tour.ipynb)
#
# What a training run left behind: what came out, the curves behind it, what the policy wrote and how its chunks were
# scored, and the monitor's warnings. Finished or not, any folder that `jaxreason train` wrote will do. Nothing is
# changed in it, and no model is loaded. `jaxreason report RUN` puts the same onto one page.

# %%
import importlib.util
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("jaxreason") is None:
    from IPython import get_ipython

    get_ipython().run_line_magic("pip", "install -q 'jaxreason @ git+https://github.com/jaxreason/jaxreason'")

# %%
import html
import os
from importlib import resources
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML, display

from jaxreason import report
from jaxreason.report import chart, choice, curves, markup, tables, texts
from jaxreason.report.headline import headline
from jaxreason.report.read import read_runs

# %% [markdown]
# `RUN` is the folder, seen from here or from the repository. `make demo` makes `runs/quickstart` in some minutes.

# %%
RUN = os.environ.get("RUN", "runs/quickstart")

# %%
try:
    run = read_runs([next((p for p in (Path(RUN), Path("..") / RUN) if p.is_dir()), Path(RUN))])[0]
except ValueError as error:
    sys.exit(f"{error}. Set RUN above, or make a run with `make demo` (jaxreason train configs/quickstart.yaml).")

STYLE = (resources.files(report) / "style.css").read_text(encoding="utf-8")
INK, SOFT, BLUE, ORANGE = "#1c1f24", "#676d76", "#1a62b0", "#c2570c"
plt.rcParams.update(
    {
        "figure.facecolor": "#fdfdfb", "axes.facecolor": "#fdfdfb", "savefig.facecolor": "#fdfdfb",
        "figure.dpi": 76, "savefig.bbox": "tight", "savefig.pad_inches": 0.2, "figure.constrained_layout.use": True,
        "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": SOFT, "axes.labelcolor": SOFT,
        "xtick.color": SOFT, "ytick.color": SOFT, "text.color": INK, "axes.titlecolor": INK, "font.size": 9.5,
        "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.titlelocation": "left", "lines.linewidth": 2,
        "legend.frameon": False,
    }
)  # fmt: skip


def show(*parts: object, height: int) -> None:
    """Parts of the report in a frame of their own, so that neither its style nor a model's text reaches this page."""
    page = f'<meta charset="utf-8"><style>{STYLE} main {{ padding: 8px }}</style><main>{markup.join(*parts)}</main>'
    frame = f'<iframe sandbox srcdoc="{html.escape(page)}" style="width:100%;height:{height}px;border:0"></iframe>'
    display(HTML(f"<div>{frame}</div>"))


# %% [markdown]
# ## What came out

# %%
show(headline(run), height=620)

# %% [markdown]
# ## Over the steps
#
# Faint points are single steps, lines are running means. Rings are held-out problems with their 95 % intervals.
# `frozen` is the scorer of the start on the same text: a live scorer that leaves it upwards has found out that high
# scores pay. Orange triangles are warnings.

# %%
lines = {
    "accuracy": (("reason/accuracy", "training", BLUE, "-"),),
    "tokens of an answer": (
        ("reason/completions/mean_length", "all", BLUE, "-"),
        ("reason/completions/mean_length_right", "right", INK, "--"),
        ("reason/completions/mean_length_wrong", "wrong", ORANGE, ":"),
    ),
    "mean score of a chunk": (("score/mean", "live", BLUE, "-"), ("score/frozen_mean", "frozen", SOFT, "--")),
    "share of tokens": (
        ("reason/penalised_share", "penalised", BLUE, "-"),
        ("reason/needless_tokens", "needless", ORANGE, "--"),
    ),
}
held_out = {"accuracy": "accuracy", "tokens of an answer": "mean_tokens"}

fig, axes = plt.subplots(2, 2, figsize=(9, 5.4), sharex=True)
for ax, (title, metrics) in zip(axes.flat, lines.items(), strict=True):
    for metric, name, colour, style in metrics:
        value = curves.column(run, metric)
        if np.isfinite(value).any():
            ax.plot(curves.steps(run), value, ".", color=colour, alpha=0.2, markeredgewidth=0)
            ax.plot(curves.steps(run), chart.smoothed(value), style, color=colour, label=name)
    for evaluation in [run.before, run.after] if title in held_out else []:
        if evaluation is not None:
            middle = evaluation.table[held_out[title]]
            low, high = curves.interval(evaluation.table, held_out[title])
            if low is not None and high is not None:
                ax.vlines(evaluation.step, low, high, color=INK, linewidth=1.2)
            ax.plot(evaluation.step, middle, "o", color=INK, markerfacecolor="#fdfdfb", clip_on=False, zorder=3)
    ax.set(title=title, ylim=(1, 5) if "score" in title else (0, None if "tokens of" in title else 1))
    for step, _ in curves.warnings(run):
        ax.plot(step, ax.get_ylim()[0], "v", color=ORANGE, clip_on=False, zorder=3)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="best")
axes[1, 0].set_xlabel("step")
axes[1, 1].set_xlabel("step")
plt.show()

# %% [markdown]
# Every metric is a column of `metrics.jsonl`: `curves.column(run, name)` reads one, and these are there:

# %%
names = sorted({name for row in run.metrics for name in row} - {"step", "warnings"})
for first in sorted({name.split("/")[0] for name in names if "/" in name}):
    print(f"{first}/", ", ".join(name.removeprefix(f"{first}/") for name in names if name.startswith(f"{first}/")))
print(", ".join(name for name in names if "/" not in name))

# %% [markdown]
# ## Before and after
#
# Held-out problems, the starting policy against the trained one; small figures are 95 % intervals.

# %%
show(*tables.before_after(run), height=700)

# %% [markdown]
# Some of them as they were answered.

# %%
pairs = choice.evenly(choice.held_out(run), 4)
show(texts.held_out(run, pairs) if pairs else "No texts were kept.", height=640)

# %% [markdown]
# ## A chain of thought in its chunks
#
# Completions of training, early and late. The colour is the importance that the scorer gave; the number on the right is
# the chunk's length in tokens.

# %%
samples = choice.samples(run, 8)
show(texts.score_legend(), texts.samples(run, samples) if samples else "No samples were kept.", height=760)

# %% [markdown]
# ## One reward, recomputed
#
# $R = R_\text{acc} - \alpha f(\sum_i \varphi(w_i)|s_i|)$ from the text file alone: the latest sample whose chunks were
# scored, against the reward that the trainer noted.

# %%
scored = [(step, row) for step in run.sample_steps() for row in run.samples(step) if row.get("scores")]
if scored and run.setting("reward", "preset") in ("scma", "guarded", "frozen"):
    step, row = scored[-1]
    phi, alpha = run.setting("reward", "phi"), next(m["alpha"] for m in run.metrics if m["step"] == step)
    for text, w, n in zip(row["chunks"], row["scores"], row["chunk_lengths"], strict=True):
        print(f"w={w}  phi={phi[w - 1]:.2f}  |s|={n:3d}  {text.strip()!r}")
    weighted = sum(phi[w - 1] * n for w, n in zip(row["scores"], row["chunk_lengths"], strict=True))
    f = min(1.0, weighted / run.setting("sampling", "max_completion_length"))
    right = row["exact_match"] * (row["finish_reason"] == "stop" or not run.setting("reward", "require_eos"))
    f *= right if run.setting("reward", "gate") != "none" else 1
    print(f"\nstep {step}: R = {right} - {alpha:.3g} * {f:.4f} = {right - alpha * f:.4f}")
    print(f"the trainer's: {row['rewards']['reason']:.4f}")
else:
    print("No sample of this run has scored chunks.")

# %% [markdown]
# ## Alarms
#
# What the monitor printed while the run went on (`jaxreason/run/monitor.py`): signs read off published collapses, and
# signs of helpers that earn their reward without doing their work. Nothing below: nothing was amiss.

# %%
for step, text in curves.warnings(run):
    print(f"step {step}: {text}")
gap = curves.column(run, "score/live_minus_frozen")
if np.isfinite(gap).any():
    print(f"live minus frozen score, last steps: {np.nanmean(gap[-20:]):+.3f} points"
          f" (alarm above {run.setting('monitor', 'inflation_gap', 0.5)})")  # fmt: skip
