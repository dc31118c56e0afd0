#!/usr/bin/env bash
# End the run on all workers as SIGTERM does: it saves first. Waits until it has. launch.sh goes on with it.
#
#   tpu/stop.sh [--env FILE] [--dry-run]
#
# A babysitter that watches sees that it was stopped on purpose, and ends too. Waits STOP_SECONDS (default 900).
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

only_common_flags "$@"
load_env
on_workers all bash jaxreason/tpu/worker/stop.sh "${STOP_SECONDS:-900}" ||
  die "not stopped on all workers; tpu/status.sh says where it still runs" 1
