#!/usr/bin/env bash
# `cocola selftest` passes on ranks of this machine, prints the same as a table and as JSON, and refuses
# what it does not know.
set -u
failures=0
work=$PWD/scratch_e2e_selftest
rm -rf "$work"
mkdir -p "$work/tmp"
cd "$work" || exit 1
fail() { echo "FAILED: $*"; failures=$((failures + 1)); }
ranks() { timeout -k 1 120 mpirun --oversubscribe -n "$@"; }
small=(--config "$COCOLA_SOURCE/configs/quickstart.yaml" --set model.width=0.1 --set model.depth=0.1)

echo "all checks on two ranks"
TMPDIR=$work/tmp ranks 2 "$COCOLA" selftest "${small[@]}" >table 2>err || fail "exit code $?: $(cat err)"
for check in collectives links ranks differences passes tree resume; do
    grep -q "^$check .* ok " table || fail "no line of $check"
done
grep -q FAILED table && fail "a line failed: $(grep FAILED table)"
[ -z "$(ls tmp)" ] || fail "leaves files: $(ls tmp)"

echo "JSON of one of them, alone"
"$COCOLA" selftest "${small[@]}" --only ranks --json >object 2>err || fail "exit code $?: $(cat err)"
python3 - <<'PYTHON' || fail "the object is not what it must be"
import json
o = json.load(open("object"))
assert o["ranks"] == 1 and o["passed"] is True and o["seconds"] > 0
assert [l["of"] for l in o["lines"]] == ["encoder", "norms", "W", "running statistics", "loss", "columns"]
assert all(l["check"] == "ranks" and l["passed"] and l["value"] <= l["bound"] for l in o["lines"])
PYTHON

echo "a leak ends with exit code 6 and its name"
leaky=("${small[@]}" --set train.batch=8 --set model.bn_group=4 --set model.bn_pairing=paired --set data.channel_mode=both)
"$COCOLA" selftest leak "${leaky[@]}" --steps 160 --json >object 2>err
[ $? = 6 ] || fail "exit code of a leak"
grep -q "by: pairing" err || fail "a leak: $(cat err)"
python3 - <<'PYTHON' || fail "the object is not what it must be"
import json
o = json.load(open("object"))
t = {r["name"]: r for r in o["trained"]}
assert o["ranks"] == 1 and len(t) == 5
assert t["pairing"]["leaks"] and t["this configuration"]["below"] == t["pairing"]["below"] > 0.02
assert t["control (paired)"]["below"] > 0.02 and not t["channel mode"]["tried"]
PYTHON

echo "what is refused"
"$COCOLA" selftest "${small[@]}" --only rank >out 2>err
[ $? = 2 ] || fail "an unknown check: exit code"
grep -q "did you mean ranks" err || fail "an unknown check: $(cat err)"
"$COCOLA" selftest >out 2>err
[ $? = 2 ] || fail "no configuration: exit code"
grep -q -- "--config" err || fail "no configuration: $(cat err)"

[ $failures = 0 ] && echo "all passed"
exit $((failures > 0))
