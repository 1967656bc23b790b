#!/usr/bin/env bash
# The picture of the report in the documentation, from the report of `make demo`; needs Chromium.
#   bash docs/screenshot.sh [demo/report.html]
set -euo pipefail
cd "$(dirname "$0")/.."
page=$(realpath "${1:-demo/report.html}")
chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1000,900 \
  --user-data-dir="$(mktemp -d)" --screenshot="$PWD/docs/images/report.png" "file://$page"
