# What the scripts about failing ranks share; to be sourced by tests/e2e_watchdog*.sh, which set
# program, out and err.
failures=0
launcher=

fail() {
    echo "  failed: ${FUNCNAME[1]}: $*"
    sed 's/^/    /' "$err"
    failures=$((failures + 1))
}

# start RANKS ARGUMENTS...: until every rank has printed its line.
start() {
    local ranks=$1
    shift
    : >"$out" # the launcher's shell may empty it only after the lines of before were counted
    timeout -k 1 60 mpirun --oversubscribe -n "$ranks" "$program" "$@" >"$out" 2>"$err" &
    launcher=$!
    for _ in $(seq 600); do
        [ "$(grep -c ' pid .* ready$' "$out")" = "$ranks" ] && return
        sleep 0.05
    done
    fail "the ranks did not start"
}

pid_of() { awk -v rank="$1" '/ ready$/ && $2 == rank { print $4 }' "$out"; }

# Wait for the launcher; sets its exit code, and what it took in ms.
finish() {
    local begin
    begin=$(date +%s%N)
    wait "$launcher" 2>/dev/null
    code=$?
    took=$((($(date +%s%N) - begin) / 1000000))
}

# The one line, and no rank is left a moment later.
expect() {
    local pattern=$1 pid
    [ "$(grep -c '^cocola: ' "$err")" = 1 ] || fail "wanted one line of ours"
    grep -q "^cocola: $pattern" "$err" || fail "wanted: $pattern"
    for _ in $(seq 50); do
        for pid in $(awk '/ ready$/ { print $4 }' "$out"); do
            kill -0 "$pid" 2>/dev/null && { sleep 0.1; continue 2; }
        done
        return
    done
    fail "rank with pid $pid goes on"
}

host=$(hostname)

# run_all FUNCTIONS...: the exit code is that of the script.
run_all() {
    local test before
    command -v mpirun >/dev/null || exit 77
    for test; do
        before=$failures
        $test
        [ "$failures" = "$before" ] && echo "ok     $test (last: ${took:-0} ms)" || echo "FAILED $test"
    done
    [ "$failures" = 0 ]
}
