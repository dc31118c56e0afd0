#!/usr/bin/env bash
# On a worker: Python 3.11 or newer, a virtual environment, the packages. Safe to repeat; called by tpu/setup.sh.
#
#   setup.sh RUNS_DIR NFS
#
# RUNS_DIR  where runs go
# NFS       HOST:/SHARE to mount there, or empty
set -euo pipefail
cd "$HOME"
runs=$1 nfs=$2 venv=$HOME/jaxreason-venv

stamp=$(cat jaxreason/pyproject.toml jaxreason/requirements.lock | sha256sum | cut -d' ' -f1)
if [ "$(cat "$venv/.installed" 2>/dev/null)" != "$stamp" ]; then
  if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    rm -rf "$venv"
    if python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      python3 -m venv "$venv"
    else
      echo "worker: $(python3 --version 2>&1) is too old or has no venv; installing uv and Python 3.11"
      python3 -m pip install --quiet --user uv
      python3 -m uv venv --quiet --seed --python 3.11 "$venv"
    fi
  fi
  # As constraints the pins leave out what a TPU does not need and keep every version.
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --constraint jaxreason/requirements.lock --editable "jaxreason[tpu]"
  echo "$stamp" >"$venv/.installed"
fi

if [ -n "$nfs" ]; then
  if ! mountpoint -q "$runs"; then
    command -v mount.nfs >/dev/null || { sudo apt-get update -qq && sudo apt-get install -y -qq nfs-common; }
    sudo mkdir -p "$runs"
    sudo mount -t nfs "$nfs" "$runs"
    sudo chmod a+rwx "$runs"
  fi
fi
mkdir -p "$runs"
free=$(df --output=avail -BG "$runs" | tail -n1 | tr -dc '0-9')
echo "worker: $(hostname) has $("$venv/bin/jaxreason" --version), ${free} GB free for runs"
