#!/usr/bin/env bash
# Delete the slice, its disks and what is on them. What lies in BUCKET or on a shared folder stays.
#
#   tpu/delete.sh [--yes] [--env FILE] [--dry-run]
#
# --yes       do not ask
# --env FILE  settings; default: tpu/env
# --dry-run   print the gcloud line and do nothing
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

yes=
while [ $# -gt 0 ]; do
  case $1 in
    --yes) yes=1; shift ;;
    *)
      common_flag "$@"
      [ "$TAKEN" -gt 0 ] || die "$1: not an argument of this script; see $ME --help"
      shift "$TAKEN"
      ;;
  esac
done
load_env
if [ -z "$yes$DRY_RUN" ]; then
  printf 'Delete %s (%s) in %s of %s, with everything on its disks? Type yes: ' "$TPU_NAME" "$ACCELERATOR_TYPE" "$ZONE" "$PROJECT" >&2
  read -r answer || answer=
  [ "$answer" = yes ] || die "nothing deleted; it goes on costing money" 2
fi
# --force takes the node along.
call gcloud compute tpus queued-resources delete "$TPU_NAME" "${WHERE[@]}" --force ||
  die "$TPU_NAME was not deleted; gcloud says why above; look at https://console.cloud.google.com/compute/tpus" 1
say "deleted $TPU_NAME"
