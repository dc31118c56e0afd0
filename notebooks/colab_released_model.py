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
# # A released model, from download to model card
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/jaxreason/jaxreason/blob/main/notebooks/colab_released_model.ipynb)
#
# Qwen3-0.6B on GSM8K with one GPU: look at the machine, prepare the data, see what the model can do, keep the problems
# that it solves sometimes, train it to think in fewer tokens, read the result, and export it. Choose a GPU under
# *Runtime > Change runtime type*.
#
# **What has not been run.** This notebook is executed in the tests of the project, every cell, on a CPU with a tiny
# checkpoint of random weights; the last cell loads the weights only where torch is installed, which it is not there. It
# has not been opened on Colab, and not been run with Qwen3-0.6B or on a GPU. Memory (16 to 24 GB) and time (an hour or
# two on an L4) are estimates.

# %%
import importlib.util
import sys

if "google.colab" in sys.modules and importlib.util.find_spec("jaxreason") is None:
    from IPython import get_ipython

    get_ipython().run_line_magic("pip", "install -q 'jaxreason[cuda12] @ git+https://github.com/jaxreason/jaxreason'")

# %%
import html
import json
import os
import shlex
import shutil
import signal
import subprocess
from importlib import resources
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import transformers
from huggingface_hub import snapshot_download
from IPython.display import HTML, Markdown, display

from jaxreason import report
from jaxreason.report import chart, choice, curves, markup, tables, texts
from jaxreason.report.headline import headline
from jaxreason.report.read import read_runs

# %% [markdown]
# ## Settings
#
# Each can be set here, or as an environment variable before the notebook starts. `DATA` is a data set of the Hugging
# Face hub, or a folder with a file of training problems and one of test problems as they were released. `SETTINGS` is
# anything more, as on a command line. A T4 has no bfloat16 products (`SETTINGS = ["--model.dtype=float32"]`) and little
# memory: take a smaller model there, such as `HuggingFaceTB/SmolLM2-135M-Instruct`.

# %%
MODEL = os.environ.get("MODEL", "Qwen/Qwen3-0.6B")
DATA = os.environ.get("DATA", "openai/gsm8k")
STEPS = int(os.environ.get("STEPS", "20"))
LENGTH = int(os.environ.get("LENGTH", "512"))  # tokens of a completion, at most
PROBLEMS = int(os.environ.get("PROBLEMS", "128"))  # training problems to try
HELD_OUT = int(os.environ.get("HELD_OUT", "64"))  # test problems
FOLDER = Path(os.environ.get("FOLDER", "released_model"))
SETTINGS = shlex.split(os.environ.get("SETTINGS", ""))

# %% [markdown]
# The work is done by the commands that you would type in a terminal, as processes of their own: this notebook leaves
# the GPU to them.

# %%
ENVIRONMENT = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.9"} | os.environ | {"PYTHONUNBUFFERED": "1", "FORCE_COLOR": ""}


def jaxreason(*words, after_line=lambda: None):
    """One command, its lines as they come. Stop the cell, and the command saves what it has before it ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "jaxreason", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, env=ENVIRONMENT,
    )  # fmt: skip
    line = "\n"
    while line:
        try:
            if line := process.stdout.readline():
                print(line, end="")
                after_line()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
    if process.wait():
        sys.exit(f"jaxreason {words[0]} ended with code {process.returncode}; its last lines say why")


FOLDER.mkdir(parents=True, exist_ok=True)
jaxreason("doctor")

# %% [markdown]
# `doctor` must name a GPU under *devices*. If it says `cpu`, what is behind it says what to do; restart the runtime
# after an installation.
#
# ## Data
#
# `data convert` turns a released file into one JSON object a problem, and tries every answer against the grader.

# %%
source = Path(DATA).expanduser()
if not source.is_dir():
    source = Path(snapshot_download(DATA, repo_type="dataset", allow_patterns=["main/*"]))
for part in ("train", "test"):
    released = min(f for f in source.rglob(f"*{part}*") if f.suffix in (".parquet", ".jsonl", ".json", ".csv"))
    (FOLDER / f"{part}.jsonl").unlink(missing_ok=True)
    jaxreason("data", "convert", released, "--to", FOLDER / f"{part}.jsonl", "--source", DATA.split("/")[-1])

# %% [markdown]
# ## Before
#
# A first look at 16 test problems: is the model asked and read as it should be? The run below evaluates `HELD_OUT`
# problems, before training and after it.

# %%
model = [f"--sampling.max_completion_length={LENGTH}", "--agents.thinking=off", *SETTINGS]
sampled = ["--evaluation.temperature=0.6", "--evaluation.top_p=0.95", "--evaluation.greedy=false"]
jaxreason(
    "evaluate", MODEL, "--data", FOLDER / "test.jsonl", "--limit", min(16, HELD_OUT),
    "--output", FOLDER / "before.json", *model, *sampled,
)  # fmt: skip

# %% [markdown]
# ## Problems that are solved sometimes
#
# A group of completions teaches by its differences. A problem that is always or never solved has none in its outcome,
# so `data split` asks every problem eight times, and those in between are kept.

# %%
jaxreason(
    "data", "split", MODEL, "--data", FOLDER / "train.jsonl", "--limit", PROBLEMS, "--samples", 8,
    "--output", FOLDER / "split", *model, *sampled,
)  # fmt: skip

rated = [json.loads(line) for line in (FOLDER / "split" / "rated.jsonl").read_text(encoding="utf-8").splitlines()]
rate_P = np.array([problem["meta"]["pass_rate"] for problem in rated])
between_P = (rate_P > 0) & (rate_P < 1)
enough = between_P.sum() >= 8
kept = [problem for problem, between in zip(rated, between_P, strict=True) if between or not enough]
(FOLDER / "kept.jsonl").write_text("".join(json.dumps(problem) + "\n" for problem in kept), encoding="utf-8")
print(f"\n{between_P.sum()} of {len(rated)} problems are solved sometimes" + (
    "" if enough else "; too few to train on, so all of them are kept. Expect little: raise PROBLEMS or LENGTH"
))  # fmt: skip

# %%
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
count_R = np.bincount(np.round(8 * rate_P).astype(int), minlength=9)
fig, ax = plt.subplots(figsize=(6, 2.4))
ax.bar(range(9), count_R, 0.8, color=["#d5d5cf", *[BLUE] * 7, "#d5d5cf"])
for n, count in enumerate(count_R):
    ax.text(n, count, count or "", ha="center", va="bottom")
ax.set(title="problems by right answers of eight; blue: sometimes", xticks=range(9), yticks=[])
ax.spines["left"].set_visible(False)
plt.show()

# %% [markdown]
# ## Train
#
# `configs/colab_qwen3_0.6b.yaml`: one policy reasons, cuts its answers into chunks and scores them; tokens that are
# scored needless cost reward (SCMA). Its preset `guarded` keeps the scorer honest; `--reward.preset=scma` is the
# paper's own. The first step compiles, which takes minutes. Below, a line for each step and the curves as they grow;
# orange triangles are the monitor's alarms. Stop the cell whenever you like: run it again, and it goes on.

# %%
RUN = FOLDER / "run"
LINES = {
    "accuracy": (("reason/accuracy", "", BLUE, "-"),),
    "tokens of an answer": (
        ("reason/completions/mean_length", "all", BLUE, "-"),
        ("reason/completions/mean_length_right", "right", INK, "--"),
    ),
    "mean score of a chunk": (("score/mean", "live", BLUE, "-"), ("score/frozen_mean", "frozen", SOFT, "--")),
    "share of tokens penalised": (("reason/penalised_share", "", BLUE, "-"),),
}


def figure(run):
    """The curves of a run as far as it is."""
    fig, axes = plt.subplots(1, 4, figsize=(11, 2.5))
    for ax, (title, metrics) in zip(axes, LINES.items(), strict=True):
        for metric, name, colour, style in metrics:
            value = curves.column(run, metric)
            if np.isfinite(value).any():
                ax.plot(curves.steps(run), value, ".", color=colour, alpha=0.3, markeredgewidth=0)
                ax.plot(curves.steps(run), chart.smoothed(value), style, color=colour, label=name)
        ax.set(title=title, xlabel="step", xlim=(0.5, max(STEPS, 2) + 0.5))
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set_ylim((1, 5) if "score" in title else (0, None if "tokens of" in title else 1.02))
        for step, _ in curves.warnings(run):
            ax.plot(step, ax.get_ylim()[0], "v", color=ORANGE, clip_on=False, zorder=3)
        if any(name for _, name, _, _ in metrics) and ax.get_legend_handles_labels()[0]:
            ax.legend(loc="best", fontsize=8)
    plt.close(fig)
    return fig


place, drawn = display(Markdown("*the curves come with the first step*"), display_id=True), 0


def redraw():
    """Draw again when a step has come to the run's folder."""
    global drawn
    if (RUN / "metrics.jsonl").is_file():
        run = read_runs([RUN])[0]
        if run.steps > drawn:
            drawn = run.steps
            place.update(figure(run))


jaxreason(
    "train", "colab_qwen3_0.6b", f"--model.path={MODEL}", f"--run.output_dir={RUN}", f"--run.max_steps={STEPS}",
    f"--data.train={FOLDER / 'kept.jsonl'}", f"--data.test={FOLDER / 'test.jsonl'}", "--data.task=math",
    f"--data.test_size={HELD_OUT}", *model, *sampled, after_line=redraw,
)  # fmt: skip

# %% [markdown]
# ## Alarms
#
# Signs read off collapses that were published, and of helpers that earn their reward without doing their work.

# %%
run = read_runs([RUN])[0]
for step, text in curves.warnings(run):
    print(f"step {step}: {text}")
if not curves.warnings(run):
    print("none")

# %% [markdown]
# ## What came out
#
# A few steps on a few problems: read the intervals before the means.


# %%
def show(page, height):
    """A page in a frame of its own, so that neither its style nor a model's text reaches this one."""
    frame = f'<iframe sandbox srcdoc="{html.escape(page)}" style="width:100%;height:{height}px;border:0"></iframe>'
    display(HTML(f"<div>{frame}</div>"))


def show_parts(*parts, height):
    """Parts of the report in its style."""
    style = (resources.files(report) / "style.css").read_text(encoding="utf-8") + " main { padding: 8px }"
    show(f'<meta charset="utf-8"><style>{style}</style><main>{markup.join(*parts)}</main>', height)


show_parts(headline(run), *tables.before_after(run), height=1000)

# %% [markdown]
# ## Chunks and scores
#
# Completions of training. The colour is the importance that the scorer gave: orange is needless, blue is essential.

# %%
samples = choice.samples(run, 6)
show_parts(texts.score_legend(), texts.samples(run, samples) if samples else "No samples were kept.", height=700)

# %% [markdown]
# ## The whole report
#
# `report.html` in the run's folder: one file, without a network. In a browser of its own its filters work too.

# %%
show((RUN / "report.html").read_text(encoding="utf-8"), height=900)

# %% [markdown]
# ## Export
#
# A checkpoint for transformers and vLLM, with a model card that holds the figures of this run and says what is unknown.

# %%
EXPORTED = FOLDER / "model"
shutil.rmtree(EXPORTED, ignore_errors=True)
jaxreason("export", RUN, "--to", EXPORTED)
card = (EXPORTED / "README.md").read_text(encoding="utf-8")
display(Markdown(card.split("---\n", 2)[2]))

# %% [markdown]
# ## Load it with transformers

# %%
tokenizer = transformers.AutoTokenizer.from_pretrained(EXPORTED)
question = json.loads((FOLDER / "test.jsonl").read_text(encoding="utf-8").splitlines()[0])["question"]
asked = f"{question}\n\nPlease reason step by step, and put your final answer within \\boxed{{}}."
prompt = tokenizer.apply_chat_template(
    [{"role": "user", "content": asked}], add_generation_prompt=True, enable_thinking=False, tokenize=False
)
print(prompt)
if importlib.util.find_spec("torch"):
    policy = transformers.AutoModelForCausalLM.from_pretrained(EXPORTED, dtype="auto")
    ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
    answer = policy.generate(**ids, max_new_tokens=min(LENGTH, 256), do_sample=False)
    print(tokenizer.decode(answer[0, ids["input_ids"].shape[1] :], skip_special_tokens=True))
else:
    print("The weights were not loaded here: that needs torch (pip install torch).")

# %% [markdown]
# A runtime that ends takes its files with it. Keep what you want: `FOLDER / "run"` goes on where it stopped, and
# `hf upload YOU/NAME released_model/model` puts the exported policy on the hub, once you have read its card.
#
# Next: more steps (`configs/colab_qwen3_0.6b.yaml` has 100), [your own reward](own_reward.ipynb), or
# [larger models](https://github.com/jaxreason/jaxreason/blob/main/docs/models.md).
