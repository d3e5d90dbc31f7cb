#!/usr/bin/env python3
"""Runs a compiler with -Xptxas=-v and keeps what ptxas says of every kernel (registers, shared memory,
stack) in OBJECT.ptxas, for tests/kernel_table.py. Everything else is printed as usual.

usage: keep_ptxas.py NVCC ARGUMENT...
"""
import re
import subprocess
import sys

OURS = re.compile(r"ptxas info|^\s+\d+ bytes stack frame|^\s+Function properties")


def main():
    command = sys.argv[1:]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    lines = done.stdout.splitlines(keepends=True)
    kept = [line for line in lines if OURS.search(line)]
    sys.stderr.writelines(line for line in lines if not OURS.search(line))
    if kept and "-o" in command:
        with open(command[command.index("-o") + 1] + ".ptxas", "w", encoding="utf-8") as file:
            file.writelines(kept)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
