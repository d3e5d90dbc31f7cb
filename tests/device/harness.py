"""What stages are given: programs with time limits, folders, and how a stage can end."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import time

TREE = pathlib.Path(__file__).resolve().parents[2]
NOT_POSSIBLE = 77  # exit code of a test that lacks something


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


def end_group(process):
    """A program and all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


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
        process = self.start(command, env, ours, cwd)
        late = False
        try:
            text, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            late = True
            end_group(process)
            text = process.stdout.read()
        finished = Finished(process.returncode, text, time.monotonic() - begin, late)
        self.note(
            text.rstrip()
            + "\n[%s after %.1f s]"
            % ("stopped" if late else "exit %d" % finished.code, finished.seconds)
        )
        return finished

    def start(self, command, env=None, ours=True, cwd=None, out=subprocess.PIPE):
        """The same, not waited for; the caller ends it (end_group)."""
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
