#!/usr/bin/env bash
# Start, or go on with, a run on all workers: the same commit and the same command on each.
#
#   tpu/launch.sh CONFIG [--name NAME] [--allow-dirty] [--env FILE] [--dry-run] [--section.field=value ...]
#
# CONFIG           a file of the repository, such as configs/scma_qwen3_0.6b_gsm8k.yaml
# --name NAME      of the run; default: CONFIG's name without .yaml
# --allow-dirty    take uncommitted changes of tracked files along
# --env FILE       settings; default: tpu/env
# --dry-run        print the gcloud lines and do nothing
# --section.field=value   go to `jaxreason train` as they are
#
# The workers run `jaxreason train CONFIG --resume`, so the same words begin a run and continue it.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

config='' name='' dirty='' overrides=()
while [ $# -gt 0 ]; do
  case $1 in
    --allow-dirty) dirty=1; shift ;;
    --name) [ $# -ge 2 ] || die "--name: expected a name"; name=$2; shift 2 ;;
    --name=*) name=${1#--name=}; shift ;;
    --run.output_dir* | --run.compilation_cache_dir*) die "${1%%=*}: set by RUNS_DIR and --name here; leave it out" ;;
    --resume) shift ;;
    --*.*=*) overrides+=("$1"); shift ;;
    --*.*) die "$1: expected $1=value, in one word" ;;
    *)
      common_flag "$@"
      if [ "$TAKEN" -gt 0 ]; then
        shift "$TAKEN"
      elif [ -z "$config" ] && [ "${1#-}" = "$1" ]; then
        config=$1
        shift
      else
        die "$1: not an argument of this script; see $ME --help"
      fi
      ;;
  esac
done
[ -n "$config" ] || die "expected a CONFIG, such as configs/scma_qwen3_0.6b_gsm8k.yaml; see $ME --help"
load_env
find_commit "$dirty"
git -C "$ROOT" cat-file -e "$COMMIT:$config" 2>/dev/null ||
  die "$config: not a file of commit ${COMMIT:0:12}; give its path from the repository's top, and commit it"
name=${name:-$(basename "$config" .yaml)}
[[ $name =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] || die "--name: expected letters, digits, dots and dashes, got $name"
if [ "$WORKERS" -gt 1 ] && [ "$SHARED" = no ]; then
  die "$ACCELERATOR_TYPE has $WORKERS workers, which save one checkpoint together: set RUNS_DIR to a folder that all see, and SHARED=yes (tpu/README.md, \"Several workers\")"
fi
if [ "$SHARED" = yes ]; then bucket=; else bucket=$BUCKET; fi
if [ -z "$bucket" ] && [ "$SHARED" = no ]; then say "warning: no BUCKET; a slice that is taken away takes the run with it"; fi

refuse_running
say "bringing ${COMMIT:0:12} to $TPU_NAME"
push_commit
say "starting $name"
retry on_workers all bash jaxreason/tpu/worker/run.sh "$name" "$COMMIT" "$RUNS_DIR" "$bucket" "$config" "${overrides[@]}" ||
  die "not started on all workers; they say why above; tpu/stop.sh ends what runs" 1
say "started; tpu/logs.sh follows it, tpu/stop.sh ends it so that it can go on later"
