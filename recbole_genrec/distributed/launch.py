"""``--nproc``: run the same command line in several processes of this machine, supervised by torch's elastic agent."""

import logging
import os
import signal
import sys
from uuid import uuid4

#: exit codes that processes agree on: bad input, Ctrl-C, SIGTERM.
_AGREED = (2, 128 + signal.SIGINT, 128 + signal.SIGTERM)


def launch(processes, arguments, advice="--resume=auto goes on from the last checkpoint"):
    """Run a command line in several processes; if one of them fails, the others are stopped.

    Args:
        processes: how many.
        arguments: of each, as :func:`recbole_genrec.cli.main.main` takes them.
        advice: what to do where one has died, a sentence without a full stop.

    Returns:
        An exit code: 0; the one that they ended with, where that is bad input or a signal; 1 where one has died, which
        is said in one line.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # each process else takes all cores for its tensors
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # the agent's report is the line below
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "recbole_genrec", *arguments)
    except SignalException as stop:  # the processes have heard it too, and said what they saved
        return 128 + stop.sigval
    except ChildFailedError as error:
        return _explain({rank: failure.exitcode for rank, failure in error.failures.items()}, advice)
    return 0


def _explain(codes, advice):
    """Name the process that failed, unless it has printed an error itself. Returns the exit code of the run."""
    for code in _AGREED:
        if code in codes.values():
            return code
    # what the others died of, SIGTERM by the agent and exit code 1 for a lost peer, comes last
    rank, code = min(codes.items(), key=lambda item: (item[1] == -signal.SIGTERM, item[1] > 0, item[0]))
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    print(f"error: process {rank} of the run {how}, and the others were stopped; {advice}.", file=sys.stderr)
    return 1
