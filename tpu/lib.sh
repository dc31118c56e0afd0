# shellcheck shell=bash
# What the scripts of this folder share: settings, slice types, gcloud calls, and what is asked of the workers.
# Sourced, never run.

set -euo pipefail

TPU_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname "$TPU_DIR")
ME=${0##*/}
DRY_RUN=
ENV_FILE=${JAXREASON_TPU_ENV:-$TPU_DIR/env}
POLL_SECONDS=${POLL_SECONDS:-30}    # between two looks at the slice
SSH_TRIES=${SSH_TRIES:-5}           # a fresh slice refuses connections for a minute or two
SSH_WAIT_SECONDS=${SSH_WAIT_SECONDS:-20}
STATE=jaxreason-state               # on a worker, in its home: pid, exit, name, commit, log of the last launch

exec 3>&1                           # what a dry run prints, also from inside $(...)

# accelerator type | chips | workers (VMs) | GB of HBM a chip | topology | runtime version
slices() {
  cat <<'TABLE'
v5litepod-1 1 1 16 v5e:1x1 v2-alpha-tpuv5-lite
v5litepod-4 4 1 16 v5e:2x2 v2-alpha-tpuv5-lite
v5litepod-8 8 1 16 v5e:2x4 v2-alpha-tpuv5-lite
v5litepod-16 16 4 16 v5e:4x4 v2-alpha-tpuv5-lite
v5litepod-32 32 8 16 v5e:4x8 v2-alpha-tpuv5-lite
v5litepod-64 64 16 16 v5e:8x8 v2-alpha-tpuv5-lite
v5litepod-128 128 32 16 v5e:8x16 v2-alpha-tpuv5-lite
v5litepod-256 256 64 16 v5e:16x16 v2-alpha-tpuv5-lite
v6e-1 1 1 32 v6e:1x1 v2-alpha-tpuv6e
v6e-4 4 1 32 v6e:2x2 v2-alpha-tpuv6e
v6e-8 8 1 32 v6e:2x4 v2-alpha-tpuv6e
v6e-16 16 4 32 v6e:4x4 v2-alpha-tpuv6e
v6e-32 32 8 32 v6e:4x8 v2-alpha-tpuv6e
v6e-64 64 16 32 v6e:8x8 v2-alpha-tpuv6e
v6e-128 128 32 32 v6e:8x16 v2-alpha-tpuv6e
v6e-256 256 64 32 v6e:16x16 v2-alpha-tpuv6e
v5p-8 4 1 95 v5p:2x2x1 v2-alpha-tpuv5
v5p-16 8 2 95 v5p:2x2x2 v2-alpha-tpuv5
v5p-32 16 4 95 v5p:2x2x4 v2-alpha-tpuv5
v5p-64 32 8 95 v5p:2x4x4 v2-alpha-tpuv5
v5p-128 64 16 95 v5p:4x4x4 v2-alpha-tpuv5
v4-8 4 1 32 v4:2x2x1 tpu-ubuntu2204-base
v4-16 8 2 32 v4:2x2x2 tpu-ubuntu2204-base
v4-32 16 4 32 v4:2x2x4 tpu-ubuntu2204-base
v4-64 32 8 32 v4:2x4x4 tpu-ubuntu2204-base
v4-128 64 16 32 v4:4x4x4 tpu-ubuntu2204-base
TABLE
}

say() { printf '%s: %s\n' "$ME" "$*" >&2; }

# die MESSAGE [EXIT_CODE]: 2 a mistake to mend, 1 something failed, 4 not finished in time
die() {
  printf '%s: error: %s\n' "$ME" "$1" >&2
  exit "${2:-2}"
}

# Print the header comment of the script: its help.
usage() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"; }

# The flags every script has. Sets TAKEN to the number of words used, 0 for none of these.
common_flag() {
  TAKEN=1
  case $1 in
    -h | --help) usage; exit 0 ;;
    --dry-run) DRY_RUN=1 ;;
    --env) [ $# -ge 2 ] || die "--env: expected a file"; ENV_FILE=$2; TAKEN=2 ;;
    --env=*) ENV_FILE=${1#--env=} ;;
    *) TAKEN=0 ;;
  esac
}

# Only the common flags, and refuse the rest.
only_common_flags() {
  while [ $# -gt 0 ]; do
    common_flag "$@"
    [ "$TAKEN" -gt 0 ] || die "$1: not an argument of this script; see $ME --help"
    shift "$TAKEN"
  done
}

# Read the settings and check them.
load_env() {
  command -v gcloud >/dev/null || die "gcloud: not found; install it from https://cloud.google.com/sdk/docs/install"
  [ -r "$ENV_FILE" ] || die "$ENV_FILE: no such settings; cp tpu/env.example tpu/env and fill it in, or give --env FILE"
  # shellcheck source=/dev/null
  source "$ENV_FILE"
  export PROJECT ZONE TPU_NAME ACCELERATOR_TYPE
  local name slice
  for name in PROJECT ZONE TPU_NAME ACCELERATOR_TYPE; do
    [ -n "${!name:-}" ] || die "$name: not set; set it in $ENV_FILE"
  done
  slice=$(slices | awk -v type="$ACCELERATOR_TYPE" '$1 == type')
  [ -n "$slice" ] || die "ACCELERATOR_TYPE: expected one of $(slices | awk '{printf sep $1; sep = ", "}'), got $ACCELERATOR_TYPE (newer chips: tpu/xpk.md)"
  local runtime
  # shellcheck disable=SC2034  # for the scripts that source this
  read -r _ CHIPS WORKERS _ _ runtime <<<"$slice"
  RUNTIME_VERSION=${RUNTIME_VERSION:-$runtime}
  SPOT=${SPOT:-yes}
  BUCKET=${BUCKET:-}
  BUCKET=${BUCKET%/}
  RUNS_DIR=${RUNS_DIR:-runs}
  SHARED=${SHARED:-no}
  case $BUCKET in '' | gs://?*) ;; *) die "BUCKET: expected gs://NAME, got $BUCKET" ;; esac
  for name in SPOT SHARED; do
    case ${!name} in yes | no) ;; *) die "$name: expected yes or no, got ${!name}" ;; esac
  done
  WHERE=(--project="$PROJECT" --zone="$ZONE" --quiet)
}

shown() { printf '%q ' "$@" | sed 's/ $//' >&3; echo >&3; }

# Run a command that changes something; a dry run prints it.
call() {
  if [ -n "$DRY_RUN" ]; then shown "$@"; else "$@" </dev/null; fi
}

# Ask: the answer on stdout; nothing, and status 0, in a dry run, which prints the question.
ask() {
  if [ -n "$DRY_RUN" ]; then shown "$@"; else "$@" </dev/null; fi
}

# describe KIND FIELD: one field of the slice; ABSENT where there is no such thing. Fails where it cannot be asked.
describe() {
  local answer errors status=0
  errors=$(mktemp)
  answer=$(ask gcloud compute tpus "$1" describe "$TPU_NAME" "${WHERE[@]}" --format="value($2)" 2>"$errors") || status=$?
  if [ "$status" -ne 0 ] && grep -qi -e NOT_FOUND -e 'not found' "$errors"; then
    answer=ABSENT status=0
  elif [ "$status" -ne 0 ]; then
    cat "$errors" >&2
  fi
  rm -f "$errors"
  printf '%s\n' "$answer"
  return "$status"
}

# State of the queued resource, such as ACTIVE, and of the node itself, such as READY or PREEMPTED.
slice_state() { describe queued-resources state.state; }
node_state() { describe tpu-vm state; }

# Try a command SSH_TRIES times. Status 2 is the workers' own refusal, which a second try would not change.
retry() {
  local n status
  for ((n = 1; ; n++)); do
    status=0
    "$@" || status=$?
    [ "$status" -ne 0 ] || return 0
    { [ "$status" -ne 2 ] && [ "$n" -lt "$SSH_TRIES" ]; } || return "$status"
    say "try $n of $SSH_TRIES failed (exit $status); again in $SSH_WAIT_SECONDS s"
    sleep "$SSH_WAIT_SECONDS"
  done
}

# on_workers WHICH WORD...: run one command on workers (all, or a number); the words reach it as they are.
on_workers() {
  local which=$1 command
  shift
  command=$(printf '%q ' "$@")
  call gcloud compute tpus tpu-vm ssh "$TPU_NAME" "${WHERE[@]}" --worker="$which" --command="${command% }"
}

# One line a worker: `worker: running NAME`, `worker: exit CODE NAME`, `worker: died NAME`, `worker: none`;
# a run that stop.sh has stopped has ` (stopped)` behind it. Works on a slice on which nothing is installed.
worker_states() {
  # shellcheck disable=SC2016  # expanded on the worker
  on_workers all bash -c 'cd "$HOME"; s=$1; n=$(cat $s/name 2>/dev/null)
if [ -f $s/exit ]; then state="exit $(cat $s/exit) $n"
elif [ -f $s/pid ] && grep -qs worker/run.sh "/proc/$(cat $s/pid)/cmdline"; then state="running $n"
elif [ -f $s/pid ]; then state="died $n"; else state=none; fi
if [ -f $s/stopped ]; then state="$state (stopped)"; fi
echo "worker: $state"' state "$STATE"
}

# Refuse to change code or packages under a run.
refuse_running() {
  local states
  states=$(retry worker_states) || die "the workers of $TPU_NAME cannot be reached; see tpu/status.sh" 1
  if grep -q '^worker: running' <<<"$states"; then
    die "$TPU_NAME is busy ($(grep -m1 running <<<"$states")); watch it with tpu/logs.sh or end it with tpu/stop.sh"
  fi
}

# Find the commit to run: the checked-out one, or with `dirty` one that holds the changed tracked files as well.
find_commit() {
  local allow_dirty=${1:-} changes
  changes=$(git -C "$ROOT" status --porcelain) || die "$ROOT: not a git checkout; clone the repository"
  COMMIT=$(git -C "$ROOT" rev-parse HEAD)
  [ -n "$changes" ] || return 0
  [ -n "$allow_dirty" ] || die "uncommitted changes ($(head -n1 <<<"$changes"), ...); commit them, or give --allow-dirty"
  local changed
  changed=$(git -C "$ROOT" stash create "launched with changes")
  COMMIT=${changed:-$COMMIT}
  if grep -q '^??' <<<"$changes"; then
    say "warning: untracked files stay here: $(grep '^??' <<<"$changes" | cut -c4- | tr '\n' ' ')"
  fi
}

# Bring COMMIT to every worker as a clean checkout, history and all, so that the run records it.
push_commit() {
  local bundle=${TMPDIR:-/tmp}/jaxreason-${COMMIT:0:12}.bundle ref=refs/jaxreason/launch
  if [ -z "$DRY_RUN" ]; then
    git -C "$ROOT" update-ref "$ref" "$COMMIT"
    git -C "$ROOT" bundle create --quiet "$bundle" "$ref"
    git -C "$ROOT" update-ref -d "$ref"
  fi
  retry call gcloud compute tpus tpu-vm scp "$bundle" "$TPU_NAME:jaxreason.bundle" "${WHERE[@]}" --worker=all
  # shellcheck disable=SC2016  # expanded on the worker
  retry on_workers all bash -c 'set -e; cd "$HOME"; [ -d jaxreason/.git ] || git init -q jaxreason; cd jaxreason
git fetch -q --force ../jaxreason.bundle "$2:$2"; git checkout -q --force --detach "$1"; git clean -fdq
echo "worker: $(hostname) has $(git rev-parse --short=12 HEAD)"' push "$COMMIT" "$ref"
  if [ -z "$DRY_RUN" ]; then rm -f "$bundle"; fi
}
