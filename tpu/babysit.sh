#!/usr/bin/env bash
# See a run through to its end: make the slice, set it up, launch, watch; begin again where the slice is taken away.
#
#   tpu/babysit.sh CONFIG [--name NAME] [--allow-dirty] [--env FILE] [--dry-run] [--section.field=value ...]
#
# The words are those of tpu/launch.sh. Runs on your machine, or one that stays on (in tmux), and may itself be
# stopped and started: it looks first and does only what is missing.
#
# Gives up after MAX_FAILURES (5) failures in a row, a run of RESET_SECONDS (1800) ending the row, and after
# MAX_SLICES (50) slices. Waits BACKOFF_SECONDS (60) after the first failure, twice as long after each, at most 32
# times as long. Exit: 0 the run is finished, 1 gave up, 2 a mistake, such as one in the configuration,
# 3 stopped by tpu/stop.sh. Deletes a slice only to replace it: give tpu/delete.sh when the run is finished.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

words=("$@") config='' name='' common=() setup=()
while [ $# -gt 0 ]; do
  case $1 in
    --allow-dirty) setup+=("$1"); shift ;;
    --name) [ $# -ge 2 ] || die "--name: expected a name"; name=$2; shift 2 ;;
    --name=*) name=${1#--name=}; shift ;;
    --*.*) shift ;;
    *)
      common_flag "$@"
      common+=("${@:1:TAKEN}")
      if [ "$TAKEN" -eq 0 ]; then config=$1; fi
      shift "$((TAKEN > 0 ? TAKEN : 1))"
      ;;
  esac
done
[ -n "$config" ] || die "expected a CONFIG, such as configs/scma_qwen3_0.6b_gsm8k.yaml; see $ME --help"
load_env
name=${name:-$(basename "$config" .yaml)}

failures=0 made=0 running_since=''
is_set_up='' # nothing is known of a slice that was there before: set it up once more, which is quick

# failed WHAT: count it, give up or wait
failed() {
  failures=$((failures + 1))
  running_since=''
  [ "$failures" -lt "${MAX_FAILURES:-5}" ] || die "$1; that was failure $failures in a row, giving up; the slice may still cost money (tpu/status.sh)" 1
  local doublings=$((failures > 6 ? 5 : failures - 1))
  local pause=$((${BACKOFF_SECONDS:-60} << doublings))
  say "$1; failure $failures, again in $pause s"
  sleep "$pause"
}

# script NAME WORD...: another script of this folder, with our --env and --dry-run
script() { bash "$TPU_DIR/$1" "${common[@]}" "${@:2}"; }

make_slice() { # make_slice STATE
  if [ "$1" != ABSENT ]; then
    case $1 in FAILED | SUSPEND* | READY_LOST) script delete.sh --yes || return 1 ;; esac
  fi
  case $1 in ABSENT | FAILED | SUSPEND* | READY_LOST)
    [ "$made" -lt "${MAX_SLICES:-50}" ] || die "$made slices were taken away or failed, giving up" 1
    made=$((made + 1)) is_set_up=''
    say "making slice number $made"
    ;;
  esac
  local status=0
  script create.sh || status=$?
  [ "$status" -ne 2 ] || exit 2
  # Exit 4: still in the queue, which is no failure; look again.
  [ "$status" -eq 0 ] || [ "$status" -eq 4 ]
}

launch() {
  local status=0
  if [ -z "$is_set_up" ]; then
    script setup.sh "${setup[@]}" || status=$?
    [ "$status" -ne 2 ] || exit 2
    [ "$status" -eq 0 ] || return 1
    is_set_up=yes
  fi
  bash "$TPU_DIR/launch.sh" "${words[@]}" || status=$?
  [ "$status" -ne 2 ] || exit 2
  return "$status"
}

if [ -n "$DRY_RUN" ]; then
  slice_state
  make_slice ABSENT
  slice_state
  node_state
  worker_states
  launch
  exit 0
fi

while :; do
  if ! state=$(slice_state); then
    failed "cannot ask for $TPU_NAME"
    continue
  fi
  if [ "$state" = ACTIVE ]; then
    if ! node=$(node_state); then
      failed "cannot ask for the node of $TPU_NAME"
      continue
    fi
    case $node in
      READY) ;;
      PREEMPTED | TERMINATED | STOPPED | ABSENT)
        say "the node of $TPU_NAME is $node"
        state=READY_LOST
        ;;
      *)
        say "the node of $TPU_NAME is $node"
        sleep "$POLL_SECONDS"
        continue
        ;;
    esac
  fi
  if [ "$state" != ACTIVE ]; then
    say "$TPU_NAME is $state"
    running_since=''
    case $state in
      DELETING) sleep "$POLL_SECONDS" ;;
      *) make_slice "$state" || failed "no slice" ;;
    esac
    continue
  fi

  if ! states=$(SSH_TRIES=2 retry worker_states); then
    failed "the workers do not answer"
    continue
  fi
  states=$(grep '^worker: ' <<<"$states" || true)
  others=$(grep -v -e ": none\$" -e " $name\$" -e " $name (stopped)\$" <<<"$states" || true)
  case $others in
    *": running"*) die "$TPU_NAME is busy with another run ($others); tpu/stop.sh first" ;;
    ?*) states='worker: none' ;; # what another run left
  esac
  bad=$(grep -v -e ': running' -e ': exit 0 ' <<<"$states" || true)
  case $states in
    *"(stopped)"*) # not by us: what we stop ourselves is launched again before we look
      if ! grep -q ': running' <<<"$states"; then
        say "$name was stopped by tpu/stop.sh; tpu/launch.sh goes on with it"
        exit 3
      fi
      ;;
    *": exit 2 "*)
      script logs.sh --no-follow --lines 20 >&2 || true
      die "$name ended with a mistake that trying again does not mend; the log is above"
      ;;
  esac
  if [ -z "$bad" ] && ! grep -q ': running' <<<"$states"; then
    say "$name is finished: $([ -n "$BUCKET" ] && [ "$SHARED" = no ] && echo "$BUCKET/runs/$name" || echo "$RUNS_DIR/$name on the workers"); tpu/delete.sh ends the cost"
    exit 0
  fi
  if [ -z "$bad" ]; then
    running_since=${running_since:-$SECONDS}
    [ $((SECONDS - running_since)) -lt "${RESET_SECONDS:-1800}" ] || failures=0
    sleep "$POLL_SECONDS"
    continue
  fi
  if ! grep -q -v ': none' <<<"$states"; then
    launch || failed "not launched"
    continue
  fi
  say "$name does not run on all workers: $(sort <<<"$states" | uniq -c | sed 's/ *\([0-9]*\) worker: /\1 x /' | tr '\n' ';')"
  if grep -q ': exit 143 ' <<<"$states" && ! grep -q -e ': died' -e ': exit [^01]' <<<"$(grep -v ': exit 143 ' <<<"$states")"; then
    say "SIGTERM from outside: the slice is being taken away or was restarted"
  fi
  failed "$name ended early"
  if grep -q ': running' <<<"$states"; then script stop.sh || true; fi
  launch || failed "not launched"
done
