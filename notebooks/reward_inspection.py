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
# # What the reward pays, and to whom
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/jaxreason/jaxreason/blob/main/notebooks/reward_inspection.ipynb)
#
# A chain of thought is split into chunks $s_i$, each chunk gets an importance $w_i$ from 1 to 5, and the answer earns
#
# $$R = R_\text{acc} - \alpha\, f\Big(\sum_i \varphi(w_i)\,|s_i|\Big)$$
#
# Important chunks are free, needless ones cost their length ([arXiv:2601.21919](https://arxiv.org/abs/2601.21919)).
# This notebook calls the jitted functions that the trainer calls, on twelve answers written by hand. It needs no GPU,
# no model and no data. Change a number and run it again.

# %%
import importlib.util
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("jaxreason") is None:
    from IPython import get_ipython

    get_ipython().run_line_magic("pip", "install -q 'jaxreason @ git+https://github.com/jaxreason/jaxreason'")

# %%
import dataclasses
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from jaxreason.config import ROLES, GRPOConfig, RewardConfig
from jaxreason.grpo import advantage
from jaxreason.grpo import signal as step_signal
from jaxreason.rewards import importance
from jaxreason.rewards.methods import METHODS
from jaxreason.rewards.outcome import Outcome
from jaxreason.types import Chunks, Scores

INK, SOFT, BLUE, ORANGE, GREEN, PURPLE = "#1c1f24", "#676d76", "#1a62b0", "#c2570c", "#00856a", "#a3488f"
SCORE_COLOUR = dict(zip((1, 2, 3, 4, 5), ("#eda35f", "#f6d3ae", "#e6e6e1", "#b9d3ee", "#6ea5dc"), strict=True))
SIGNED = LinearSegmentedColormap.from_list("signed", [ORANGE, "#f6d3ae", "#f3f3ef", "#b9d3ee", BLUE])
plt.rcParams.update(
    {
        "figure.facecolor": "#fdfdfb", "axes.facecolor": "#fdfdfb", "savefig.facecolor": "#fdfdfb",
        "figure.dpi": 68, "savefig.bbox": "tight", "savefig.pad_inches": 0.2, "figure.constrained_layout.use": True,
        "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": SOFT, "axes.labelcolor": SOFT,
        "xtick.color": SOFT, "ytick.color": SOFT, "text.color": INK, "axes.titlecolor": INK, "font.size": 9.5,
        "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.titlelocation": "left", "lines.linewidth": 2,
        "legend.frameon": False,
    }
)  # fmt: skip

# %% [markdown]
# ## 1. Twelve answers
#
# Three problems, four answers each. `(5, "...")` is a chunk and its score; `True` is a right answer.
# A token is a word here. In training, chunks come from the *segment* role and scores from the *score* role.

# %%
PENCILS = "A box holds 12 pencils. Tom buys 3 boxes and gives away 8. How many has he?"
TRAIN = "A train leaves at 9:40 and rides for 95 minutes. When does it arrive?"
TIMES = "What is 7 times 8?"
answers = {
    PENCILS: [
        (True, [(5, "3 boxes hold 3 * 12 = 36 pencils."), (5, "36 - 8 = 28.")]),
        (True, [(2, "Let me read the question once more."), (5, "3 boxes hold 3 * 12 = 36 pencils."),
                (4, "Tom gives away 8 of them."), (5, "36 - 8 = 28.")]),
        (True, [(1, "Okay, pencils. Hmm, let me think."), (5, "3 * 12 = 36."), (5, "36 - 8 = 28."),
                (2, "Check: 28 + 8 = 36, so that is right.")]),
        (True, [(1, "Hmm, boxes and pencils, let me think about this slowly."),
                (2, "What if a box held 10? Then 30, but it does not."), (5, "So 3 * 12 = 36."), (5, "36 - 8 = 28."),
                (1, "So it should be 28, I am fairly sure about that.")]),
    ],
    TRAIN: [
        (True, [(5, "95 minutes are 1 hour 35."), (5, "9:40 + 1 hour = 10:40."), (5, "10:40 + 35 minutes = 11:15.")]),
        (True, [(1, "Trains are often late, but let us assume that this one is not."), (5, "95 minutes are 1 hour 35."),
                (5, "10:40 + 35 minutes = 11:15."), (3, "Check: 20 + 60 + 15 = 95 minutes from 9:40 to 11:15.")]),
        (False, [(3, "9:40 plus 95 is about 10:35.")]),
        (False, [(1, "Hmm, questions about clocks are tricky, wait."), (4, "95 minutes are nearly 2 hours."),
                 (2, "9:40 + 2 hours = 11:40, or maybe a bit less, so take 11:30."), (1, "Yes, that sounds right.")]),
    ],
    TIMES: [(True, [(5, "7 * 8 = 56.")])] * 4,
}  # fmt: skip
L_MAX = 64  # the reasoner's token limit
AFTER_Y = 2  # tokens after the reasoning text: the answer and the end

# %% [markdown]
# The trainer's functions see arrays only: `[P, G]` problems and rollouts, `[P, G, K]` chunks, `[P, G, T]` tokens. The
# answer itself belongs to no chunk (its chunk id is K) and is never charged.

# %%
groups = list(answers.values())
P, G, K = len(groups), 4, max(len(chunks) for group in groups for _, chunks in group)
correct_PG = np.array([[right for right, _ in group] for group in groups])
score_PGK, length_PGK, letters_PGK = (np.zeros((P, G, K), np.int32) for _ in range(3))
for p, group in enumerate(groups):
    for g, (_, chunks) in enumerate(group):
        for k, (w, text) in enumerate(chunks):
            score_PGK[p, g, k], length_PGK[p, g, k], letters_PGK[p, g, k] = w, len(text.split()), len(text)
length_y_PG = length_PGK.sum(-1)
chunk_id_PGT = np.full((P, G, L_MAX), K, np.int32)
for p, g in np.ndindex(P, G):
    chunk_id_PGT[p, g, : length_y_PG[p, g]] = np.repeat(np.arange(K), length_PGK[p, g])

every = jnp.ones((P, G), bool)
num_chunks_PG = (length_PGK > 0).sum(-1)
seen = Outcome(
    correct=jnp.asarray(correct_PG),
    gradable=every,
    length_y=jnp.asarray(length_y_PG),
    length={
        "reason": jnp.asarray(length_y_PG + AFTER_Y),
        "segment": jnp.asarray(length_y_PG + 2 * num_chunks_PG),
        "score": jnp.asarray(2 * num_chunks_PG + 1),
    },
    finished=dict.fromkeys(ROLES, every),
    chunks=Chunks(
        chunk_id=jnp.asarray(chunk_id_PGT),
        length=jnp.asarray(length_PGK),
        characters=jnp.asarray(letters_PGK),
        mask=jnp.asarray(length_PGK > 0),
        valid=every,
    ),
    scores=Scores(value=jnp.asarray(score_PGK), valid=every),
    frozen_value=jnp.asarray(score_PGK, jnp.float32),  # the scorer of the start, which agrees for now
    widths=tuple((role, L_MAX) for role in ROLES),
)
signal = functools.partial(
    step_signal.signal,
    ratio=importance.initial_ratio(),
    key=jax.random.key(0),
    max_length=L_MAX,
)

# %%
fig, axes = plt.subplots(P, 1, figsize=(9, 5.4), height_ratios=(4, 4, 4), sharex=True)
for p, (ax, question) in enumerate(zip(axes, answers, strict=True)):
    for g in range(G):
        left = 0
        for n, w in zip(length_PGK[p, g], score_PGK[p, g], strict=True):
            if n:
                ax.barh(g, n, left=left, color=SCORE_COLOUR[int(w)], edgecolor="#fdfdfb", linewidth=1.5)
                ax.text(left + n / 2, g, int(w), ha="center", va="center")
                left += n
        ax.text(left + 0.5, g, "right" if correct_PG[p, g] else "wrong", va="center",
                color=BLUE if correct_PG[p, g] else ORANGE)  # fmt: skip
    ax.set(title=question, yticks=range(G), yticklabels=[f"answer {g + 1}" for g in range(G)], xlim=(0, 48))
    ax.invert_yaxis()
    ax.tick_params(left=False)
    ax.spines[["left"]].set_visible(False)
axes[-1].set_xlabel("tokens; the number is the chunk's importance, 1 needless (orange) to 5 essential (blue)")
plt.show()

# %% [markdown]
# ## 2. The reward by hand and by the function
#
# Play with `alpha` and `phi` here; everything below uses them. `phi` must not rise with importance. `scma` is the
# paper's preset: every role is paid the same reward.

# %%
alpha = 0.5
phi = (1.0, 0.75, 0.5, 0.25, 0.0)
config = RewardConfig(preset="scma", alpha=alpha, phi=phi)
grpo = GRPOConfig(scale_rewards="none")

rewards, advantages, _ = signal(seen, jnp.float32(alpha), reward=config, grpo=grpo, method=METHODS["scma"])

print("                 right   |y|  sum phi|s|       f    by hand   by the trainer")
for p, g in np.ndindex(P, G):
    weighted = sum(phi[w - 1] * n for w, n in zip(score_PGK[p, g], length_PGK[p, g], strict=True) if w)
    f = min(1.0, weighted / L_MAX)
    by_hand = float(correct_PG[p, g]) - alpha * f
    by_trainer = float(rewards.total["reason"][p, g])
    print(
        f"problem {p + 1}, no. {g + 1} {correct_PG[p, g]!s:>6} {length_y_PG[p, g]:5d} {weighted:11.2f} {f:7.3f}"
        f"   {by_hand:8.4f} {by_trainer:16.4f}"
    )
    np.testing.assert_allclose(by_trainer, by_hand, atol=1e-6)

# %%
tables = {"the configuration's": phi, "only 5 is free": (1.0, 1.0, 1.0, 1.0, 0.0), "blind (GRPO+LP)": (1.0,) * 5}
fig, (ax, right) = plt.subplots(1, 2, figsize=(9, 3), width_ratios=(1, 1.6))
for (name, table), colour, style in zip(tables.items(), (BLUE, GREEN, ORANGE), ("-o", "--s", ":^"), strict=True):
    ax.plot(range(1, 6), table, style, color=colour, label=name)
    charged, _, _ = signal(
        seen, jnp.float32(alpha), reward=dataclasses.replace(config, phi=table), grpo=grpo, method=METHODS["scma"]
    )
    right.plot(charged.parts["weighted_length"].ravel(), style[-1], color=colour, label=name)
ax.set(title="phi", xlabel="importance", xticks=range(1, 6), ylim=(-0.05, 1.1))
ax.legend(loc="lower left")
right.set(title="tokens charged: sum phi(w) |s|", xticks=range(P * G), xticklabels=[1, 2, 3, 4] * P)
right.set(xlabel="answer", ylim=(-2, 51))
for p in range(P):
    right.text(4 * p + 1.5, 47, f"problem {p + 1}", ha="center", color=SOFT)
    if p:
        right.axvline(4 * p - 0.5, color="#e6e6e1", linewidth=1)
plt.show()

# %% [markdown]
# ## 3. What each preset pays
#
# One table, `jaxreason/rewards/methods.py`, says which term reaches which role. Below: the reward of each answer to the
# train problem (two right, then two wrong). Grey: the role is not trained. `contribution` is left out: it pays for what
# a policy says of each chunk, and here is none. So are most length rewards of the literature: `jaxreason methods`.

# %%
names = {"outcome": "outcome", "penalty": "length", "format": "form", "agreement": "agreement"}
presets = ("scma", "guarded", "frozen", "shuffled", "oracle", "lp")
presets += ("truncation", "kimi", "laser", "laser_d", "dapo_overlong", "grpo")
methods = {preset: METHODS[preset] for preset in presets}
for preset, spec in methods.items():
    paid = {
        role: " + ".join(names[term] for term, weight in dataclasses.asdict(terms).items() if weight)
        for role, terms in spec.terms.items()
    }
    print(f"{preset:11}", "   ".join(f"{role}: {what}" for role, what in paid.items()))

# %%
p = 1
shown = ("reason", "segment", "score")
table = np.full((len(shown), len(methods), G), np.nan)
for i, (preset, spec) in enumerate(methods.items()):
    # 24 tokens are what `truncation` allows here.
    by_preset = dataclasses.replace(config, preset=preset, target_length=24)
    paid, _, _ = signal(seen, jnp.float32(alpha), reward=by_preset, grpo=grpo, method=spec)
    for role, total_PG in paid.total.items():
        table[shown.index(role), i] = total_PG[p]

fig, axes = plt.subplots(1, 3, figsize=(9, 3.2), sharey=True)
for ax, role, cells in zip(axes, shown, table, strict=True):
    ax.imshow(cells, cmap=SIGNED, vmin=-1.2, vmax=1.2, aspect="auto")
    ax.set_facecolor("#e6e6e1")
    for (i, g), value in np.ndenumerate(cells):
        if not np.isnan(value):
            ax.text(g, i, f"{value:.2f}", ha="center", va="center", color="white" if abs(value) > 0.75 else INK)
    ax.set(title=role, xticks=range(G), xticklabels=["right", "right", "wrong", "wrong"])
    ax.set(yticks=range(len(methods)), yticklabels=methods)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
plt.show()

# %% [markdown]
# `guarded` keeps outcome and length away from the helpers: they earn 0 at best, for valid form and for agreeing with
# the scorer as it was at the start. `shuffled` permutes the scores inside each answer: a control.
#
# ## 4. When alpha does nothing
#
# The advantage is the reward minus the mean of its group. With `scale_rewards="group"` it is also divided by the
# group's standard deviation. Where all answers are right, $R = 1 - \alpha f$, and the division cancels $\alpha$: the
# smallest price pulls as hard as the largest. With `"none"` the price keeps its size.

# %%
alphas = jnp.linspace(0.02, 1.0, 50)
fig, axes = plt.subplots(2, 2, figsize=(9, 5), sharex=True)
for column, scale in enumerate(("group", "none")):
    scaled = dataclasses.replace(grpo, scale_rewards=scale)
    by_alpha = functools.partial(signal, seen, reward=config, grpo=scaled, method=METHODS["scma"])
    token_APGT = jax.vmap(lambda a, f=by_alpha: f(a)[1].token["reason"])(alphas)
    for row, (p, kind) in enumerate([(0, "all right"), (1, "two right, two wrong")]):
        ax = axes[row, column]
        ax.axhline(0, color="#e6e6e1", linewidth=1)
        for g, (colour, style) in enumerate(zip((BLUE, GREEN, PURPLE, ORANGE), ("-", "--", "-.", ":"), strict=True)):
            ax.plot(alphas, token_APGT[:, p, g, 0], style, color=colour, label=f"answer {g + 1}")
        ax.set(title=f'{kind}, scale_rewards="{scale}"', ylim=(-2, 2) if column == 0 else (-0.8, 0.8))
    if scale == "group":
        np.testing.assert_allclose(token_APGT[0, 0], token_APGT[-1, 0], atol=1e-3)
axes[0, 0].set_ylabel("advantage")
axes[1, 0].set_ylabel("advantage")
axes[1, 0].set_xlabel("alpha")
axes[1, 1].set_xlabel("alpha")
axes[0, 1].legend(ncols=2, loc="upper left")
plt.show()

# %% [markdown]
# ## 5. Groups without a signal
#
# All four answers to the third problem are the same and right, so nothing can be learnt from them: their advantage is
# exactly 0, not nearly 0. The naive formula is not safe: the mean of eight float32 rewards of 10.1 need not be 10.1,
# and dividing that last digit by its own size makes an advantage of it.

# %%
assert not np.any(np.asarray(advantages.token["reason"][2]))
print("third problem, every token:", np.unique(advantages.token["reason"][2]))

same = jnp.full((1, 8), 10.1, jnp.float32)
naive = (same - same.mean()) / jnp.sqrt(jnp.mean((same - same.mean()) ** 2))
print("eight times 10.1, naive:   ", np.round(naive[0], 2))
print("eight times 10.1, trainer: ", advantage.group_relative(same, jnp.ones((1, 8), bool), scale="group")[0])

# %% [markdown]
# ## 6. The hole in the shared reward
#
# Nothing in the shared reward opposes a scorer that calls everything important: the penalty falls for everybody, and
# everybody's reward rises, the scorer's own included. Below, more and more chunks are raised to 5 (the lowest first).
# Under `guarded` the scorer loses by it, since the scorer of the start reads the same text as before. The reasoner
# would still gain, but it does not write the scores.

# %%
order = np.argsort(np.where(score_PGK > 0, score_PGK, 9), axis=None, kind="stable")[: (score_PGK > 0).sum()]
raised = np.arange(len(order) + 1)
paid = {name: [] for name in ("scma", "guarded", "scma, centred_phi")}
for count in raised:
    inflated = score_PGK.copy()
    inflated.ravel()[order[:count]] = 5
    other = dataclasses.replace(seen, scores=Scores(value=jnp.asarray(inflated), valid=every))
    for name in paid:
        preset = name.split(",")[0]
        as_set = dataclasses.replace(config, preset=preset, centred_phi="centred" in name)
        total = signal(other, jnp.float32(alpha), reward=as_set, grpo=grpo, method=METHODS[preset])[0].total
        paid[name].append([float(total[role].mean()) for role in ("reason", "score")])

fig, axes = plt.subplots(1, 3, figsize=(9, 2.9), sharex=True, sharey=True)
for ax, (name, values) in zip(axes, paid.items(), strict=True):
    change = np.array(values) - values[0]
    ax.axhline(0, color="#e6e6e1", linewidth=1)
    ax.plot(raised / len(order), change[:, 0], "-", color=BLUE, label="reasoner")
    ax.plot(raised / len(order), change[:, 1], "--", color=ORANGE, label="scorer")
    ax.set(title=name, xlabel="share of chunks raised to 5")
axes[0].set_ylabel("change of the mean reward")
axes[0].legend(loc="lower left")
plt.show()
print("scorer's reward with every chunk at 5:", {name: round(values[-1][1], 3) for name, values in paid.items()})

# %% [markdown]
# With `centred_phi` the mean phi of each answer is taken away first, so calling everything important gains nothing: all
# chunks then weigh one half, whatever their common score.
#
# What GRPO learns from is the comparison inside a group. Let only the fourth answer's scorer call everything important:

# %%
inflated = score_PGK.copy()
inflated[0, 3] = np.where(inflated[0, 3] > 0, 5, 0)
other = dataclasses.replace(seen, scores=Scores(value=jnp.asarray(inflated), valid=every))
for preset in ("scma", "guarded"):
    as_set = dataclasses.replace(config, preset=preset)
    for name, case in (("honest", seen), ("inflated", other)):
        found = signal(case, jnp.float32(alpha), reward=as_set, grpo=grpo, method=METHODS[preset])[1].token["score"]
        shown = np.asarray(found[0, :, 0], float).round(3) + 0.0
        print(f"{preset:8} {name:9} scorer's advantages, first problem: {shown}")

# %% [markdown]
# ## 7. Credit for a chain, or for a chunk
#
# With `grpo.credit="sequence"` (the papers) all tokens of a chain share one advantage: a good step is blamed for the
# rambling next to it. With `"chunk"` the length term goes to the chunk that caused it, and to the decision to stop.
# The last two tokens of a row are the answer and the end.

# %%
fig, axes = plt.subplots(2, 2, figsize=(9, 4), sharex=True, sharey=True)
guarded = dataclasses.replace(config, preset="guarded")
for column, credit in enumerate(("sequence", "chunk")):
    credited = dataclasses.replace(grpo, credit=credit)
    found = signal(seen, jnp.float32(alpha), reward=guarded, grpo=credited, method=METHODS["guarded"])[1]
    for row, (p, kind) in enumerate([(0, "all right"), (1, "two right, two wrong")]):
        ax = axes[row, column]
        value_GT = np.asarray(found.token["reason"])[p]
        inside_GT = np.arange(L_MAX) < (length_y_PG[p] + AFTER_Y)[:, None]
        reach = 0.15 if row == 0 else 0.6
        image = ax.imshow(
            np.where(inside_GT, value_GT, np.nan), cmap=SIGNED, vmin=-reach, vmax=reach, aspect="auto",
            interpolation="nearest",
        )  # fmt: skip
        for g in range(G):
            ends = np.cumsum(length_PGK[p, g][length_PGK[p, g] > 0])
            ax.vlines(ends - 0.5, g - 0.5, g + 0.5, color="#fdfdfb", linewidth=2)
        ax.hlines(np.arange(G - 1) + 0.5, -0.5, L_MAX, color="#fdfdfb", linewidth=4)
        ax.set(title=f'{kind}, credit="{credit}"', yticks=range(G), xlim=(-0.5, 46))
        ax.set_yticklabels([f"answer {g + 1}" for g in range(G)])
        ax.tick_params(left=False)
        ax.spines[["left"]].set_visible(False)
        if column:
            fig.colorbar(image, ax=axes[row], shrink=0.9, label="advantage", pad=0.01).outline.set_visible(False)
axes[1, 0].set_xlabel("token")
axes[1, 1].set_xlabel("token")
plt.show()

# %% [markdown]
# Credit is moved, none is made. Over its chunks and its end, an answer's length advantages add up to what the sequence
# gets (`advantage.chunk_credit` has the derivation, and its bias).
#
# ## 8. When a price makes being wrong pay
#
# `reward.gate` says whose length counts, and against whose. With `"none"` a short wrong answer is better than a long
# wrong one. With `"correct"` wrong answers pay nothing, and so gain whatever the right ones pay on average: at a price
# of 1 / (mean f) both kinds are worth the same, and above it the update makes wrong answers likelier. With
# `"among_correct"` the lengths of right answers are compared with each other only, so over the right answers they sum
# to nothing, whatever the price. Below: the train problem, the mean over its two right and its two wrong answers.

# %%
prices = jnp.linspace(0.0, 12.0, 49)
fig, axes = plt.subplots(1, 3, figsize=(9, 2.9), sharex=True, sharey=True)
for ax, gate in zip(axes, ("none", "correct", "among_correct"), strict=True):
    gated = dataclasses.replace(config, preset="lp", gate=gate)
    by_price = functools.partial(signal, seen, reward=gated, grpo=grpo, method=METHODS["lp"])
    first_AG = np.asarray(jax.vmap(lambda a, f=by_price: f(a)[1].token["reason"][1, :, 0])(prices))
    ax.axhline(0, color="#e6e6e1", linewidth=1)
    for kind, right, colour, style in (("right", True, BLUE, "-"), ("wrong", False, ORANGE, "--")):
        ax.plot(prices, first_AG[:, correct_PG[1] == right].mean(1), style, color=colour, label=kind)
    ax.set(title=f'gate="{gate}"', xlabel="alpha")
    if gate == "among_correct":
        np.testing.assert_allclose(first_AG[:, correct_PG[1]].mean(1), 0.5, atol=1e-5)
axes[0].set_ylabel("mean advantage")
axes[0].legend(loc="lower left")
plt.show()

# %% [markdown]
# ## 9. Sensitivities
#
# What would one different score have changed? Each chunk of the wordiest pencil answer is given every score in turn.

# %%
p, g = 0, 3
chunks = answers[PENCILS][g][1]
cases = np.tile(score_PGK, (len(chunks), 5, 1, 1, 1))
for k, w in np.ndindex(len(chunks), 5):
    cases[k, w, p, g, k] = w + 1
by_scores = functools.partial(signal, reward=config, grpo=grpo, method=METHODS["scma"])
reward_KW = jax.vmap(
    lambda value: by_scores(
        dataclasses.replace(seen, scores=Scores(value=value, valid=every)), jnp.float32(alpha)
    )[0].total["reason"][p, g]
)(jnp.asarray(cases).reshape(-1, P, G, K)).reshape(len(chunks), 5)  # fmt: skip
change_KW = np.asarray(reward_KW) - float(rewards.total["reason"][p, g])

fig, ax = plt.subplots(figsize=(9, 2.6))
reach = np.abs(change_KW).max()
ax.imshow(change_KW, cmap=SIGNED, vmin=-reach, vmax=reach, aspect="auto")
for (k, w), value in np.ndenumerate(change_KW):
    mine = chunks[k][0] == w + 1
    ax.text(w, k, "as it is" if mine else f"{value:+.3f}", ha="center", va="center",
            color="white" if abs(value) > 0.75 * reach else INK, fontweight="bold" if mine else None)  # fmt: skip
ax.set(title="change of R if this chunk had been scored ...", xticks=range(5), xticklabels=range(1, 6))
ax.set(yticks=range(len(chunks)), yticklabels=[f"{text}  ({len(text.split())})" for _, text in chunks])
ax.tick_params(length=0)
ax.spines[:].set_visible(False)
plt.show()

# %% [markdown]
# The same for the numbers of the configuration, by automatic differentiation: $\partial R/\partial\alpha = -f$, and
# $\partial R/\partial\varphi(w)$ is $-\alpha/L_\text{max}$ times the tokens that were scored $w$. (An answer that is
# charged nothing stands on the floor $\max(0, \cdot)$, where JAX gives half of that: answer 1.)

# %%
slope_PG = jax.jacfwd(lambda a: by_scores(seen, a)[0].total["reason"])(jnp.float32(alpha))
np.testing.assert_allclose(slope_PG, -rewards.parts["penalty"], atol=1e-6)

lengths = jnp.asarray(length_PGK, jnp.float32)
slope_PGW = jax.jacrev(
    lambda table: -alpha
    * jnp.minimum(1, importance.weighted_length(lengths, importance.phi_of(seen.scores.value, table)) / L_MAX)
)(list(phi))  # fmt: skip
charged_PG = np.asarray(rewards.parts["weighted_length"]) > 0
print("dR/d alpha,   first problem:", np.asarray(slope_PG[0], float).round(3) + 0.0)
for w, slope in enumerate(slope_PGW, 1):
    tokens_PG = np.where(score_PGK == w, length_PGK, 0).sum(-1)
    np.testing.assert_allclose(slope[charged_PG], -alpha * tokens_PG[charged_PG] / L_MAX, atol=1e-6)
    print(f"dR/d phi({w}),  first problem:", np.asarray(slope[0], float).round(3) + 0.0)

# %% [markdown]
# Next: `notebooks/run_tour.ipynb` opens the folder of a finished run.
