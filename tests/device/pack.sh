#!/usr/bin/env bash
# On a machine with Debian's packages: put what a bare GPU machine lacks into tests/device/packages/.
# Then copy the tree there and run tests/device/run.sh.
set -euo pipefail
cd "$(dirname "$0")"
most=60 # MB that may be carried
mkdir -p packages
wanted=$(sed 's/#.*//' packages.txt)
cd packages
# shellcheck disable=SC2086 # words are wanted
apt-get download -q $wanted >/dev/null || { echo "pack: apt-get download failed; run apt-get update first" >&2; exit 1; }
size=$(du -sm . | cut -f 1)
echo "tests/device/packages: $(find . -name '*.deb' | wc -l) packages, $size MB"
[ "$size" -le "$most" ] || { echo "pack: more than $most MB" >&2; exit 1; }
