#!/usr/bin/env bash
# The h5py reader of docs/store.md gives the samples of the source files. Skipped without h5py.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=scratch_e2e_store_h5py
rm -rf $work
mkdir -p $work
for python in python3 /usr/bin/python3 none; do
    [ $python = none ] && exit 77
    $python -c "import h5py" 2>/dev/null && break
done
python3 "$here/make_stems.py" plain $work/stems
"$COCOLA" preprocess --layout folder --in $work/stems --out $work/store --shard-mb 1
$python "$here/store_h5py.py" "$COCOLA_SOURCE/docs/store.md" $work/store $work/stems
