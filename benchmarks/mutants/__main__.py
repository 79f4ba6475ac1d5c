"""Mutation testing: one small fault at a time is planted in the package; does a test that runs this line fail?

``map`` runs every test file once, traced, and notes which test runs which lines and how long it takes. ``run`` draws
mutants, an equal share of each file's, and gives each to the tests that run its line, the quickest first, until one
fails. Third-party packages are imported once; each mutant lives in a forked process with a time limit, where an import
hook serves the changed source: no file changes. Linux and macOS; processes that a test starts see no mutant.

    python -m benchmarks.mutants map
    python -m benchmarks.mutants run --count 400 --seed 0

The report is one JSON line a mutant; a second ``run`` skips the mutants that are in it. ``--again --budget 120`` gives
those that survived to more tests.
"""

import argparse
import gc
import hashlib
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from pathlib import Path

from benchmarks.mutants.faults import PACKAGE, Planted, mutants, mutated

ROOMS = ["decoding", "interactions", "batches", "model", "training", "evaluation"]
#: tests that start processes or servers, or are about other rooms.
LEFT_OUT = (
    *("chat", "converter", "distributed", "fuzz", "kills", "soak", "safe_loading", "secrets", "wandb", "trust", "cli"),
    *("benchmarks", "compare", "compat", "config", "export", "imports", "properties", "report", "rules", "tuning"),
)
#: what the last process printed.
LOG = os.path.join(tempfile.gettempdir(), f"mutants-{os.getpid()}.log")
PRELOADED = (
    *("numpy", "pandas", "scipy.sparse", "scipy.stats", "sklearn.cluster", "sklearn.feature_extraction.text", "torch"),
    *("transformers.models.auto.modeling_auto", "transformers.models.llama.modeling_llama", "peft", "hypothesis"),
    *("transformers.models.t5.modeling_t5", "transformers.models.auto.tokenization_auto", "transformers.generation"),
    *("torch.utils.tensorboard", "torch.nn.attention.flex_attention", "torch.distributed.fsdp", "pytest", "rich"),
)


class Watch:
    """What pytest says of every test: seconds, the lines it ran where ``coverage`` is given, and the first failure."""

    def __init__(self, coverage=None):
        self.coverage, self.seconds, self.failed = coverage, defaultdict(float), []

    def pytest_runtest_setup(self, item):
        if self.coverage:
            self.coverage.switch_context(item.nodeid)

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] += report.duration
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_collectreport(self, report):
        if report.failed:
            self.failed.append(f"import of {report.nodeid}")


def forked(work, seconds):
    """Run ``work`` in a process of its own and return what it returns.

    Returns ``None`` after so many seconds of the processor, ten times as many on the clock, or a crash.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "answer")
        if not (process := os.fork()):
            os.setsid()
            log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for descriptor in (1, 2):
                os.dup2(log, descriptor)
            resource.setrlimit(resource.RLIMIT_DATA, (12 << 30, 12 << 30))
            resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
            try:
                Path(folder, "part").write_text(json.dumps(work(Path(folder, "pytest"))))
                Path(folder, "part").rename(file)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        end = time.monotonic() + 10 * seconds
        while os.waitpid(process, os.WNOHANG) == (0, 0):
            if time.monotonic() > end:
                os.killpg(process, signal.SIGKILL)
                os.waitpid(process, 0)
                break
            time.sleep(0.02)
        return json.loads(file.read_text()) if file.exists() else None


def pytest_run(tests, folder, watch):
    """Run test files in this process, reports going to ``watch``; returns pytest's exit code."""
    import pytest

    unused = [word for name in ("cacheprovider", "anyio", "xdist") for word in ("-p", f"no:{name}")]
    options = [*unused, "-q", "-x", "-W", "ignore:Module already imported", f"--basetemp={folder}"]
    return int(pytest.main([*options, *tests], plugins=[watch]))


def map_file(file, target):
    """Trace a test file in a process of its own: which test runs which line."""

    def work(folder):
        import coverage

        tracer = coverage.Coverage(data_file=None, source=[str(PACKAGE)], config_file=False)
        tracer.start()
        watch = Watch(tracer)
        code = pytest_run([file], folder, watch)
        tracer.stop()
        data, lines = tracer.get_data(), {}
        for path in data.measured_files():
            contexts = data.contexts_by_lineno(path)
            lines[str(Path(path).relative_to(PACKAGE))] = {n: [c for c in names if c] for n, names in contexts.items()}
        return {"code": code, "failed": watch.failed, "seconds": watch.seconds, "lines": lines}

    found = forked(work, 3600)
    print(file, "broke" if found is None else found["failed"] or f"{sum(found['seconds'].values()):.0f} s", flush=True)
    if found and found["code"] == 0:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(found), "utf-8")


def read_maps(folder):
    """Seconds of every test, and by file and line the tests that run it; line 0 has all of a file's."""
    seconds, tests = {}, defaultdict(lambda: defaultdict(set))
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_text("utf-8"))
        seconds |= found["seconds"]
        for file, lines in found["lines"].items():
            for line, names in lines.items():
                tests[file][int(line)].update(names)
                tests[file][0].update(names)
    return seconds, tests


def try_mutant(mutant, path, seconds, tests, budget):
    """Run the tests that reach a mutant, the likeliest to fail first, within a budget of seconds."""
    begin, stop = mutant["lines"]
    names = set().union(*(tests.get(line, ()) for line in range(begin, stop + 1))) or tests[0]
    chosen, total = [], 0.0

    def order(name):  # tests of the file, those of its room, then the quickest
        room = path.parent.name
        own = (f"tests/{room}/test_{path.stem}.py", f"tests/test_{path.stem}.py")
        near = (f"tests/{room}/", f"tests/test_{room}.py")
        return not name.startswith(own), not name.startswith(near), seconds[name], name

    for name in sorted(names, key=order):
        if not chosen or total + seconds[name] <= budget:
            chosen, total = [*chosen, name], total + seconds[name]
    if not chosen:
        return {"outcome": "no test"}

    def work(folder):
        sys.meta_path.insert(0, Planted(path, mutated(path, mutant["number"], mutant["which"])))
        watch = Watch()
        code = pytest_run(chosen, folder, watch)
        if code > 2:  # a test of the map is no more
            return {"outcome": "not run", "by": f"exit code {code}: map the tests that have changed"}
        return {"outcome": "killed" if code else "survived", "by": watch.failed[0] if code else ""}

    found = forked(work, 30 + 3 * total) or {"outcome": "killed", "by": "time limit or crash"}
    return found | {"tests": len(chosen), "of": len(names)}


def rank(seed, mutant):
    """A random number that stays the same where other code of the file changes."""
    return hashlib.sha256(f"{seed} {mutant['key']}".encode()).hexdigest()


def draw(count, seed):
    """``count`` mutants, of each file a share by its number of mutants, at least three."""
    places = [PACKAGE / name for name in ROOMS]
    files = [file for place in places for file in (sorted(place.rglob("*.py")) if place.is_dir() else [place])]
    chosen, all_of = [], {path: mutants(path) for path in files}
    whole = sum(map(len, all_of.values()))
    for path, found in all_of.items():
        share = min(len(found), max(3, round(count * len(found) / whole)))
        ranked = sorted(found, key=lambda mutant: rank(seed, mutant))
        chosen += [(path, mutant) for mutant in ranked[:share]]
    chosen.sort(key=lambda pair: rank(seed, pair[1]))
    print(f"{len(chosen)} of {whole} mutants of {len(files)} files", flush=True)
    return chosen


def main():
    """Map the tests, or plant mutants and report which survive."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=["map", "run", "list"])
    parser.add_argument("--files", nargs="*", default=[""], help="run those of these files, by how the path begins")
    parser.add_argument("--tests", nargs="*", help="test files to map; by default those that are new or changed")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=float, default=12.0, help="seconds of tests a mutant, as they were mapped")
    parser.add_argument("--folder", type=Path, default=Path(".mutants"), help="for maps and report")
    parser.add_argument("--part", type=int, nargs=2, default=(0, 1), help="run part I of N, beside other processes")
    parser.add_argument("--again", action="store_true", help="survivors once more")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # pytest collects garbage at its end, ten times
    if arguments.command == "map":
        files = map(str, sorted(Path("tests").rglob("test_*.py")))
        for file in arguments.tests or [file for file in files if not any(part in file for part in LEFT_OUT)]:
            target = arguments.folder / "maps" / (file.replace("/", "-") + ".json")
            if arguments.tests or not target.exists() or target.stat().st_mtime < Path(file).stat().st_mtime:
                map_file(file, target)
        return
    seconds, tests = read_maps(arguments.folder / "maps")
    report = arguments.folder / "report.jsonl"
    done = {line["id"]: line for line in map(json.loads, report.read_text().splitlines())} if report.exists() else {}
    retried = ("survived", "no test", "not run") if arguments.again else ("not run",)
    chosen = draw(arguments.count, arguments.seed)
    chosen = [pair for pair in chosen if pair[1]["id"].startswith(tuple(arguments.files))]
    for path, mutant in chosen[arguments.part[0] :: arguments.part[1]]:
        before = done.get(mutant["id"])
        if arguments.command == "run" and (not before or before["outcome"] in retried):
            found = try_mutant(mutant, path, seconds, tests[str(path.relative_to(PACKAGE))], arguments.budget)
            done[mutant["id"]] = {"id": mutant["id"], **found}
            with open(report, "a") as file:
                file.write(json.dumps(done[mutant["id"]]) + "\n")
            print(found["outcome"], mutant["id"], found.get("by", ""), flush=True)
    outcomes = Counter(done.get(mutant["id"], {"outcome": "not run"})["outcome"] for _, mutant in chosen)
    print(dict(outcomes), f"{outcomes['killed'] / len(chosen):.1%} killed")
    for name in sorted(m["id"] for _, m in chosen if done.get(m["id"], {}).get("outcome") in ("survived", "no test")):
        print("survived", name)


if __name__ == "__main__":
    main()
