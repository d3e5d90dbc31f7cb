#!/usr/bin/env bash
# run.sh itself, on the emulator: results.json has its schema, what passed is reported as passed,
# and a stage that is made to
# fail as failed, with an exit code that says so.
#
# usage: test_run.sh BUILD
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$1
out=$PWD/device_run
rm -rf "$out" "$out.work"
fail() { printf 'FAILED: %s\n' "$1" >&2; exit 1; }
run() {
    bash "$here/run.sh" --emulated --quick --build "$build" --out "$out" "$@" >"$out.txt" 2>&1
}
status_of() {
    python3 - "$out/results.json" "$1" <<'PYTHON'
import json
import sys

print(next(s["status"] for s in json.load(open(sys.argv[1]))["stages"] if s["name"] == sys.argv[2]))
PYTHON
}
is() {
    [ "$(status_of "$1")" = "$2" ] && return
    cat "$out.txt" >&2
    fail "stage $1 is '$(status_of "$1")', wanted '$2'"
}
schema() {
    python3 "$here/results.py" "$out/results.json" || fail "results.json is not of its schema"
}

# ---- what works ----
run --only operations,throughput,features,loss,curve,repeat,sanitizers ||
    { cat "$out.txt" "$out/log.txt" >&2; fail "a run of what works"; }
schema
for stage in build info operations throughput features loss curve repeat; do is $stage passed; done
is sanitizers "not possible here"
is pytorch "left out"
for word in "cuda_passes" "Loss curve" "| bf16 |" "| bf16 | own | 4 |" "| bf16 | cudnn | 4 |"; do
    grep -q "$word" "$out/results.md" || fail "results.md says nothing of $word"
done

# ---- a stage that fails ----
code=0
COC_EMULATOR_MEMORY=1000000 run --only features,loss || code=$?
[ $code -eq 1 ] || { cat "$out.txt" >&2; fail "exit code $code of a failed stage"; }
schema
is features failed
is loss failed # the one does not end the other
grep -q "GPU: no memory for" "$out/results.json" || fail "the reason is not in results.json"

# ---- no GPU ----
code=0
COC_EMULATOR_DEVICES=0 run --only features || code=$?
[ $code -eq 1 ] || { cat "$out.txt" >&2; fail "exit code $code without a GPU"; }
schema
is info "not possible here"
is features "not possible here"

# ---- no time ----
code=0
run --only operations --limit 1 || code=$?
[ $code -ne 0 ] || fail "a run without time is no success"
schema

# ---- what is not there ----
code=0
run --only nonsense || code=$?
[ $code -eq 2 ] || fail "exit code $code of an unknown stage"
grep -q "no stage nonsense" "$out.txt" || fail "an unknown stage is not named"
