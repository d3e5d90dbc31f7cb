#!/usr/bin/env bash
# How a program on ranks fails: every way of going wrong ends all ranks in time, with one line that
# names rank and host. Each function begins with what must hold.
set -u
export OMP_NUM_THREADS=1
program=./driven_comm
out=watchdog.out err=watchdog.err
. "$(dirname "$0")/watchdog.sh"

a_stopped_rank_is_named() {
    # A rank that is stopped answers nothing; with a deadline of 2 s the others name it, the step and
    # the collective, and the job is over within 10 s.
    for rank in 0 2; do
        start 3 2 run
        sleep 0.2
        kill -STOP "$(pid_of $rank)"
        finish
        [ "$code" = 6 ] || fail "exit code $code"
        [ "$took" -lt 10000 ] || fail "took $took ms"
        expect "rank [0-9]* on $host: step [0-9]*, collective '[a-z]*': waited 2 s.*: rank $rank on $host does not answer"
    done
}

a_computing_rank_is_named() {
    # A rank that computes too long still answers: it is named with what it did last.
    start 3 2 compute 1
    finish
    [ "$code" = 6 ] || fail "exit code $code"
    [ "$took" -lt 8000 ] || fail "took $took ms"
    expect "rank [02] on $host: step 3, collective 'gradient': .*: rank 1 on $host is late: step 3, computing for [0-9]* s after 'embeddings'"
}

a_rank_that_does_not_rotate_is_named() {
    # In a rotation a rank waits for two others only, however much is rotated: of four the one opposite
    # rotates and goes on. Who is late is named all the same.
    for scenario in rotate rotate-much; do
        start 4 2 $scenario 2
        finish
        [ "$code" = 6 ] || fail "exit code $code"
        [ "$took" -lt 8000 ] || fail "took $took ms"
        grep -q "rank 0 rotated" "$out" || fail "$scenario: rank 0 waited for rank 2"
        expect "rank [013] on $host: step 3, collective '[a-z]*': .*: rank 2 on $host is late: step 3, computing for [0-9]* s after 'gradient'"
    done
}

an_absent_rank_ends_the_start() {
    # A rank that never comes to the first exchange cannot be named, but the others do not wait for it
    # for ever: the first one of them speaks.
    for rank in 0 1; do
        timeout -k 1 20 mpirun --oversubscribe -n 3 "$program" 2 absent $rank >"$out" 2>"$err" &
        launcher=$!
        finish
        [ "$code" = 6 ] || fail "exit code $code"
        [ "$took" -lt 10000 ] || fail "took $took ms"
        expect "step 0, collective 'start': waited [27] s (comm.deadline): rank $((1 - rank)) on $host is here, another one is not"
    done
}

a_rank_that_left_its_group_is_named() {
    # Collectives are counted a communicator. A member of a group of two goes on in the world, where
    # more collectives have been started than in the group: who waits in the group names it.
    start 3 2 apart
    finish
    [ "$code" = 6 ] || fail "exit code $code"
    [ "$took" -lt 8000 ] || fail "took $took ms"
    expect "rank 0 on $host: step 3, collective 'batch norm': .*: rank 1 on $host is late: step 3, waiting for [0-9]* s in 'gradient'"
}

a_failing_rank_ends_all() {
    # One rank returns an error while the others wait for it: all end within 5 s with its line, and
    # the exit code is that of its status.
    start 4 60 fail 2
    finish
    [ "$code" = 3 ] || fail "exit code $code"
    [ "$took" -lt 5000 ] || fail "took $took ms"
    expect "rank 2 on $host: song.wav: 0 samples; remove it (tests/driven_comm.c:[0-9]*)"
}

an_agreed_failure_is_said_once() {
    # All ranks know of the failure; only the one that failed speaks.
    start 4 60 agree 3
    finish
    [ "$code" = 3 ] || fail "exit code $code"
    [ "$took" -lt 5000 ] || fail "took $took ms"
    expect "rank 3 on $host: song.wav"
}

a_failure_of_all_is_said_once() {
    # Four ranks fail in the same moment without agreeing: one line all the same.
    start 4 60 every
    finish
    [ "$code" = 3 ] || fail "exit code $code"
    [ "$took" -lt 5000 ] || fail "took $took ms"
    expect "rank [0-3] on $host: song.wav"
}

a_killed_rank_ends_all() {
    # A rank that is killed says nothing; the launcher ends the others at once.
    start 3 60 run
    kill -KILL "$(pid_of 1)"
    finish
    [ "$code" != 0 ] || fail "exit code 0"
    [ "$took" -lt 5000 ] || fail "took $took ms"
}

a_signal_stops_all_at_one_step() {
    # TERM, INT or USR1 on one rank: all leave the loop in the same step, and the exit code says that
    # the program is to be started again.
    for signal in TERM INT USR1; do
        start 3 60 run
        sleep 0.1
        kill -$signal "$(pid_of 1)"
        finish
        [ "$code" = 75 ] || fail "$signal: exit code $code"
        expect "stopped in step [0-9]*"
    done
}

a_second_interrupt_ends_the_process() {
    # The first one asks; a process that computes on is ended by the second.
    : >"$out"
    timeout -k 1 60 "$program" 60 compute 0 >"$out" 2>"$err" &
    launcher=$!
    for _ in $(seq 200); do grep -q computing "$out" && break; sleep 0.05; done
    kill -INT "$(pid_of 0)"
    sleep 0.3
    kill -0 "$launcher" || fail "the first interrupt ended it"
    kill -INT "$(pid_of 0)"
    finish
    [ "$code" = 130 ] || fail "exit code $code"
}

copies_of_one_rank_are_refused() {
    # Slurm has started several tasks, MPI sees one rank: the first task says what to do, the others
    # end silently.
    SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=0 "$program" 60 run >"$out" 2>"$err"
    code=$?
    [ "$code" = 6 ] || fail "exit code $code"
    expect "Slurm started 2 tasks, but MPI sees one rank.*--mpi=pmix"
    SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=1 "$program" 60 run >"$out" 2>"$err"
    code=$?
    [ "$code" = 6 ] || fail "exit code $code"
    [ -s "$err" ] && fail "the second task speaks"
    SLURM_STEP_NUM_TASKS=1 timeout 20 "$program" 60 fail 0 >"$out" 2>"$err"
    expect "song.wav"
}

run_all a_stopped_rank_is_named a_computing_rank_is_named \
    a_rank_that_does_not_rotate_is_named an_absent_rank_ends_the_start \
    an_absent_rank_ends_the_start a_rank_that_left_its_group_is_named \
    a_failing_rank_ends_all an_agreed_failure_is_said_once \
    a_failure_of_all_is_said_once a_killed_rank_ends_all \
    a_signal_stops_all_at_one_step a_second_interrupt_ends_the_process \
    copies_of_one_rank_are_refused
