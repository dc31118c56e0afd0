#!/usr/bin/env bash
# What training does to a released model: held-out accuracy and tokens before and after, for SCMA (guarded) and for the
# plain length penalty (lp), from the same start on the same problems.
#
#   bash benchmarks/real_run.sh MODEL PROBLEMS FOLDER [MINUTES] [--section.field=value ...]
#
# MODEL: folder of a Hugging Face checkpoint. PROBLEMS: JSONL as released, such as MAWPS. After MINUTES (default: 15) what
# runs is stopped and saved; the same command goes on. FOLDER gets cells/guarded-alpha0.5-seed0 and
# cells/lp-alpha0.5-seed0, each with results.json and report.html, and compare.html. PYTHON=... chooses the interpreter;
# `--only method=lp` among the settings a part.
set -euo pipefail
[ $# -ge 3 ] || { sed -n 's/^# \{0,1\}//p' "$0" | sed -n 4,9p >&2; exit 2; }
model=$1 problems=$2 out=$3 minutes=15
shift 3
if [[ ${1-} =~ ^[0-9]+$ ]]; then minutes=$1; shift; fi
here=$(dirname "${BASH_SOURCE[0]}")
end=$(($(date +%s) + minutes * 60))

# Runs `jaxreason ...` until the time is over, which is a stop like Ctrl-C: saved, and gone on from.
jaxreason() {
  local left=$((end - $(date +%s))) code=0
  [ "$left" -gt 0 ] || { echo "the $minutes minutes are over; the same command goes on"; exit 124; }
  timeout --signal=TERM --kill-after=120 "$left" "${PYTHON:-python}" -m jaxreason "$@" || code=$?
  [ "$code" -ne 124 ] && [ "$code" -ne 143 ] || { echo "the $minutes minutes are over; the same command goes on"; exit 124; }
  return "$code"
}

mkdir -p "$out"
if [ ! -e "$out/problems-train.jsonl" ]; then
  jaxreason data convert "$problems" --to "$out/problems.jsonl"
  jaxreason data split "$out/problems.jsonl" --test-size 256
fi
jaxreason data split "$model" --data "$out/problems-train.jsonl" --samples 4 --limit "${PROBLEMS_TO_RATE:-128}" \
  --output "$out/difficulty" --sampling.max_completion_length=256
jaxreason compare "$here/real_run_grid.yaml" --to "$out" --model.path="$model" \
  --data.train="$out/difficulty/easy.jsonl" --data.test="$out/problems-test.jsonl" "$@"
