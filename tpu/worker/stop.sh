#!/usr/bin/env bash
# On a worker: send the run SIGTERM, on which it saves, and wait until it has ended. Called by tpu/stop.sh.
#
#   stop.sh SECONDS
set -euo pipefail
state=$HOME/jaxreason-state
if [ -f "$state/exit" ] || ! grep -qs worker/run.sh "/proc/$(cat "$state/pid" 2>/dev/null)/cmdline"; then
  echo "worker: $(hostname) runs nothing"
  exit 0
fi
touch "$state/stopped"
sent=
for ((waited = 0; waited < $1; waited++)); do
  if [ -f "$state/exit" ]; then
    echo "worker: $(hostname) ended with exit $(cat "$state/exit")"
    exit 0
  fi
  # A run that has only just been launched has no process yet.
  if [ -z "$sent" ] && kill -TERM "$(cat "$state/train.pid" 2>/dev/null)" 2>/dev/null; then sent=1; fi
  sleep 1
done
echo "worker: error: $(hostname) still runs $(cat "$state/name") after $1 s; give tpu/stop.sh again, it may be in a long step" >&2
exit 1
