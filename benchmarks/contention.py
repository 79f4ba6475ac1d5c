"""How much does training slow down beside another process that computes, by how the threads of OpenMP wait?

    python -m benchmarks.contention [--settings default spinning passive] [--steps 40]

One process for each setting trains the shipped GenRec on ml-100k, a few steps at a time. In turn the machine is quiet,
or a process beside it computes: a loop in Python (one core), or products of matrices in torch (as many threads as the
cores). They take turns within each setting and the settings take turns, so that whatever else the machine does hits all
of them alike. The table has the medians, and from them:

* ``python_over_quiet``, ``torch_over_quiet``: beside either of them over quiet, the same setting;
* ``quiet_over_spinning``: quiet over quiet with the waiting that libgomp has by itself, which spins;
* ``sleeps``: how often a thread went to sleep, and had to be woken, a step, quiet. It says what a short spin costs
  on a machine that is not quiet, too.

The settings are environments of the training process. ``default`` is what the package chooses; the others say it
themselves, which the package respects.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from time import perf_counter, sleep

from benchmarks.common import Results, parser, report

#: environments by setting. 300000 turns are what libgomp takes by itself (its ``env.c``).
SETTINGS = {
    "default": {},
    "spinning": {"GOMP_SPINCOUNT": "300000"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
    **{f"spin {turns}": {"GOMP_SPINCOUNT": str(turns)} for turns in (1000, 2000, 10_000, 30_000)},
}
#: variables that a setting decides, removed from the environment that the benchmark was started in.
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
#: processes that compute until the benchmark is gone.
BESIDE = {
    "python": "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(10**6))",
    "torch": "import os, torch\nparent, a = os.getppid(), torch.rand(600, 600)\nwhile os.getppid() == parent: a @ a",
}
COLUMNS = {
    "setting": "",
    "threads": "",
    "waiting": "",
    "sleeps": ",.0f",
    "quiet": ".2f",
    "beside_python": ".2f",
    "beside_torch": ".2f",
    "python_over_quiet": ".2f",
    "torch_over_quiet": ".2f",
    "quiet_over_spinning": ".2f",
}


#: a smoke run's model.
SMALL = {
    "scratch_hidden_size": 16,
    "scratch_intermediate_size": 16,
    "scratch_vocab_size": 400,
    "train_batch_tokens": 512,
}


def serve(steps, small):
    """The training process: for each line that comes in, train ``steps`` steps and report on them.

    It prints their seconds, and how often a thread went to sleep in them, as JSON.
    """
    import torch

    from benchmarks.recommenders import build, endless
    from recbole_genrec.distributed.threads import waiting
    from recbole_genrec.runs.process import tune_malloc

    tune_malloc()
    config, model, train, _ = build("ml-100k", **(SMALL if small else {}))
    batches = endless(model.training_loader(config, train.dataset))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["learning_rate"], fused=True)
    model.train()
    print(json.dumps({"threads": torch.get_num_threads(), "waiting": waiting()}), flush=True)
    for _ in sys.stdin:
        start, slept = perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
        for batch in islice(batches, steps):
            optimizer.zero_grad()
            model.calculate_loss(batch).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), **config["clip_grad_norm"])
            optimizer.step()
        seconds, slept = perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - slept
        print(json.dumps([seconds, slept]), flush=True)


def _environment():
    """This process's environment without what says how threads compute, in which ``benchmarks`` is found."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {key: value for key, value in os.environ.items() if key not in VARIABLES} | {"PYTHONPATH": path}


class Trainer:
    """A training process with the environment of a setting."""

    def __init__(self, name, steps, small):
        environment = _environment() | SETTINGS[name]
        command = [sys.executable, "-m", "benchmarks.contention", "--serve", "--steps", str(steps)]
        self.process = subprocess.Popen(
            [*command, "--quick"] if small else command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def read(self):
        """The next line of JSON; what RecBole prints besides is passed over."""
        for line in self.process.stdout:
            try:
                return json.loads(line)
            except ValueError:
                continue
        raise SystemExit(f"The training process ended with exit code {self.process.wait()}.")

    def train(self):
        """Train some steps; their seconds, and how often a thread went to sleep in them."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.read()

    def close(self):
        self.process.communicate()  # without input it ends


@contextmanager
def beside(kind):
    """A computing process for the length of the block; ``None``: none."""
    if kind is None:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", BESIDE[kind]], env=_environment())
    try:
        sleep(3 if kind == "torch" else 0.2)  # it imports first
        yield
    finally:
        process.kill()
        process.wait()


def measure(names, kinds, steps, repetitions, small):
    """Rows of the table for some settings."""
    with ExitStack() as stack:
        trainers, told = {}, {}
        for name in names:
            trainers[name] = trainer = Trainer(name, steps, small)
            stack.callback(trainer.close)
            told[name] = trainer.read()
            trainer.train()  # the first steps allocate
        taken = {name: {kind: [] for kind in (None, *kinds)} for name in names}
        for _ in range(repetitions):
            for kind in (None, *kinds):
                with beside(kind):
                    for name, trainer in trainers.items():
                        taken[name][kind].append(trainer.train())
    rows = []
    for name in names:
        seconds = {kind: [pair[0] for pair in pairs] for kind, pairs in taken[name].items()}
        median = {kind: statistics.median(values) for kind, values in seconds.items()}
        rows.append(
            {
                "setting": name,
                **told[name],
                "sleeps": statistics.median(slept for _, slept in taken[name][None]) / steps,
                "quiet": median[None],
                **{f"beside_{kind}": median[kind] for kind in kinds},
                **{f"{kind}_over_quiet": median[kind] / median[None] for kind in kinds},
                "seconds": {kind or "quiet": values for kind, values in seconds.items()},
            }
        )
    spinning = next((row["quiet"] for row in rows if row["setting"] == "spinning"), None)
    for row in rows:
        row["quiet_over_spinning"] = spinning and row["quiet"] / spinning
    return rows


def main(arguments=None):
    """Run the benchmark; see the module's header."""
    options = parser("contention", __doc__)
    options.add_argument("--settings", nargs="+", choices=SETTINGS, default=["default", "spinning", "passive"])
    options.add_argument("--beside", nargs="*", choices=BESIDE, default=list(BESIDE), help="processes that compute")
    options.add_argument("--steps", type=int, default=10, help="training steps of each timing")
    options.add_argument("--serve", action="store_true", help="be the training process; for the benchmark itself")
    options = options.parse_args(arguments)
    if options.quick:
        options.steps, options.repetitions = 1, 1
    if options.serve:
        serve(options.steps, options.quick)
        return
    rows = measure(options.settings, options.beside, options.steps, options.repetitions, options.quick)
    report(options, {"rows": Results("Seconds of training beside another process", COLUMNS, rows)})


if __name__ == "__main__":
    main()
