#!/usr/bin/env bash
# Pictures of a report: wide and phone, light and dark. benchmarks/screenshots.sh REPORT.html FOLDER [HEIGHT]
# Needs chromium. A phone's width is given to the page by a frame, since a window cannot be narrower than 500 px.
set -euo pipefail
if [ $# -lt 2 ]; then
  echo "usage: $0 REPORT.html FOLDER [HEIGHT]" >&2
  exit 2
fi
report=$(realpath "$1")
folder=$2
height=${3:-2400}
mkdir -p "$folder"
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT

shoot() { # width, colour scheme (light, dark), page, picture
  nice chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
    --disable-component-update --disable-sync --hide-scrollbars --force-device-scale-factor=1 \
    --user-data-dir="$profile" --virtual-time-budget=2000 --window-size="$1,$height" \
    --blink-settings="preferredColorScheme=$([ "$2" = dark ] && echo 0 || echo 1)" \
    --screenshot="$4" "$3" 2>/dev/null
}

for scheme in light dark; do
  shoot 1280 "$scheme" "file://$report" "$folder/wide-$scheme.png"
  frame="$profile/phone.html"
  printf '<!doctype html><meta name="color-scheme" content="light dark"><style>body{margin:0}iframe{border:0;width:390px;height:%spx}</style><iframe src="file://%s"></iframe>' \
    "$height" "$report" > "$frame"
  shoot 500 "$scheme" "file://$frame" "$folder/phone-$scheme.png"
done
ls "$folder"
