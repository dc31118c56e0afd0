#!/usr/bin/env bash
# Say how the slice is and what each worker does.
#
#   tpu/status.sh [--env FILE] [--dry-run]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

only_common_flags "$@"
load_env
state=$(slice_state) || die "cannot ask for $TPU_NAME; are you logged in (gcloud auth login)?" 1
[ -n "$DRY_RUN" ] || echo "queued resource $TPU_NAME: $state"
[ -n "$DRY_RUN" ] || [ "$state" = ACTIVE ] || exit 0
node=$(node_state) || die "cannot ask for the node of $TPU_NAME" 1
[ -n "$DRY_RUN" ] || echo "node $TPU_NAME: $node"
[ -n "$DRY_RUN" ] || [ "$node" = READY ] || exit 0
worker_states
