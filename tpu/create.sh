#!/usr/bin/env bash
# Ask for the slice of tpu/env and wait until it is there.
#
#   tpu/create.sh [--spot | --on-demand] [--env FILE] [--dry-run]
#
# --spot        ask for spot capacity, whatever SPOT says
# --on-demand   ask for capacity that is not taken away
# --env FILE    settings; default: tpu/env
# --dry-run     print the gcloud lines and do nothing
#
# Run it again to go on waiting. It waits WAIT_SECONDS (default 3600) and looks every POLL_SECONDS (30).
# Exit: 0 the slice is there, 1 it cannot be had, 2 a mistake, 4 still in the queue.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

spot=
while [ $# -gt 0 ]; do
  case $1 in
    --spot) spot=yes; shift ;;
    --on-demand) spot=no; shift ;;
    *)
      common_flag "$@"
      [ "$TAKEN" -gt 0 ] || die "$1: not an argument of this script; see $ME --help"
      shift "$TAKEN"
      ;;
  esac
done
load_env
SPOT=${spot:-$SPOT}
wait_seconds=${WAIT_SECONDS:-3600}

state=$(slice_state) || die "cannot ask for $TPU_NAME; is the TPU API enabled, and are you logged in (gcloud auth login)?" 1
if [ -n "$DRY_RUN" ] || [ "$state" = ABSENT ]; then
  request=(gcloud compute tpus queued-resources create "$TPU_NAME" "${WHERE[@]}" --node-id="$TPU_NAME"
    --accelerator-type="$ACCELERATOR_TYPE" --runtime-version="$RUNTIME_VERSION")
  [ "$SPOT" = no ] || request+=(--spot)
  [ -z "${SERVICE_ACCOUNT:-}" ] || request+=(--service-account="$SERVICE_ACCOUNT")
  [ -z "${SERVICE_ACCOUNT:-}" ] || request+=(--scopes=https://www.googleapis.com/auth/cloud-platform)
  [ -z "${NETWORK:-}" ] || request+=(--network="$NETWORK")
  [ -z "${SUBNETWORK:-}" ] || request+=(--subnetwork="$SUBNETWORK")
  say "asking for $TPU_NAME: $ACCELERATOR_TYPE, $CHIPS chips, $WORKERS worker(s), spot $SPOT, in $ZONE"
  call "${request[@]}" || die "the request was refused; gcloud says why above (quota: tpu/README.md)" 1
fi

began=$SECONDS seen='' said=$SECONDS
while :; do
  state=$(slice_state) || state=unknown
  [ -z "$DRY_RUN" ] || exit 0
  waited=$((SECONDS - began))
  if [ "$state" != "$seen" ] || [ $((SECONDS - said)) -ge 300 ]; then
    say "$TPU_NAME is $state after $waited s"
    seen=$state said=$SECONDS
  fi
  case $state in
    ACTIVE) exit 0 ;;
    FAILED | SUSPENDING | SUSPENDED | DELETING)
      die "$TPU_NAME is $state; give tpu/delete.sh, then tpu/create.sh again, with another ZONE or size if it stays so" 1 ;;
    ABSENT) die "$TPU_NAME went away while waiting; was it deleted elsewhere?" 1 ;;
  esac
  [ "$waited" -lt "$wait_seconds" ] || die "$TPU_NAME is still $state after $waited s and stays in the queue; tpu/create.sh goes on waiting, tpu/delete.sh gives up" 4
  sleep "$POLL_SECONDS"
done
