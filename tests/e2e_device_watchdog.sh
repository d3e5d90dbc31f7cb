#!/usr/bin/env bash
# How ranks with devices fail: whatever a device or NCCL does ends all ranks in time, with one line
# that names rank, host, step and collective. NCCL and devices are emulated; elsewhere this is
# skipped. Each function begins with what must hold.
set -u
export OMP_NUM_THREADS=1 COC_EMULATOR_DEVICES=4
program=./driven_device
out=device_watchdog.out err=device_watchdog.err
failures=0

fail() {
    echo "  failed: ${FUNCNAME[1]}: $*"
    sed 's/^/    /' "$err"
    failures=$((failures + 1))
}

# run RANKS ARGUMENTS...: to the end; sets its exit code, and what it took in ms.
run() {
    local ranks=$1 begin
    shift
    begin=$(date +%s%N)
    timeout -k 1 60 mpirun --oversubscribe -n "$ranks" "$program" "$@" >"$out" 2>"$err"
    code=$?
    took=$((($(date +%s%N) - begin) / 1000000))
}

# The one line, the exit code of ranks, and no rank is left a moment later.
expect() {
    local pattern=$1 pid
    [ "$code" = 6 ] || fail "exit code $code"
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
late="waited 2 s (comm.deadline): rank 1 on $host is late: step"

nothing_wrong_is_no_failure() {
    # Ten steps, as they are and recorded, also where ranks share a device and say so.
    run 3 60 run
    [ "$code" = 0 ] || fail "exit code $code"
    run 3 60 recorded
    [ "$code" = 0 ] || fail "exit code $code"
    COC_EMULATOR_DEVICES=1 run 3 60 shared
    [ "$code" = 0 ] || fail "exit code $code"
    run 3 60 symmetric
    [ "$code" = 0 ] || fail "exit code $code"
}

a_device_that_stops_is_named() {
    # Before it begins a collective that the others' devices wait in: in the middle of a step, and
    # between two. The same where the work is recorded, and the hosts give no collective any more.
    for how in run recorded; do
        COC_EMULATOR_NCCL="hang 1 6" run 3 2 $how
        expect "rank 0 on $host: step 3, collective 'sum of gradients': $late 3, waiting for [0-9]* s in 'work of the device', its device in 'embeddings'"
        [ "$took" -lt 10000 ] || fail "took $took ms"
        COC_EMULATOR_NCCL="hang 1 5" run 3 2 $how
        expect "rank [02] on $host: step [23], collective '.*': $late 2, waiting for [0-9]* s in 'work of the device', its device in 'sum of gradients'"
    done
}

the_first_one_may_be_the_late_one() {
    # Rank 0 asks first: it finds that the others are ahead of its own device.
    COC_EMULATOR_NCCL="hang 0 6" run 3 2 run
    expect "rank 0 on $host: step 3, collective 'embeddings': waited 2 s (comm.deadline): rank 0 on $host itself is late, its device in 'embeddings'"
}

a_computing_host_is_named() {
    # Its device waits for nothing but for it.
    COC_EMULATOR_NCCL="hang 1 6" run 3 2 compute 1
    expect "rank [02] on $host: step 3, collective 'sum of gradients': $late 3, computing for [0-9]* s after 'sum of gradients'"
}

the_first_step_has_more_time() {
    # Five deadlines.
    COC_EMULATOR_NCCL="hang 1 2" run 2 1 run
    expect "rank 0 on $host: step 1, collective 'sum of gradients': waited 5 s"
    [ "$took" -gt 5000 ] || fail "took $took ms"
}

a_start_that_hangs_is_ended() {
    # The communicator is made in the background, under the deadline.
    COC_EMULATOR_NCCL="hang 1 0" run 2 2 run
    expect "rank 0 on $host: step 0, collective 'start of NCCL': waited 2 s .*: every rank answers and waits in the same collective: the network, MPI or NCCL"
    [ "$took" -lt 10000 ] || fail "took $took ms"
}

an_abort_that_hangs_is_ended() {
    # NCCL is given five seconds to free the device, then the job ends all the same.
    COC_EMULATOR_NCCL="deaf 1 6" run 3 2 run
    expect "rank [02] on $host: step 3, collective 'sum of gradients': $late 3"
    [ "$took" -lt 15000 ] || fail "took $took ms"
}

what_sees_no_abort_is_ended_at_once() {
    # Collectives in symmetric memory: the job ends without NCCL being asked, which would take five
    # seconds more.
    COC_EMULATOR_NCCL="hang 1 6" run 3 2 symmetric
    expect "rank 0 on $host: step 3, collective 'sum of gradients': $late 3, waiting for [0-9]* s in 'work of the device', its device in 'embeddings'"
    [ "$took" -lt 7000 ] || fail "took $took ms"
}

what_nccl_reports_is_passed_on() {
    # With its words and those of its last error; in its start too.
    COC_EMULATOR_NCCL="error 1 6" run 3 60 run
    expect "rank 1 on $host: collective 'sum of gradients': NCCL says: unhandled system error.*: emulated: the network is down"
    [ "$took" -lt 8000 ] || fail "took $took ms"
    COC_EMULATOR_NCCL="error 1 0" run 3 60 run
    expect "rank 1 on $host: collective 'start of NCCL': NCCL says: unhandled system error.*: emulated: no network"
}

two_ranks_on_a_device_are_refused() {
    # By NCCL, where nobody has said that they share it.
    COC_EMULATOR_DEVICES=1 run 2 60 duplicate
    expect "rank [01] on $host: collective 'start of NCCL': NCCL says: invalid usage.*: Duplicate GPU"
}

another_nccl_is_refused() {
    # One that is not what the program was built for.
    COC_EMULATOR_NCCL_VERSION=31002 run 2 60 run
    expect "rank [01] on $host: the program was built for NCCL 2, but libnccl here is 3.10.2"
}

a_killed_rank_ends_all() {
    # The launcher ends the others, wherever they are.
    : >"$out"
    timeout -k 1 60 mpirun --oversubscribe -n 3 "$program" 60 for_ever >"$out" 2>"$err" &
    local launcher=$!
    for _ in $(seq 600); do
        [ "$(grep -c ' pid .* ready$' "$out")" = 3 ] && break
        sleep 0.05
    done
    sleep 0.3
    kill -KILL "$(awk '/ ready$/ && $2 == 1 { print $4 }' "$out")"
    wait "$launcher" 2>/dev/null
    code=$?
    [ "$code" != 0 ] && [ "$code" != 124 ] || fail "exit code $code"
}

command -v mpirun >/dev/null || exit 77
COC_EMULATOR_NCCL_VERSION=31002 run 2 60 run
grep -q '3\.10\.2' "$err" || { echo "NCCL is not emulated here"; exit 77; }
for test in nothing_wrong_is_no_failure a_device_that_stops_is_named \
    the_first_one_may_be_the_late_one a_computing_host_is_named the_first_step_has_more_time \
    a_start_that_hangs_is_ended an_abort_that_hangs_is_ended \
    what_sees_no_abort_is_ended_at_once what_nccl_reports_is_passed_on \
    two_ranks_on_a_device_are_refused another_nccl_is_refused a_killed_rank_ends_all; do
    before=$failures
    $test
    [ "$failures" = "$before" ] && echo "ok     $test (last: ${took:-0} ms)" || echo "FAILED $test"
done
[ "$failures" = 0 ]
