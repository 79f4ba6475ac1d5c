"""Stop a run on a signal, at a point where nothing is lost."""

import signal
import threading
from contextlib import contextmanager

from recbole_genrec.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Record SIGTERM and Ctrl-C instead of ending at once.

    Attributes:
        signal: number of the signal that came, or 0.
    """

    def __init__(self):
        self.signal = 0

    @contextmanager
    def listening(self):
        """Context that records signals. A second signal has its usual effect.

        Python hands signals to the main thread alone; elsewhere nothing is changed.
        """
        before = {number: signal.getsignal(number) for number in SIGNALS}

        def note(number, frame):
            self.signal = number
            for each, handler in before.items():
                signal.signal(each, handler)

        with _handled(note):
            yield


@contextmanager
def terminable():
    """Let a signal end a block with one message.

    Raises:
        Interrupted: SIGTERM or Ctrl-C came.
    """

    def stop(number, frame):
        raise Interrupted(number, f"by {signal.Signals(number).name}.")

    with _handled(stop):
        yield


@contextmanager
def _handled(handler):
    """Give the signals a handler for the length of a block, where Python allows it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
