#!/usr/bin/env bash
# A rank that stalls or dies before each collective of a training step: the others name it in time, or
# the launcher ends them. Nearly all of it is waiting.
set -u
export OMP_NUM_THREADS=1
program=./driven_step
out=watchdog_step.out err=watchdog_step.err
. "$(dirname "$0")/watchdog.sh"

# one COLLECTIVE HOW EXCHANGE: two ranks train; rank 1 does not come to that collective. What it takes counts from
# there: steps before it have no bound.
one() {
    : >"$out"
    timeout -k 1 60 mpirun --oversubscribe -n 2 ./driven_step 2 "$1" "$2" "$3" >"$out" 2>"$err" &
    launcher=$!
    for _ in $(seq 1200); do
        grep -q " pid .* is to $2" "$out" && break
        kill -0 "$launcher" 2>/dev/null || break
        sleep 0.05
    done
    finish
    grep -q " pid .* is to $2" "$out" || fail "rank 1 did not come to '$1'"
    [ "$code" != 0 ] && [ "$code" != 124 ] || fail "$2 at '$1': exit code $code"
    [ "$took" -lt 10000 ] || fail "$2 at '$1': took $took ms"
}

# watch EXCHANGE BEFORE COLLECTIVES...: each of them, which follow on BEFORE in a step.
watch() {
    local what exchange=$1 before=$2
    shift 2
    for what; do
        one "$what" stall "$exchange"
        [ "$code" = 6 ] || fail "stall at '$what': exit code $code"
        expect "rank 0 on $host: step 1, collective '\\($what\\|$before\\)': waited 2 s.*: rank 1 on $host is late: step [01], computing for"
        one "$what" die "$exchange"
        before=$what
    done
}

every_collective_of_a_step_is_watched() {
    # A rank that computes for ever, or dies, before any collective of a training step: the others
    # name it, the step and what they wait in; or the launcher ends them. Collectives that are
    # started early may wait for a rank that has started them too and moves no data any more: then the
    # one before is named.
    watch allgather weights "batch-norm sums" "columns of the similarity" "tracks of the columns" \
        "gradient of the columns" loss "batch-norm gradient sums" "sum of gradients" \
        "running statistics" "stop flag" saving weights
}

every_collective_of_a_ring_is_watched() {
    # The same of those that loss.exchange: ring has in place of an all-gather.
    watch ring "batch-norm sums" "columns of the similarity" "gradient of the columns" loss
}

run_all every_collective_of_a_step_is_watched every_collective_of_a_ring_is_watched
