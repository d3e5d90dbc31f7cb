#!/usr/bin/env bash
# One script for a machine with a GPU that has little else: unpacks the libraries that it lacks,
# builds for its GPU, tests and measures the backend cuda, prints a table and writes results.json,
# results.md and log.txt. docs/gpu.md explains it.
#
# usage: tests/device/run.sh [options]
#
#   --emulated           the same on this machine's CPU, tiny: a test of this script
#   --quick              fewer and shorter measurements
#   --only STAGE,...     these stages alone (--list names them)
#   --skip STAGE,...     all but these
#   --limit SECONDS      of all together (default 540); what then is missing is reported as missing
#   --out DIR            for the results (default $OUT, else build-device/results)
#   --build DIR          a finished build folder; otherwise build-device is configured and built
#   --system             use this machine's libraries, also where tests/device/packages has some
#   --commit SHA         what is tested, where git cannot tell
#   --list               the stages
#
# Exit code: 0, also where something was not possible here; 1 a stage failed; 3 time ran out
# before the last stage.
set -euo pipefail
began=$(date +%s)
here=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$here/../.." && pwd)
packages=$here/packages
prefix=$tree/build-device/prefix

unpacked=()
case " $* " in
*" --emulated "* | *" --system "* | *" --list "*) ;;
*)
    if compgen -G "$packages/*.deb" >/dev/null; then
        bash "$here/unpack.sh" "$packages" "$prefix"
        unpacked=(--prefix "$prefix")
    fi
    ;;
esac
exec python3 "$here/run.py" --began "$began" "${unpacked[@]}" "$@"
