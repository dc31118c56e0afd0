#!/usr/bin/env bash
# Follow the log of the last launch.
#
#   tpu/logs.sh [--worker N|all] [--lines N] [--no-follow] [--env FILE] [--dry-run]
#
# --worker N|all  whose; default: 0. With all, each line begins with the worker's host name
# --lines N       how many old lines; default: 100
# --no-follow     print them and stop
# --env FILE      settings; default: tpu/env
# --dry-run       print the gcloud line and do nothing
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

worker=0 lines=100 follow=-F
while [ $# -gt 0 ]; do
  case $1 in
    --worker | --lines)
      [ $# -ge 2 ] || die "$1: expected a number"
      if [ "$1" = --worker ]; then worker=$2; else lines=$2; fi
      shift 2
      ;;
    --worker=*) worker=${1#*=}; shift ;;
    --lines=*) lines=${1#*=}; shift ;;
    --no-follow) follow=; shift ;;
    *)
      common_flag "$@"
      [ "$TAKEN" -gt 0 ] || die "$1: not an argument of this script; see $ME --help"
      shift "$TAKEN"
      ;;
  esac
done
[[ $worker =~ ^([0-9]+|all)$ ]] || die "--worker: expected a number or all, got $worker"
[[ $lines =~ ^[0-9]+$ ]] || die "--lines: expected a number, got $lines"
load_env
# shellcheck disable=SC2016  # expanded on the worker
on_workers "$worker" bash -c 'cd "$HOME"; [ -f "$1/log" ] || { echo "no log yet; tpu/launch.sh writes one" >&2; exit 2; }
if [ "$4" = all ]; then tail -n "$2" $3 "$1/log" | sed -u "s/^/$(hostname): /"; else exec tail -n "$2" $3 "$1/log"; fi' \
  logs "$STATE" "$lines" "$follow" "$worker"
