"""Ctrl-C, SIGTERM and SIGHUP: what runs for long is told, ends where its state is whole, and saves it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that end training; Windows has no SIGHUP."""


@contextmanager
def as_keyboard_interrupts() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does, unless the user handles them."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    taken: list[int] = []
    for number in SIGNALS if threading.current_thread() is threading.main_thread() else ():
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, interrupt)
            taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


class Interruption:
    """Heeds Ctrl-C, SIGTERM and SIGHUP while it is entered: the first ends training after the current step.

    A second Ctrl-C or SIGTERM acts at once, until `hold`. Further SIGHUPs never act: a terminal that closes sends two.
    The attribute `noted` holds the signals that came.
    """

    def __init__(self) -> None:
        self.noted: set[int] = set()
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                previous = signal.getsignal(number)
                if number == signal.SIGINT or previous is not signal.SIG_IGN:  # nohup ignores SIGHUP: leave it so
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.noted.add(number)
        if number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    def hold(self) -> None:
        """Only note signals from now on, so that none cuts short what is saved."""
        for number in self._previous:
            signal.signal(number, lambda number, frame: self.noted.add(number))

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
