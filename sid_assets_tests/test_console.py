"""Lines for the person who waits."""

import re
import threading

from sid_assets.console import Console


class Screen:
    """Stands in for stderr, and tells when enough was written."""

    def __init__(self, lines: int) -> None:
        self.text = ""
        self.full = threading.Event()
        self._lines = lines

    def write(self, text: str) -> None:
        self.text += text
        if self.text.count("\n") >= self._lines:
            self.full.set()

    def flush(self) -> None:
        pass


def test_a_line_has_the_time_what_it_is_about_and_the_message(capsys):
    Console().say("codes", "17 of 17 items")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(r"\d\d:\d\d:\d\d  codes {25}17 of 17 items\n", captured.err)


def test_long_work_is_never_silent(monkeypatch):
    screen = Screen(lines=2)
    monkeypatch.setattr("sys.stderr", screen)
    console = Console(silence=0.01)
    with console.never_silent("the first"):
        console.work_on("the second")
        assert screen.full.wait(60)
    last = screen.text.splitlines()[-1]
    assert re.fullmatch(r"\d\d:\d\d:\d\d  the second +\.\.\. \d+ s so far", last)


def test_work_that_has_ended_is_not_reported(monkeypatch):
    screen = Screen(lines=1)
    monkeypatch.setattr("sys.stderr", screen)
    with Console(silence=600).never_silent("the first"):
        pass  # does not wait for the silence to end
    assert screen.text == ""
