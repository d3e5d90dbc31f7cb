#!/usr/bin/env bash
# Installs the packages that are missing, builds, and runs the test suite. --build: only the first two.
# --gpu: of the suite only the backend for GPUs.
set -euo pipefail
cd "$(dirname "$0")"
missing=$(sed 's/#.*//' packages.txt | xargs -r dpkg-query -W -f '${Package} ${Status}\n' 2>/dev/null | grep -c 'install ok installed' || true)
wanted=$(sed 's/#.*//' packages.txt | grep -c '[a-z]')
if [ "$missing" -ne "$wanted" ]; then
    sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq && sed 's/#.*//' packages.txt | DEBIAN_FRONTEND=noninteractive xargs $sudo apt-get install -y -qq --no-install-recommends
fi
configure() { cmake --preset "$1" >build-configure.log 2>&1 || { cat build-configure.log; exit 1; }; rm -f build-configure.log; }
if [ "${1:-}" != --gpu ]; then
    configure release
    cmake --build build
    [ "${1:-}" = --build ] && exit 0
    ctest --test-dir build --output-on-failure -LE slow -j "$(nproc)" # those of several ranks run alone
fi
# The backend for GPUs, which needs none here: its kernels run on the CPU (tests/emulator).
configure emulated
cmake --build build-emulated --target cuda_tests
ctest --test-dir build-emulated --output-on-failure -L cuda -LE slow -j "$(nproc)"
python3 tests/device/last_results.py
