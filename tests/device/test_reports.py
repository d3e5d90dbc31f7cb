"""Goals and page of a run on a GPU, made up here; the age of results. No GPU, no build.

usage: test_reports.py
"""

import json
import pathlib
import tempfile
import unittest

import checks
import goals
import harness
import last_results
import machine
import page
import results as results_file
import run
import speed

ROW = {"precision": "bf16", "conv": "own", "host_megabytes": 100}
BENCH_OPS = """\
layer     output    channels     k/s   fwd ms   GF/s   GB/s   bwd ms   GF/s   GB/s  sums ms   GB/s
copy       32 x 250   96 -> 96   -/-    0.500      - 3000.0        -      -      -        -      -
stem       32 x 250    2 -> 32   3/2    0.437    0.1 1500.0    0.554    0.1  750.0    0.050 2700.0
1.expand   32 x 250   16 -> 96   1/1    1.630    0.1  900.0    2.232    0.1  600.0    0.000    0.0
1.pool     16 x 125   96 -> 96   -/-    0.033      - 2100.0        -      -      -        -      -
forward 0.100 s (1.0 GFLOP/s), backward with sums 0.200 s (1.0 GFLOP/s), both 0.300 s
"""
BENCH_STEP = """\
speed     100.0 pairs/s, 200.0 clips/s

mean of rank 0                  ms   GFLOP/s
stem, forward                  1.3       6.9
batch norm                     1.5
all operations                 2.8       3.0

encoder                        2.9
"""


def stage_data(rate):
    """Everything at `rate` times the wanted speed."""
    roof, rows = speed.read_operations(BENCH_OPS)
    steps = [(64, 2.5 / rate), (1024, 34.0 / rate)]
    own = [dict(ROW, clips=c, ms=ms, clips_per_second=1e3 * c / ms) for c, ms in steps]
    return {
        "throughput": {
            # first, and slow: no goal may be judged by it
            "rows": [dict(row, conv="cudnn", ms=1e4, clips_per_second=1e-3) for row in own] + own,
            "notes": [],
            "kinds": speed.read_kinds(BENCH_STEP),
            "kinds_clips": 1024,
        },
        "features": {
            "clips": 1024,
            "rows": [
                {"what": "mix of 3 stems", "ms": 20.0, "clips_per_second": 51200.0},
                {"what": "HPS features", "ms": 6 / rate, "clips_per_second": 170667 * rate},
            ],
        },
        "loss": {
            "rows": [
                {"rows": 131072, "columns": 131072, "d": 512, "precision": precision}
                | {"ms": ms, "tflops": 52800 / ms}
                for precision, ms in (("tf32x3", 1e5), ("tf32", 80.0))
            ]
        },
        "embedding": {
            "rows": [
                {"precision": "bf16", "source": source, "clips": 1024, "ms": 1.0}
                | {"clips_per_second": 1e5 * rate}
                for source in ("features", "samples")
            ]
        },
        "operations_speed": {
            "precision": "bf16",
            "clips": 1024,
            "roof_gbs": roof,
            "rows": rows,
            "both_ms": 300.0,
        },
        "from_store": {"clips": 1024, "clips_per_second": 3e4 * rate, "seconds": {"wait": 0.002}},
        "pytorch": {
            "rows": [
                {"variant": "compiled", "pairs": 512, "what": "PyTorch", "median": 0.05}
                | {"clips_per_second": 2e4}
            ]
        },
    }


def make(rate, without=()):
    data = stage_data(rate)
    made = {
        "schema": results_file.SCHEMA,
        "began": "2026-01-02T03:04:05Z",
        "seconds": 500.0,
        "complete": True,
        "emulated": False,
        "commit": "0" * 40,
        "sources": machine.sources_hash(),
        "machine": machine.describe(),
        "stages": [
            {
                "name": stage.name,
                "title": stage.title,
                "status": "passed",
                "says": "seen | so",
                "seconds": 1.0,
                "limit": stage.limit,
                "data": {} if stage.name in without else data.get(stage.name, {}),
            }
            for stage in run.STAGES
        ],
        "goals": [],
    }
    made["goals"] = goals.judge(made)
    return made


class Reports(unittest.TestCase):
    def test_goals_are_judged(self):
        """What is twice as fast as wanted reaches all goals, what is half as fast only the loss's,
        whose share falls as the rest gets slower."""
        self.assertEqual(results_file.faults(make(2.0)), [])
        self.assertEqual({goal["reached"] for goal in make(2.0)["goals"]}, {True})
        missed = [goal["name"] for goal in make(0.5)["goals"] if goal["reached"] is False]
        self.assertEqual(len(missed), len(make(0.5)["goals"]) - 1)
        self.assertNotIn("share of the loss", " ".join(missed))

    def test_missed_goals_say_why(self):
        """With the operations that take longest, and their share of a copy."""
        why = goals.judge(make(0.5))[0]["why"]
        self.assertIn("1.expand backward 2.23 ms at 20 % of a copy", why)

    def test_nothing_measured_is_neither(self):
        """For any stage that is missing; and no page fails for it."""
        for name in stage_data(1.0):
            made = make(2.0, without=[name])
            self.assertEqual(results_file.faults(made), [])
            self.assertNotIn(False, [goal["reached"] for goal in made["goals"]])
            page.markdown(made)
        made = make(1.0, without=list(stage_data(1.0)))
        self.assertEqual({goal["reached"] for goal in made["goals"]}, {None})

    def test_tables_are_read(self):
        roof, rows = speed.read_operations(BENCH_OPS)
        self.assertEqual((roof, len(rows)), (3000.0, 3))
        self.assertEqual((rows[0]["forward_share"], rows[0]["sums_ms"]), (0.5, 0.05))
        self.assertIsNone(rows[2]["backward_ms"])
        kinds = [(kind["kind"], kind["ms"]) for kind in speed.read_kinds(BENCH_STEP)]
        self.assertIn(("batch norm", 1.5), kinds)

    def test_sanitizers_leave_cudnn_to_memcheck(self):
        """Own kernels under all three tools; a step with cuDNN's under memcheck, at the end."""

        class Ctx:
            cocola = "cocola"

            def test(self, name):
                return name

        runs = [(check, name) for check, name, _ in checks.sanitizer_runs(Ctx())]
        self.assertEqual(runs[-1], ("memcheck", "step bf16, cuDNN"))
        self.assertEqual(len(runs), 1 + 3 * 4)
        self.assertEqual(len([run for run in runs if "cuDNN" in run[1]]), 1)

    def test_sanitizers_are_understood(self):
        """A tool that is refused is neither passed nor failed, and hazards fail."""
        said = {
            "========= ERROR SUMMARY: 0 errors": (0, "ok"),
            "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)": (0, "ok"),
            "========= RACECHECK SUMMARY: 2 hazards displayed (0 errors, 2 warnings)": (
                0,
                "failed",
            ),
            "========= ERROR SUMMARY: 3 errors": (9, "failed"),
            "========= Error: Device not supported. Please refer to the guide": (1, "refused"),
            "Segmentation fault": (139, "failed"),
        }
        for text, (code, state) in said.items():
            done = harness.Finished(code, text + "\n", 1.0, False)
            self.assertEqual(checks.judge_sanitizer(done)[0], state, text)
        late = harness.Finished(0, "========= ERROR SUMMARY: 0 errors", 60.0, True)
        self.assertEqual(checks.judge_sanitizer(late)[0], "late")

    def test_page_holds_what_was_seen(self):
        text = page.markdown(make(2.0))
        for word in ("## Goals", "| 1.expand |", "seen \\| so", "PyTorch", "| stem, forward |"):
            self.assertIn(word, text)
        page.text(make(2.0))

    def test_faults_are_found(self):
        """A results.json with a hole or another type is none."""
        made = make(1.0)
        del made["stages"][3]["says"]
        made["goals"][0]["reached"] = "yes"
        self.assertEqual(len(results_file.faults(made)), 2)
        del made["commit"]
        self.assertEqual(results_file.faults(made), ["results: no commit"])

    def test_age_is_told(self):
        """In commits, and whether kernels are the same; or that there are no results."""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "page.md"
            self.assertIn("not yet run on a GPU", last_results.say(path))
            path.write_text(page.markdown(make(1.0)))
            self.assertIn("the same kernels", last_results.say(path))
            self.assertIn("2026-01-02", last_results.say(path))
            path.write_text(page.markdown(dict(make(1.0), sources="other")))
            self.assertIn("kernels have changed", last_results.say(path))
            head = machine.ask("git", "rev-parse", "HEAD")
            if head:
                path.write_text(page.markdown(dict(make(1.0), commit=head)))
                self.assertIn("0 commits old", last_results.say(path))

    def test_results_are_json(self):
        """No NaN gets into the file."""
        with self.assertRaises(ValueError):
            results_file.write(pathlib.Path("unused"), dict(make(1.0), seconds=float("nan")))
        json.dumps(make(1.0), allow_nan=False)


if __name__ == "__main__":
    unittest.main()
