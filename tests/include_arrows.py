"""Fails when an #include goes against the arrows of ARCHITECTURE.md, or names a file by a path
that does not start at the root.

usage: include_arrows.py SOURCE_FOLDER
"""
import pathlib
import re
import sys

MAY_INCLUDE = {
    "base": {"base"},
    "configs": {"configs", "base"},
    "comm": {"comm", "configs", "base"},
    "preprocess": {"preprocess", "comm", "configs", "base"},
    "model": {"model", "comm", "configs", "base"},
    "train": {"train", "preprocess", "model", "comm", "configs", "base"},
    "tests": {"tests", "train", "preprocess", "model", "comm", "configs", "base"},
}


def main():
    root = pathlib.Path(sys.argv[1])
    faults, read = [], 0
    for folder, allowed in MAY_INCLUDE.items():
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in {".c", ".h", ".cu", ".cuh"}:
                continue
            for number, line in enumerate(path.read_text().splitlines(), 1):
                match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
                if not match:
                    continue
                read += 1
                target = match.group(1)
                where = f"{path.relative_to(root)}:{number}"
                if "/" not in target:
                    faults.append(f"{where}: \"{target}\" must be written from the root")
                elif target.split("/")[0] not in allowed:
                    faults.append(f"{where}: {folder} may not include {target}")
    print(f"{read} includes read, {len(faults)} against the arrows")
    for fault in faults:
        print("  " + fault)
    return 1 if faults or read == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
