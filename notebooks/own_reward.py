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
# # A reward of your own
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/jaxreason/jaxreason/blob/main/notebooks/own_reward.ipynb)
#
# Two ways in. A **reward function** reads texts, and has TRL's signature. A **length method** reads lengths and
# outcomes, and is a pure function that runs inside the jitted step. Here both are written, tried on their own, looked
# at, and then trained with, on a CPU in a minute or two. Nothing is downloaded but packages.

# %%
import importlib.util
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("jaxreason") is None:
    from IPython import get_ipython

    get_ipython().run_line_magic("pip", "install -q 'jaxreason @ git+https://github.com/jaxreason/jaxreason'")

# %%
import html
import json
import os
import shlex
import subprocess
import tempfile
from importlib import resources
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML, display

from jaxreason import report
from jaxreason.config import RewardConfig
from jaxreason.grpo import advantage
from jaxreason.report import chart, curves, markup, texts
from jaxreason.report.read import read_runs
from jaxreason.rewards import functions
from jaxreason.rewards.length import Completions

# %% [markdown]
# `FOLDER` takes the files that are written here. `SETTINGS` is anything more for the training run, as on a command
# line.

# %%
STEPS = int(os.environ.get("STEPS", "40"))
FOLDER = Path(os.environ.get("FOLDER") or tempfile.mkdtemp(prefix="own_reward_"))
SETTINGS = shlex.split(os.environ.get("SETTINGS", ""))
sys.path.append(str(FOLDER))

# %%
STYLE = (resources.files(report) / "style.css").read_text(encoding="utf-8")
INK, SOFT, BLUE, ORANGE, GREEN, PURPLE = "#1c1f24", "#676d76", "#1a62b0", "#c2570c", "#00856a", "#a3488f"
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

# %% [markdown]
# ## 1. Three reward functions
#
# A function gets the completions of a step and every column of the data by name, and returns a number for each
# completion, or `None` where it does not apply. The task is the built-in calculator: `3;A+5;B*2;` asks for
# ((3 + 5) · 2) modulo 7, and a demonstration solves it line by line, with needless lines in between.
#
# `consistent` is asynchronous. The pause stands for a request to a service, a judge for example; all requests of a step
# wait together.

# %%
# %%writefile {FOLDER}/my_rewards.py
import asyncio
import re

FILLERS = ("hmm", "ok going on", "this is the next", "let me see")


def boxed(text):
    found = re.search(r"\\boxed\{([0-6])\}", text)
    return found and int(found[1])


def no_fillers(completions, **columns):
    """Minus the share of lines that say nothing."""
    lines = [text.splitlines() or [""] for text in completions]
    return [-sum(line.startswith(FILLERS) for line in each) / len(each) for each in lines]


def near(completions, answer, **columns):
    """1 for the right digit, 0 for the farthest on the circle of seven; does not apply without a digit in a box."""
    found = [boxed(text) for text in completions]
    away = [None if digit is None else abs(digit - int(right)) for digit, right in zip(found, answer)]
    return [None if d is None else 1 - min(d, 7 - d) / 3 for d in away]


async def consistent(completions, log_metric, **columns):
    """1 where the box holds the result of the last line that has one, else 0."""

    async def ask(text):
        await asyncio.sleep(0.01)
        results = re.findall(r"=([0-6])", text)
        return float(bool(results) and boxed(text) == int(results[-1]))

    log_metric("without_a_box", sum(boxed(text) is None for text in completions) / len(completions))
    return await asyncio.gather(*map(ask, completions))


# %% [markdown]
# First by hand, on four completions. Then as the trainer calls them: by the names that a configuration would hold, with
# the asynchronous ones together, and every value checked.

# %%
completions = [
    "A3+5=1\nB1*2=2\n\\boxed{2}",
    "hmm let me think\nA3+5=1\nok going on\nB1*2=2\nhmm let me think\n\\boxed{2}",
    "A3+5=1\nB1*2=3\n\\boxed{3}",
    "A3+5=1\nhmm let me think\nhmm let me think\nhmm let me think",
]
answer = ["2"] * len(completions)

import my_rewards

print("near:      ", my_rewards.near(completions, answer))
print("no_fillers:", my_rewards.no_fillers(completions))

# %%
names, weights = ("no_fillers", "near", "consistent"), (0.5, 0.5, 0.5)
doors = tuple(f"{FOLDER}/my_rewards.py:{name}" for name in names)
loaded = functions.load(RewardConfig(reward_funcs=doors, reward_weights=weights), ["answer"])
batch = functions.Batch(
    prompts=["3;A+5;B*2;"] * 4, completions=completions, completion_ids=[[0]] * 4, columns={"answer": answer}
)
values = functions.call(loaded, batch, functions.TrainerState(0, STEPS, 0.0), timeout_s=10)
sum_N, _ = functions.combine(values.value_FN, values.applies_FN, weights)
np.testing.assert_allclose(values.value_FN[0], my_rewards.no_fillers(completions), atol=1e-6)
for name, value in values.metrics.items():
    print(f"{name:26} {value:+.3f}")

# %% [markdown]
# What each completion earns: the outcome at its weight of 1, and each function at its own. A completion to which a
# function does not apply gets nothing from it.

# %%
right_N = np.array([1.0, 1.0, 0.0, 0.0])
parts = {"outcome": right_N} | {
    f"{weight} · {name}": weight * value_N
    for name, weight, value_N in zip(names, weights, values.value_FN, strict=True)
}
place_N, width = np.arange(4), 0.19
fig, ax = plt.subplots(figsize=(9, 3))
for i, ((name, part_N), colour) in enumerate(zip(parts.items(), (SOFT, ORANGE, BLUE, GREEN), strict=True)):
    ax.bar(place_N + (i - 1.5) * width, part_N, width * 0.92, color=colour, label=name)
for n, total in enumerate(right_N + sum_N):
    ax.text(n, 1.1, f"R = {total:.2f}", ha="center", fontweight="bold")
ax.axhline(0, color=SOFT, linewidth=0.8)
kinds = ["right, brief", "right, wordy", "wrong, near", "no answer"]
ax.set(title="reward of each completion, part by part", xticks=place_N, xticklabels=kinds, ylim=(-0.35, 1.2))
ax.tick_params(axis="x", length=0)
ax.spines["bottom"].set_visible(False)
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# ## 2. A length method
#
# A pure function from what became of a group's completions, arrays `[P, G]` (problems, completions each), to what each
# earns and what its length costs: $R = \text{reward} - \alpha \cdot \text{cost}$. This one leaves a share of the token
# limit free and charges a power of what is beyond it. `free` and `power` are settings of its own
# (`--reward.options.power=1`).

# %%
# %%writefile {FOLDER}/my_method.py
import jax.numpy as jnp

from jaxreason.rewards.length import LengthReward


def allowance(seen, *, free=0.25, power=2.0):
    """1 for a right answer; nothing for the first `free` of the limit, then a power of what is beyond it."""
    share_PG = seen.charged / seen.max_length
    beyond_PG = jnp.clip((share_PG - free) / (1 - free), 0.0, 1.0)
    return LengthReward(reward=seen.right.astype(jnp.float32), cost=beyond_PG**power)


# %% [markdown]
# Being pure, it can be compiled, mapped and differentiated here as in the trainer. Left: what a completion of each
# length costs. Middle: its slope, the price of one token more. Right: four completions of one group, the last one
# wrong, and their advantages (reward minus the group's mean) as alpha rises.

# %%
from my_method import allowance

L_MAX = 48


def completions_of(length_PG, right_PG):
    """What a length method sees, with nothing cut off and nothing left out."""
    every = jnp.ones(jnp.shape(length_PG), bool)
    return Completions(
        right=right_PG, length=jnp.asarray(length_PG, jnp.int32), length_y=length_PG, charged=length_PG,
        finished=every, keep=every, max_length=L_MAX,
    )  # fmt: skip


def cost(length, power):
    """Of one right completion; scalars in, a scalar out."""
    return allowance(completions_of(length[None, None], jnp.ones((1, 1), bool)), power=power).cost[0, 0]


length_B, power_A = jnp.linspace(0.25, L_MAX - 0.25, 96), jnp.array([1.0, 2.0, 4.0])


def for_all(f):
    return jax.jit(jax.vmap(jax.vmap(f, (0, None)), (None, 0)))(length_B, power_A)


cost_AB, slope_AB = for_all(cost), for_all(jax.grad(cost))

group_PG, right_PG = jnp.array([[12.0, 24.0, 40.0, 20.0]]), jnp.array([[True, True, True, False]])
seen = completions_of(group_PG, right_PG)
alpha_A = jnp.linspace(0.0, 1.0, 21)


def advantages(alpha):
    paid = allowance(seen)
    return advantage.group_relative(paid.reward - alpha * paid.cost, seen.keep, scale="none")[0]


advantage_AG = jax.jit(jax.vmap(advantages))(alpha_A)

# %%
fig, axes = plt.subplots(1, 3, figsize=(9, 3))
for power, cost_B, slope_B, colour, style in zip(
    power_A, cost_AB, slope_AB, (ORANGE, BLUE, GREEN), (":", "-", "--"), strict=True
):
    axes[0].plot(length_B, cost_B, style, color=colour, label=f"power {power:g}")
    axes[1].plot(length_B, slope_B, style, color=colour)
for g, (colour, style) in enumerate(zip((BLUE, GREEN, PURPLE, ORANGE), ("-", "--", "-.", ":"), strict=True)):
    kind = "right" if right_PG[0, g] else "wrong"
    axes[2].plot(alpha_A, advantage_AG[:, g], style, color=colour, label=f"{group_PG[0, g]:g} tokens, {kind}")
axes[0].set(title="cost", xlabel="tokens")
axes[1].set(title="price of one token more", xlabel="tokens")
axes[2].set(title="advantage", xlabel="alpha", ylim=(-0.85, 0.75))
axes[2].axhline(0, color="#e6e6e1", linewidth=1, zorder=0)
axes[0].legend(loc="upper left")
axes[2].legend(loc="center left", fontsize=8, bbox_to_anchor=(0, 0.36))
plt.show()

# %% [markdown]
# Three checks that are worth making of any method: it agrees with a plain loop, the order inside a group does not
# matter, and every length has a finite gradient.

# %%
by_hand = [[max(0.0, (n / L_MAX - 0.25) / 0.75) ** 2 for n in row] for row in np.asarray(group_PG)]
np.testing.assert_allclose(allowance(seen).cost, by_hand, atol=1e-6)

turned = allowance(completions_of(group_PG[:, ::-1], right_PG[:, ::-1]))
np.testing.assert_array_equal(turned.cost[:, ::-1], allowance(seen).cost)

assert np.isfinite(slope_AB).all()
print("all three hold")

# %% [markdown]
# ## 3. Train with both
#
# `configs/tiny.yaml` makes its data, tokenizer and warm-started policy first. The policy is too small to learn the task
# well, but in 40 steps it can learn what the functions ask for: no fillers, and a box that holds the last result.
# `reward.outcome_weight=0` would leave the functions alone to decide.
#
# Rewards are easily outwitted. With weights of 0.3, 0.2 and 0.1 and `--reward.options.power=1` this very run ends in
# empty completions within 15 steps: they cost nothing, and a policy that is seldom right loses little by them.

# %%
RUN = FOLDER / "run"
command = [
    *(sys.executable, "-m", "jaxreason", "train", "tiny"),
    f"--run.output_dir={RUN}",
    f"--run.max_steps={STEPS}",
    f"--reward.reward_funcs=[{','.join(doors)}]",
    f"--reward.reward_weights={list(weights)}",
    f"--reward.preset={FOLDER}/my_method.py:allowance",
    "--reward.alpha=0.3",
    "--optimizer.learning_rate=1e-3",
    *SETTINGS,
]
plain = os.environ | {"FORCE_COLOR": ""}
done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=plain)
print("\n".join(done.stdout.splitlines()[-16:]))
done.check_returncode()

# %%
run = read_runs([RUN])[0]
lines = {
    "values of the functions": [
        (f"rewards/{name}/mean", name, colour, style)
        for name, colour, style in zip(names, (ORANGE, BLUE, GREEN), ("-", "--", "-."), strict=True)
    ],
    "accuracy, and no box": [
        ("reason/accuracy", "accuracy", INK, "-"),
        ("rewards/without_a_box", "without a box", ORANGE, "--"),
    ],
    "tokens of a completion": [("reason/completions/mean_length", "", INK, "-")],
}
fig, axes = plt.subplots(1, 3, figsize=(9, 3), sharex=True)
for ax, (title, metrics) in zip(axes, lines.items(), strict=True):
    for metric, name, colour, style in metrics:
        value = curves.column(run, metric)
        ax.plot(curves.steps(run), value, ".", color=colour, alpha=0.2, markeredgewidth=0)
        ax.plot(curves.steps(run), chart.smoothed(value), style, color=colour, label=name)
    ax.set_title(title, fontsize=9.5)
    ax.set_xlabel("step")
    if len(metrics) > 1:
        ax.legend(loc="best", fontsize=8)
axes[2].set_ylim(0)
plt.show()

# %% [markdown]
# The samples of a run keep what each completion got. The last step's first four, with their values:

# %%
rows = run.samples(run.sample_steps()[-1])[:4]
for row in rows:
    given = {name: None if value is None else round(value, 2) for name, value in row["reward_funcs"].items()}
    print(f"R = {row['rewards']['reason']:+.2f}  {json.dumps(given)}")
page = markup.join(texts.samples(run, [(run.sample_steps()[-1], row) for row in rows]))
page = f'<meta charset="utf-8"><style>{STYLE} main {{ padding: 8px }}</style><main>{page}</main>'
frame = f'<iframe sandbox srcdoc="{html.escape(page)}" style="width:100%;height:560px;border:0"></iframe>'
display(HTML(f"<div>{frame}</div>"))

# %% [markdown]
# `doors.json` in the run's folder says which code made which steps, and `doors/` keeps a copy of it.
# [Your own reward](https://github.com/jaxreason/jaxreason/blob/main/docs/extending/reward.md) and
# [your own length method](https://github.com/jaxreason/jaxreason/blob/main/docs/extending/method.md) have the rest:
# conversations, columns of your own data, helpers, targets that move.
