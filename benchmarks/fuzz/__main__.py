"""Feed what the package reads with broken and hostile input, by seed.

Every case ends with the right result, by a reader of the fuzzer's own; with rows that are left out and counted; or with
an error of the package that names the file or the key. Anything else is a finding: another exception, a wrong result, a
row that is lost without a word, or no end within ``--limit`` seconds. Findings are written to ``--findings``, a folder
each, with the input and what was raised; the exit code is then 1.

    python -m benchmarks.fuzz --cases 10000 --seed 2020
    python -m benchmarks.fuzz --targets configuration --only 137      the case of that number once more
"""

import faulthandler
import random
import signal
import sys
import tempfile
import traceback
import warnings
from contextlib import contextmanager
from logging import CRITICAL, disable, root
from pathlib import Path
from time import perf_counter

from benchmarks.common import Results, parser, report
from benchmarks.fuzz.target import REFUSED, REPORTED, RIGHT, Tally
from benchmarks.fuzz.targets import TARGETS

COLUMNS = {"target": "", "cases": ",", RIGHT: ",", REPORTED: ",", REFUSED: ",", "findings": ",", "ms_a_case": ",.1f"}


class Hang(BaseException):
    """A case that did not end in time; no ``except Exception`` of a reader takes it."""


@contextmanager
def time_limit(seconds):
    """Raise :class:`Hang` after so many seconds; where no Python code runs any more, end with a traceback of it."""

    def stop(*_):
        raise Hang(f"no end within {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(10 * seconds, exit=True)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def run_case(target, seed, number, limit):
    """One case: its outcome, or the traceback of a finding."""
    try:
        with time_limit(limit):
            return target.run(random.Random(f"{seed} {target.name} {number}")), None
    except (Exception, Hang):
        return "findings", traceback.format_exc()


def keep(folder, target, number, found):
    """Write down a finding."""
    folder = folder / f"{target.name.replace(' ', '-').replace('.', '')}-{number}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "traceback.txt").write_text(found, "utf-8", "backslashreplace")
    for name, content in target.input.items():
        content = content if isinstance(content, bytes) else str(content).encode("utf-8", "backslashreplace")
        (folder / name.replace("/", "-")[-100:]).write_bytes(content)


def fuzz(folder, cases, seed, names=(), limit=20.0, only=None, findings=Path("results/fuzz")):
    """Run cases of all targets, or of some.

    Args:
        folder: an empty one, for the targets' files.
        cases: of all targets together, by their shares.
        seed: of everything drawn.
        names: of targets; empty: all.
        limit: seconds of a case.
        only: the number of a case; ``None``: all.
        findings: a folder for findings.

    Returns:
        A row a target.
    """
    chosen = [kind for kind in TARGETS if not names or kind.name in names]
    total, rows = sum(kind.share for kind in chosen), []
    for place, kind in enumerate(chosen):
        count = max(1, round(cases * kind.share / total))
        target, tally, started = kind(folder / str(place)), Tally(), perf_counter()
        for number in [only] if only is not None else range(count):
            outcome, found = run_case(target, seed, number, limit)
            tally.outcomes[outcome] += 1
            if found:
                keep(findings, target, number, found)
                print(
                    f"{target.name}, case {number} of seed {seed}: {found.strip().splitlines()[-1][:300]}", flush=True
                )
        milliseconds = 1000 * (perf_counter() - started) / tally.cases
        counts = {name: tally.outcomes[name] for name in (RIGHT, REPORTED, REFUSED, "findings")}
        rows.append({"target": target.name, "cases": tally.cases, **counts, "ms_a_case": milliseconds})
    return rows


def main(arguments=None):
    """Run the fuzzer and report its findings."""
    options = parser("fuzz", __doc__)
    options.add_argument("--cases", type=int, default=10_000)
    options.add_argument("--targets", nargs="+", default=[], choices=[kind.name for kind in TARGETS])
    options.add_argument("--only", type=int, help="the number of one case")
    options.add_argument("--limit", type=float, default=20.0, help="seconds of a case")
    options.add_argument("--findings", type=Path, default=Path("results/fuzz"))
    options = options.parse_args(arguments)
    cases = 40 if options.quick else options.cases
    level = root.manager.disable
    disable(CRITICAL)
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            chosen = (Path(folder), cases, options.seed, options.targets, options.limit, options.only)
            rows = fuzz(*chosen, findings=options.findings.absolute())
    finally:
        disable(level)
    everything = {key: sum(row[key] for row in rows) for key in ("cases", RIGHT, REPORTED, REFUSED, "findings")}
    shown = Results("Broken and hostile input", COLUMNS, [*rows, {"target": "all", **everything}])
    report(options, {"rows": shown})
    return int(everything["findings"] > 0)


if __name__ == "__main__":
    sys.exit(main())
