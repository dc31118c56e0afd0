#!/usr/bin/env bash
# Install jaxreason, as it is checked out here, on all workers. Safe to repeat.
#
#   tpu/setup.sh [--allow-dirty] [--env FILE] [--dry-run]
#
# --allow-dirty  take uncommitted changes of tracked files along
# --env FILE     settings; default: tpu/env
# --dry-run      print the gcloud lines and do nothing
#
# Packages come in the versions of requirements.lock, so that every worker, and the next slice, has the same.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

dirty=
while [ $# -gt 0 ]; do
  case $1 in
    --allow-dirty) dirty=1; shift ;;
    *)
      common_flag "$@"
      [ "$TAKEN" -gt 0 ] || die "$1: not an argument of this script; see $ME --help"
      shift "$TAKEN"
      ;;
  esac
done
load_env
find_commit "$dirty"
refuse_running
say "bringing ${COMMIT:0:12} to $TPU_NAME"
push_commit
say "installing; several minutes the first time"
retry on_workers all bash jaxreason/tpu/worker/setup.sh "$RUNS_DIR" "${NFS:-}" ||
  die "setup failed; the workers say why above; mend it and give $ME again" 1
