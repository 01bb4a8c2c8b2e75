import os
import signal
import threading
from contextlib import suppress

import pytest

from perceivers.errors import Stopped
from perceivers.training.signals import Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_at_once_and_the_handlers_come_back(number):
    before = signal.getsignal(number)
    with pytest.raises(Stopped, match="goes on") as stopped, Signals("goes on"):
        os.kill(os.getpid(), number)
    assert stopped.value.signal == number
    assert signal.getsignal(number) is before


def test_a_held_signal_waits_and_a_second_one_does_not():
    with Signals("goes on") as signals:
        with signals.held():
            os.kill(os.getpid(), signal.SIGTERM)
            assert signals.asked == signal.SIGTERM
            with pytest.raises(Stopped):
                os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Stopped):
            signals.check()


def test_no_except_exception_swallows_a_stop():
    with pytest.raises(Stopped), Signals("goes on"), suppress(Exception):
        os.kill(os.getpid(), signal.SIGTERM)


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Signals("goes on") as signals:
            os.kill(os.getpid(), signal.SIGINT)
            assert signals.asked is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_thread_leaves_the_signals_alone():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def enter():
        with Signals("goes on"):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]
