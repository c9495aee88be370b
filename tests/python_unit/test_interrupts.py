"""Ctrl-C that is put off: DeferSigint."""

import signal
import threading

import pytest
from ray_engine._private.interrupts import DeferSigint


@pytest.fixture
def calls():
    """The numbers of the signals that the handler of SIGINT was called with."""
    seen = []
    before = signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
    yield seen
    signal.signal(signal.SIGINT, before)


def test_a_signal_inside_is_delivered_once_at_the_end(calls):
    with DeferSigint():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert calls == []
    assert calls == [signal.SIGINT]


def test_nothing_is_delivered_where_nothing_came(calls):
    handler, setter = signal.getsignal(signal.SIGINT), signal.signal
    with DeferSigint():
        pass
    assert calls == []
    assert (signal.getsignal(signal.SIGINT), signal.signal) == (handler, setter)


def test_python_s_own_handler_interrupts_behind_it():
    done = False
    with pytest.raises(KeyboardInterrupt):
        with DeferSigint():
            signal.raise_signal(signal.SIGINT)
            done = True
    assert done


def test_a_signal_is_not_lost_where_an_exception_leaves(calls):
    with pytest.raises(ValueError, match="what went wrong"):
        with DeferSigint():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("what went wrong")
    assert calls == [signal.SIGINT]


def test_an_ignored_signal_stays_ignored(calls):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with DeferSigint():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_handler_that_is_set_inside_is_the_one_that_is_called(calls):
    others = []

    def handler(number, _):
        others.append(number)

    with DeferSigint():
        before = signal.signal(signal.SIGINT, handler)
        signal.raise_signal(signal.SIGINT)
        assert others == []
    assert (calls, others) == ([], [signal.SIGINT])
    assert before is not None and signal.getsignal(signal.SIGINT) is handler


def test_other_signals_are_as_ever():
    seen = []
    before = signal.getsignal(signal.SIGUSR1)
    with DeferSigint():
        assert signal.signal(signal.SIGUSR1, lambda *_: seen.append(1)) is before
        signal.raise_signal(signal.SIGUSR1)
        assert seen == [1]
    signal.signal(signal.SIGUSR1, before)


def test_one_inside_another(calls):
    with DeferSigint():
        with DeferSigint():
            signal.raise_signal(signal.SIGINT)
        assert calls == []
    assert calls == [signal.SIGINT]


def test_other_threads_have_nothing_to_put_off():
    made = []
    thread = threading.Thread(target=lambda: made.append(DeferSigint.create_if_main_thread()))
    thread.start()
    thread.join()
    with made[0] as nothing:
        assert nothing is None
    assert isinstance(DeferSigint.create_if_main_thread(), DeferSigint)


def test_a_handler_that_is_not_python_s_stays(monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda _: None)
    assert not isinstance(DeferSigint.create_if_main_thread(), DeferSigint)
