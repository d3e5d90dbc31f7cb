#!/usr/bin/env bash
# On a machine with Debian's packages: put what a bare GPU machine lacks into tests/device/packages/:
# packages, reference values of the published code where there are some, the commit. Then copy the
# tree there, with that folder, and run tests/device/run.sh.
#
# usage: pack.sh [GOLDEN]        folder of reference values (../shared/golden)
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD
most=60         # MB that may be carried
most_values=20  # MB of them reference values
golden=$(realpath -m "${1:-../../../shared/golden}")
mkdir -p packages
wanted=$(sed 's/#.*//' packages.txt)
cd packages
# shellcheck disable=SC2086 # words are wanted
apt-get download -q $wanted >/dev/null ||
    { echo "pack: apt-get download failed; run apt-get update first" >&2; exit 1; }
if [ ! -d "$golden/narrow" ]; then
    echo "pack: no reference values in $golden" >&2
elif ! "${COCOLA_PYTHON:-python3}" -c 'import h5py'; then
    echo "pack: without reference values: they need h5py (COCOLA_PYTHON)" >&2
else
    "${COCOLA_PYTHON:-python3}" "$here/pack_golden.py" "$golden" golden
fi
echo "$(git rev-parse HEAD) $(PYTHONPATH=$here python3 -c 'import machine; print(machine.sources_hash())')" >COMMIT
values=$([ -d golden ] && du -sm golden | cut -f 1 || echo 0)
size=$(du -sm . | cut -f 1)
echo "$(find . -name '*.deb' | wc -l) packages, $size MB in all, $values MB of them reference values"
[ "$values" -le "$most_values" ] || { echo "pack: more than $most_values MB of values" >&2; exit 1; }
[ "$size" -le "$most" ] || { echo "pack: more than $most MB" >&2; exit 1; }
