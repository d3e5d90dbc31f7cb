#!/usr/bin/env bash
# Downloads the free songs and the soundfont of the quickstart from Debian's or Ubuntu's package servers and unpacks
# them into DIR, one folder a package. Nothing is installed. Packages that are there already are skipped.
set -euo pipefail
export LC_ALL=C

packages=(openttd-openmsx simutrans-data freedoom freedm timgm6mb-soundfont)

usage() {
    cat <<TEXT
usage: scripts/songs.sh DIR

Unpacks ${packages[*]}
into DIR (about 110 MB; 31 MB are downloaded). Needs apt-get and dpkg, and no rights: nothing is installed.
Run again it fetches what is missing.
TEXT
}
stop() { printf 'songs: %s\n' "$1" >&2; exit 1; }

case ${1:-} in
    -h | --help) usage; exit 0 ;;
    '' | -*) usage >&2; exit 2 ;;
esac
[ $# -eq 1 ] || { usage >&2; exit 2; }
mkdir -p -- "$1" 2>/dev/null || stop "$1: the folder cannot be created"
[ -w "$1" ] || stop "$1: the folder cannot be written to"
dir=$(cd -- "$1" && pwd)

missing=()
for package in "${packages[@]}"; do
    [ -d "$dir/$package" ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    echo "songs: all ${#packages[@]} packages are in $1"
    exit 0
fi
for tool in apt-get apt-cache dpkg; do
    command -v $tool >/dev/null ||
        stop "$tool was not found: this needs Debian or Ubuntu; elsewhere give cocola render a folder of your own MIDI files and a soundfont"
done
free=$(df -Pk -- "$dir" | awk 'NR == 2 { print int($4 / 1024) }')
[ "$free" -ge 200 ] || stop "$1: only $free MB are free on its disk; 200 are needed"

rm -rf -- "$dir"/.download-* # of a run that was killed
work=$(mktemp -d -- "$dir/.download-XXXXXX") || stop "$1: no folder can be made in it"
log=$work/log
trap 'rm -rf -- "$work"' EXIT
trap 'exit 130' INT TERM

# What the last command said, in a line: a full disk, else the first error of apt-get or dpkg, else its last words.
reason() {
    { grep -m 1 -i 'no space' "$log" || grep -m 1 -E '^(E|dpkg[a-z-]*|tar):' "$log" || tail -n 1 "$log"; } | cut -c 1-300
}

# apt-get hands downloads to the user _apt when root runs it; that user cannot write to everybody's folders.
apt=(apt-get -q -o APT::Sandbox::User=root -o Acquire::Retries=3)

known() { [ -n "$(apt-cache madison "$1" 2>/dev/null)" ]; }

unknown=()
for package in "${missing[@]}"; do known "$package" || unknown+=("$package"); done
if [ ${#unknown[@]} -gt 0 ]; then
    echo "songs: apt does not know ${unknown[*]}; fetching its package lists"
    if [ "$(id -u)" = 0 ]; then
        apt-get update -q -o APT::Update::Error-Mode=any >"$log" 2>&1 || stop "apt-get update failed: $(reason)"
    elif sudo -n true 2>/dev/null; then
        sudo -n apt-get update -q -o APT::Update::Error-Mode=any >"$log" 2>&1 || stop "apt-get update failed: $(reason)"
    else
        stop "apt does not know ${unknown[*]}: run 'sudo apt-get update' and start again"
    fi
    for package in "${unknown[@]}"; do
        known "$package" ||
            stop "no package $package is offered by the sources in /etc/apt (on Ubuntu: add the component universe)"
    done
fi

cd -- "$work"
for package in "${missing[@]}"; do
    echo "songs: $package"
    rm -f -- *.deb
    "${apt[@]}" download "$package" >"$log" 2>&1 || stop "$package cannot be downloaded: $(reason)"
    dpkg -x "$package"_*.deb "$work/$package" >"$log" 2>&1 || stop "$package cannot be unpacked: $(reason)"
    mv -- "$work/$package" "$dir/$package" || stop "$1: $package cannot be moved into it"
done
echo "songs: ${#packages[@]} packages are in $1"
