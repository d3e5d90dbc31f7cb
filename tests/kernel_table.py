"""Compares what the compiler gave every kernel (registers, static shared memory, stack) for compute
capability 9.0 with tests/kernel_table.txt. A kernel that takes many more registers runs with fewer
threads at a time, and nothing else would tell. Any use of a stack, which lies in slow memory, fails.

usage: kernel_table.py BUILD_FOLDER [--update]

The build leaves the compiler's words in OBJECT.ptxas (cmake/keep_ptxas.py). Exit code 77: nothing to
compare, as in a build without nvcc or for other GPUs.
"""
import pathlib
import re
import subprocess
import sys

ARCHITECTURE = "sm_90"
GROWTH = 8  # registers that a change may add without being looked at: the unit in which they are given out
ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLE = pathlib.Path(__file__).with_name("kernel_table.txt")
HEAD = """# What the compiler gives every kernel of the backend cuda for compute capability 9.0. Compared by
# tests/kernel_table.py, which also writes it: python3 tests/kernel_table.py BUILD_FOLDER --update
# registers, bytes of static shared memory, kernel; compiled by nvcc %s
"""


def demangle(names):
    text = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    return dict(zip(names, text.splitlines()))


def short(file, demangled):
    """depthwise_forward.cu: depthwise<float, 3, 1>. Kernels of two files may have one name."""
    name = re.sub(r"\(anonymous namespace\)::|coc::|^void ", "", demangled)
    depth = 0
    for place, letter in enumerate(name):
        depth += (letter == "<") - (letter == ">")
        if letter == "(" and depth == 0 and place > 0:
            name = name[:place]
            break
    name = re.sub(r"\([\w ]+\)(?=-?\d)", "", name).replace("__nv_bfloat16", "bf16")
    return "%s: %s" % (file, name)


def read_build(folder):
    """[(file, mangled name, registers, shared bytes, stack bytes)]"""
    found = []
    for path in sorted(folder.rglob("*.cu.o.ptxas")):
        if not any(ROOT.glob("*/cuda/" + path.name.removesuffix(".o.ptxas"))):
            continue  # left over from a file that is gone
        kernel = None
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = re.search(r"Compiling entry function '(\w+)' for '(\w+)'", line)
            if entry:
                kernel = entry.group(1) if entry.group(2) == ARCHITECTURE else None
            stack = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line)
            if stack:
                slow = sum(int(n) for n in stack.groups())
            used = re.search(r"Used (\d+) registers", line)
            if used and kernel:
                shared = re.search(r"(\d+) bytes smem", line)
                found.append((path.name.removesuffix(".o.ptxas"), kernel, int(used.group(1)),
                              int(shared.group(1)) if shared else 0, slow))
                kernel = None
    names = demangle([row[1] for row in found])
    kernels = {}
    for file, kernel, *row in found:
        name = short(file, names[kernel])
        kernels[name if name not in kernels else "%s: %s" % (file, names[kernel])] = tuple(row)
    return kernels


def read_release(folder):
    for line in (folder / "CMakeCache.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("COCOLA_NVCC:"):
            text = subprocess.run([line.split("=", 1)[1], "--version"], capture_output=True, text=True, check=True)
            return re.search(r"release ([\d.]+)", text.stdout).group(1)
    return None


def read_table():
    """(release of the compiler, {kernel: (registers, shared bytes)})"""
    if not TABLE.exists():
        return None, {}
    text = TABLE.read_text(encoding="utf-8")
    rows = [line.split(None, 2) for line in text.splitlines() if line and line[0] != "#"]
    release = re.search(r"compiled by nvcc ([\d.]+)", text)
    return release and release.group(1), {row[2]: (int(row[0]), int(row[1])) for row in rows}


def write_table(kernels, release):
    lines = ["%4d %6d  %s\n" % (row[0], row[1], name) for name, row in sorted(kernels.items())]
    TABLE.write_text(HEAD % release + "".join(lines), encoding="utf-8")
    print("%s: %d kernels" % (TABLE, len(lines)))


def compare(kernels, table, same_compiler):
    faults, notes = [], []
    for name, (registers, shared, slow) in sorted(kernels.items()):
        if slow:
            faults.append("%s: %d bytes of stack and spills" % (name, slow))
        if name not in table:
            faults.append("%s: %d registers, not in the table" % (name, registers))
            continue
        told = "%s: %d registers, %d bytes shared; the table has %d, %d" % ((name, registers, shared) + table[name])
        if registers > table[name][0] + GROWTH:
            (faults if same_compiler else notes).append(told)
        elif (registers, shared) != table[name]:
            notes.append(told)
    faults += ["%s: in the table, but not built" % name for name in sorted(table.keys() - kernels.keys())]
    return faults, notes


def main():
    folder = pathlib.Path(sys.argv[1])
    release = read_release(folder)
    kernels = read_build(folder) if release else {}
    if not kernels:
        print("skipped: %s holds no kernels that nvcc compiled for %s" % (folder, ARCHITECTURE))
        return 77
    if "--update" in sys.argv[2:]:
        write_table(kernels, release)
        return 0
    made_by, table = read_table()
    faults, notes = compare(kernels, table, made_by == release)
    if made_by != release:
        print("the table is of nvcc %s, this build of %s: registers are not held against it" % (made_by, release))
    print("%d kernels, %d changed within limits, %d faults" % (len(kernels), len(notes), len(faults)))
    for line in notes + ["FAULT: " + fault for fault in faults]:
        print("  " + line)
    if faults:
        print("where a change is meant: python3 tests/kernel_table.py %s --update" % folder)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
