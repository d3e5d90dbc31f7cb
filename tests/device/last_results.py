"""Says how old the last results on a GPU are, in commits, and whether kernels have changed since.

usage: last_results.py [PAGE]          (docs/gpu_results.md)
"""

import pathlib
import re
import sys

from harness import TREE
from machine import ask, sources_hash


def say(path):
    if not path.exists():
        return "backend cuda: not yet run on a GPU"
    text = path.read_text(encoding="utf-8")
    field = {
        name: value
        for name, value in re.findall(
            r"^\| (date|commit|GPU|kernels)[^|]* \| ([^|]*?) \|$", text, re.M
        )
    }
    commit = re.match(r"[0-9a-f]{7,40}", field.get("commit", ""))
    age = ask("git", "rev-list", "--count", commit.group(0) + "..HEAD") if commit else ""
    old = "%s commits old" % age if age else "of a commit that is not in this history"
    same = (
        "the same kernels"
        if field.get("kernels") == sources_hash()
        else "kernels have changed since"
    )
    return "backend cuda: last run on a GPU %s (%s), %s; %s" % (
        field.get("date", "?"),
        field.get("GPU", "?"),
        old,
        same,
    )


if __name__ == "__main__":
    print(say(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else TREE / "docs/gpu_results.md"))
