"""What stages are given: programs with time limits, folders, and how a stage can end."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import tempfile
import time

TREE = pathlib.Path(__file__).resolve().parents[2]
NOT_POSSIBLE = 77  # exit code of a test that lacks something
WITHOUT_CUDNN = "model.conv: cudnn is not built in"  # what our programs say then


class Failed(Exception):
    """A stage did not hold. `data` is kept all the same."""

    def __init__(self, says, data=None):
        super().__init__(says)
        self.data = data or {}


class NotPossible(Exception):
    """This machine cannot do it; not a fault of ours."""

    def __init__(self, says, data=None):
        super().__init__(says)
        self.data = data or {}


@dataclasses.dataclass
class Finished:
    code: int
    text: str  # standard output and error, in their order
    seconds: float
    late: bool  # ended because its time was up

    def last_line(self):
        lines = [line for line in self.text.splitlines() if line.strip()]
        return lines[-1].strip() if lines else "said nothing"

    def find(self, *words):
        """The first line that holds one of the words."""
        for line in self.text.splitlines():
            if any(word in line for word in words):
                return line.strip()
        return None


def read_environment(path):
    pairs = (line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
    return {name: value for name, value in pairs}


def parents():
    """{process id: that of its parent}"""
    found = {}
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % number, encoding="utf-8", errors="replace") as file:
                found[int(number)] = int(file.read().rsplit(")", 1)[1].split()[1])
        except OSError:  # it has ended
            continue
    return found


def descendants(pid):
    known, found = parents(), [pid]
    for one in found:
        found += [child for child, parent in known.items() if parent == one]
    return found[1:]


def end_all(process):
    """A program and all that it started, also in groups of their own, as mpirun's ranks are."""
    started = descendants(process.pid)
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    known = parents()
    for pid in started:
        # one that has ended may have left its number to a stranger
        if known.get(pid) in started + [process.pid, 1]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


class Context:
    """emulated: tiny shapes on the emulator. until: time.monotonic() when all must have ended."""

    def __init__(self, options, until):
        self.emulated, self.quick = options.emulated, options.quick
        self.options, self.until = options, until
        self.build = pathlib.Path(options.build).resolve() if options.build else None
        self.out = pathlib.Path(options.out).resolve()
        self.work = self.out.parent / (self.out.name + ".work")
        self.prefix = pathlib.Path(options.prefix) if options.prefix else None
        self.stage_until = until
        self.found = {}  # what earlier stages leave for later ones
        self.out.mkdir(parents=True, exist_ok=True)
        self.work.mkdir(parents=True, exist_ok=True)
        self.log = open(self.out / "log.txt", "w", encoding="utf-8")

    # ---- time ----

    def left(self):
        return min(self.until, self.stage_until) - time.monotonic()

    # ---- programs ----

    def test(self, name):
        return str(self.build / "tests" / name)

    @property
    def cocola(self):
        return str(self.build / "cocola")

    def environment(self, more=None):
        """Of our programs."""
        env = dict(
            os.environ,
            OMPI_ALLOW_RUN_AS_ROOT="1",
            OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
            OMPI_MCA_btl_vader_single_copy_mechanism="none",
            OMPI_MCA_mpi_yield_when_idle="1",
            OMP_WAIT_POLICY="passive",
            COCOLA_SOURCE=str(TREE),
            PYTHONUNBUFFERED="1",
        )
        if self.emulated:
            env.setdefault("OMP_NUM_THREADS", "1")
        if self.prefix:
            for name, value in read_environment(self.prefix / "environment").items():
                old = os.environ.get(name)
                env[name] = (
                    value + ":" + old if name in ("PATH", "LD_LIBRARY_PATH") and old else value
                )
        packed = TREE / "tests/device/packages/golden"
        if packed.is_dir() and "COCOLA_GOLDEN" not in os.environ:
            env["COCOLA_GOLDEN"] = str(packed)
        env.update(more or {})
        return env

    def run(self, command, limit=None, env=None, ours=True, cwd=None):
        """Runs to its end or `limit` seconds. ours: with the libraries of the unpacked packages."""
        command = [str(word) for word in command]
        limit = max(0.1, min(limit or 1e9, self.left()))
        begin = time.monotonic()
        self.note("$ " + " ".join(command))
        late = False
        with tempfile.TemporaryFile("w+", errors="replace", dir=self.work) as out:
            process = self.start(command, env, ours, cwd, out)
            try:
                process.wait(limit)
            except subprocess.TimeoutExpired:
                late = True
                end_all(process)
            out.seek(0)
            text = out.read()
        finished = Finished(process.returncode, text, time.monotonic() - begin, late)
        how = "stopped" if late else "exit %d" % finished.code
        self.note("%s\n[%s after %.1f s]" % (text.rstrip(), how, finished.seconds))
        return finished

    def start(self, command, env=None, ours=True, cwd=None, out=None):
        """The same, not waited for; the caller ends it (end_all)."""
        env = self.environment(env) if ours else dict(os.environ, **(env or {}))
        return subprocess.Popen(
            [str(word) for word in command],
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=env,
            cwd=cwd or self.work,
            start_new_session=True,
        )

    def must(self, command, what, limit=None, **more):
        """Runs a program that has to work."""
        finished = self.run(command, limit, **more)
        if finished.late:
            raise Failed("%s: not done after %.0f s" % (what, finished.seconds))
        if finished.code == NOT_POSSIBLE:
            raise NotPossible(
                "%s: %s"
                % (what, finished.find("skipped", "no GPU", "CUDA") or finished.last_line())
            )
        if finished.code != 0:
            raise Failed(
                "%s: exit code %d: %s"
                % (
                    what,
                    finished.code,
                    finished.find("failed", "cocola:", "error") or finished.last_line(),
                )
            )
        return finished

    def ranks(self, number, command, **more):
        """The command on so many MPI ranks."""
        return ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(number)] + list(command)

    def note(self, text):
        self.log.write(text + "\n")
        self.log.flush()
