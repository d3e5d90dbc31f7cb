#!/usr/bin/env bash
# `cocola info` says what is built in and what is there, on a machine with or without GPUs, and what it
# prints as JSON is the same.
set -u
failures=0
work=$PWD/scratch_e2e_info
rm -rf "$work"
mkdir -p "$work"
cd "$work" || exit 1
fail() { echo "FAILED: $*"; failures=$((failures + 1)); }
cocola() { timeout -k 1 60 "$COCOLA" "$@"; }

echo "table and object"
cocola info >table 2>err || fail "exit code $?"
[ ! -s err ] || fail "complains: $(cat err)"
for line in '^cocola [0-9]' '^compiler ' '^processor .* threads' '^memory .* GB free$' '^backends   ref, cpu' '^MPI ' '^HDF5 ' \
    '^libsndfile ' '^CUDA runtime ' '^cuBLAS ' '^cuDNN ' '^NCCL '; do
    grep -q "$line" table || fail "no line '$line'"
done
grep -Eq '^no device: .|^ +0  .* [0-9]+\.[0-9] ' table || fail "says neither a device nor why there is none"
cocola info --json >object 2>err || fail "exit code $? of --json"
python3 - <<'PYTHON' || fail "the object and the table differ"
import json
o, table = json.load(open("object")), open("table").read()
assert table.startswith("cocola " + o["version"]) and o["compiler"] in table
assert "backends   " + ", ".join(o["backends"]) in table
for row in o["libraries"]:
    line = next(l for l in table.splitlines() if l.startswith(row["name"].ljust(15)))
    assert (row["built"] or "not in this build") in line, line
assert o["memory"]["bytes"] > 0 and o["processor"]["threads"] >= 1
cuda = o["cuda"]
assert (len(cuda["devices"]) > 0) == (cuda["reason"] is None)
assert "cuda" in o["backends"] or cuda["devices"] == []
assert cuda["reason"] is None or "no device: " + cuda["reason"] in table
PYTHON

echo "a backend that is not there"
cocola bench step --backend cuda >printed 2>err
code=$?
if ! grep -q '^backends .*cuda' table; then
    [ $code = 2 ] || fail "exit code $code"
    grep -q "backend 'cuda' is not built in (known: ref, cpu); configure with -DCOCOLA_CUDA=ON" err || fail "$(cat err)"
elif grep -q '^no device' table; then
    [ $code = 5 ] || fail "exit code $code"
    grep -q "^cocola: .*no GPU can be used: " err || fail "$(cat err)"
fi

echo "what the emulated runtime can be told"
if grep -q 'emulated' table; then
    COC_EMULATOR_DEVICES=3 cocola info | grep -q '^     2  emulated GPU' || fail "three devices"
    COC_EMULATOR_DEVICES=0 cocola info | grep -q '^no device: no CUDA-capable device is detected' || fail "no device"
    COC_EMULATOR_DRIVER=0 COC_EMULATOR_DEVICES=0 cocola info | grep -q '^no device: no NVIDIA driver is loaded' || fail "no driver"
    COC_EMULATOR_CAPABILITY=75 cocola info | grep -q 'cannot be used: .*compute capability 7.5; 8.0 is the least' || fail "an old device"
    COC_EMULATOR_DRIVER=12080 cocola info | grep -q "cannot be used: .*made for CUDA 12.8, this program for 13.0" || fail "an old driver"
fi
exit $((failures > 0))
