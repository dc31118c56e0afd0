#!/usr/bin/env bash
# On a worker: start `jaxreason train CONFIG --resume` in the background. Called by tpu/launch.sh, alike on all workers.
#
#   run.sh NAME COMMIT RUNS_DIR BUCKET CONFIG [--section.field=value ...]
#
# Without BUCKET the run stays in RUNS_DIR/NAME, which is a folder that all workers see where there are several.
# With it, the run is fetched from BUCKET/runs/NAME first where it is not here yet, and copied back every SYNC_SECONDS
# and at the end, with the compiled programs. Repeating a launch that runs already changes nothing.
set -euo pipefail
cd "$HOME"
name=$1 commit=$2 bucket=$4 config=$5
runs=$(realpath -m "$3")
run=$runs/$name state=$HOME/jaxreason-state cache=$runs/.xla
words=$(printf '%q ' "$@")

sync() { # sync SOURCE TARGET [FLAG...]: what Orbax and we have not finished writing stays out
  gcloud storage rsync "$1" "$2" --recursive --quiet --exclude='(^|.*/)\.lock$|.*\.tmp$|.*orbax-checkpoint-tmp.*' "${@:3}" </dev/null
}

copy_all() {
  # New files first, then what is no longer here: at no moment is the bucket without a whole checkpoint.
  sync "$run" "$bucket/runs/$name" || return 1
  sync "$run" "$bucket/runs/$name" --delete-unmatched-destination-objects || return 1
  gcloud storage cp "$state/log" "$bucket/logs/$name.log" --quiet </dev/null || return 1
  [ ! -d "$cache" ] || sync "$cache" "$bucket/xla"
}

copy_back() {
  [ -n "$bucket" ] || return 0
  copy_all >"$state/sync.log" 2>&1 && return 0
  echo "jaxreason: warning: could not copy to $bucket: $(grep -m1 ERROR "$state/sync.log" || tail -n1 "$state/sync.log")"
  return 1
}

supervise() { # the background half: the run, its copies, its exit code
  local child='' code=0 tries
  # A slice that is taken away sends SIGTERM to everything: pass it on, and stay to copy what the run saves.
  trap 'kill -TERM "$child" 2>/dev/null || true' TERM INT
  "$HOME/jaxreason-venv/bin/jaxreason" train "$config" --resume --run.output_dir="$run" \
    --run.compilation_cache_dir="$cache" "${@:6}" &
  child=$!
  echo "$child" >"$state/train.pid"
  while kill -0 "$child" 2>/dev/null; do
    # Short naps, so that neither the end of the run nor a signal waits for the next copy.
    for ((tries = 0; tries < ${SYNC_SECONDS:-300}; tries++)); do
      kill -0 "$child" 2>/dev/null || break
      sleep 1 || true
    done
    if kill -0 "$child" 2>/dev/null; then copy_back || true; fi
  done
  wait "$child" || code=$?
  echo "jaxreason: exit $code"
  for tries in 1 2 3; do
    if copy_back; then break; fi
    sleep "$((tries * 5))" || true
  done
  echo "$code" >"$state/exit.tmp"
  mv "$state/exit.tmp" "$state/exit"
}

if [ "${JAXREASON_SUPERVISE:-}" = yes ]; then
  cd jaxreason
  supervise "$@"
  exit 0
fi

refuse() {
  echo "worker: error: $1" >&2
  exit 2
}

mkdir -p "$state" "$runs"
if [ ! -f "$state/exit" ] && grep -qs worker/run.sh "/proc/$(cat "$state/pid" 2>/dev/null)/cmdline"; then
  [ "$(cat "$state/words")" = "$words" ] || refuse "$(cat "$state/name") runs here; tpu/stop.sh first"
  echo "worker: $(hostname) runs $name already"
  exit 0
fi
stamp=$(cat jaxreason/pyproject.toml jaxreason/requirements.lock | sha256sum | cut -d' ' -f1)
[ "$(cat jaxreason-venv/.installed 2>/dev/null)" = "$stamp" ] || refuse "other packages than $commit asks for; give tpu/setup.sh"
[ "$(git -C jaxreason rev-parse HEAD)" = "$commit" ] || refuse "another commit than $commit is checked out; launch again"

if [ -n "$bucket" ]; then
  if [ ! -d "$run" ]; then
    # A bucket that cannot be read must not look like one without the run, which would then be begun anew over it.
    if found=$(gcloud storage ls "$bucket/runs/$name/config.yaml" --quiet 2>&1 </dev/null); then
      rm -rf "$run.fetching"
      mkdir -p "$run.fetching"
      sync "$bucket/runs/$name" "$run.fetching" >/dev/null 2>&1 || refuse "could not fetch $bucket/runs/$name; launch again"
      mv "$run.fetching" "$run"
    else
      case $found in *"matched no objects"*) ;; *) refuse "cannot read $bucket ($(tail -n1 <<<"$found")); may the service account use it?" ;; esac
    fi
  fi
  if [ ! -d "$cache" ]; then
    mkdir -p "$cache"
    sync "$bucket/xla" "$cache" >/dev/null 2>&1 || true # none yet
  fi
fi
mkdir -p "$run"

rm -f "$state/exit" "$state/pid" "$state/train.pid" "$state/stopped"
printf '%s\n' "$name" >"$state/name"
printf '%s\n' "$words" >"$state/words"
{
  echo "--- $(date -u +%FT%TZ) $(hostname) commit $commit"
  echo "--- $words"
} >>"$state/log"
JAXREASON_SUPERVISE=yes setsid nohup bash "$HOME/jaxreason/tpu/worker/run.sh" "$@" >>"$state/log" 2>&1 </dev/null &
echo $! >"$state/pid"
echo "worker: $(hostname) started $name"
