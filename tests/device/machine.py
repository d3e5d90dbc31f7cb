"""What is tested, and on what."""

import hashlib
import os
import platform
import re
import subprocess

from harness import TREE


def sources_hash(tree=TREE):
    """Of all kernels and their headers: two trees of one hash compute the same on a GPU."""
    digest = hashlib.sha256()
    for path in sorted(p for kind in ("cu", "cuh") for p in tree.glob("*/cuda/*." + kind)):
        digest.update(str(path.relative_to(tree)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def ask(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=TREE)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def commit(given=None):
    """Given, or git's, or what pack.sh wrote down for these very kernels."""
    if given:
        return given
    head = ask("git", "rev-parse", "HEAD")
    if head:
        return head + (
            " with changes" if ask("git", "status", "--porcelain", "--untracked-files=no") else ""
        )
    packed = TREE / "tests/device/packages/COMMIT"
    words = packed.read_text().split() if packed.exists() else []
    if len(words) == 2 and words[1] == sources_hash():
        return words[0] + " or later"
    return "unknown"


def gpu():
    """[{name, driver, memory, capability}], as the driver's tool tells."""
    names = ["name", "driver_version", "memory.total", "compute_cap"]
    text = ask("nvidia-smi", "--query-gpu=" + ",".join(names), "--format=csv,noheader")
    return [
        dict(
            zip(
                ("name", "driver", "memory", "capability"),
                (word.strip() for word in line.split(",")),
            )
        )
        for line in text.splitlines()
        if line.count(",") == len(names) - 1
    ]


def describe():
    return {
        "gpus": gpu(),
        "processors": os.cpu_count(),
        "kernel": platform.release(),
        "nvcc": nvcc_release(),
        "libraries": {},
    }


def nvcc_release():
    found = re.search(
        r"release ([\d.]+), V([\d.]+)",
        ask("nvcc", "--version") or ask("/usr/local/cuda/bin/nvcc", "--version"),
    )
    return found.group(2) if found else ""


def libraries(info):
    """{library: version here} of what `cocola info` printed."""
    rows = re.findall(r"^(CUDA runtime|cuBLAS|cuDNN|NCCL|HDF5|MPI) {2,}(.*)$", info, re.M)
    found = {name: re.split(r" {2,}", text.strip())[-1] for name, text in rows}
    driver = re.search(r"^driver for CUDA up to ([\d.]+)", info, re.M)
    if driver:
        found["driver for CUDA up to"] = driver.group(1)
    return found
