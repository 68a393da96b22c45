"""Lines for the person who waits: short ones, and one at least every ten seconds."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS_OF_SILENCE = 8.0
"""After this time without a line, one says that the work goes on."""

WIDTH = 28
"""Of the column that says what a line is about; longer names push the message to the right."""


class Console:
    """Lines on stderr: the time, what they are about, and a message."""

    def __init__(self, silence: float = SECONDS_OF_SILENCE) -> None:
        """Take the time without a line after which one is printed (seconds)."""
        self._silence = silence
        self._spoken = threading.Condition()
        self._working = False
        self._on = ""
        self._since = 0.0

    def say(self, about: str, message: str) -> None:
        """Print one line, or more if the message has more."""
        with self._spoken:
            now = time.strftime("%H:%M:%S")
            print(f"{now}  {about:<{WIDTH}}  {message}", file=sys.stderr, flush=True)
            self._spoken.notify()

    def work_on(self, what: str) -> None:
        """Say from now on that the work on this goes on, if nothing else is said."""
        with self._spoken:
            self._on, self._since = what, time.monotonic()

    @contextmanager
    def never_silent(self, what: str) -> Iterator[None]:
        """Print a line whenever nothing was said for a while. It depends on time only.

        Args:
            what: What the work is on, until `work_on` is called.
        """
        self.work_on(what)
        self._working = True
        thread = threading.Thread(target=self._say_that_it_goes_on, daemon=True)
        thread.start()
        try:
            yield
        finally:
            with self._spoken:
                self._working = False
                self._spoken.notify()
            thread.join()

    def _say_that_it_goes_on(self) -> None:
        with self._spoken:
            while self._working:
                if not self._spoken.wait(self._silence):
                    seconds = time.monotonic() - self._since
                    self.say(self._on, f"... {seconds:.0f} s so far")


console = Console()
"""The console of this process."""
