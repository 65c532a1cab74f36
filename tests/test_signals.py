"""Signals that come at a wrong moment: in a section of threading that holds a lock, and while waiting."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

START = """
import os, signal, threading, time
from paramctl.cli import signals

class Lock:
    def __init__(self, moment):
        self.lock, self.moment = threading.Lock(), moment
        self.acquire, self.release, self.locked = self.lock.acquire, self.lock.release, self.lock.locked
    def interrupt(self, moment):
        if moment == self.moment:
            self.moment = ""
            os.kill(os.getpid(), signal.SIGTERM)
    def __enter__(self):
        self.lock.acquire()
        self.interrupt("enter")
    def __exit__(self, *error):
        self.interrupt("exit")
        self.lock.release()

signals.raise_on_signals()
"""
TAKEN = """
lock = Lock({moment!r})
try:
    with threading.Condition(lock):
        pass
    time.sleep(10)
except signals.Terminated:
    print("terminated", lock.locked())
"""
SUBMITTED = """
from concurrent.futures import ThreadPoolExecutor
try:
    with ThreadPoolExecutor(2) as pool:
        pool._idle_semaphore._cond = threading.Condition(Lock({moment!r}))
        futures = [pool.submit(time.sleep, 0.001) for _ in range(3)]
        time.sleep(10)
except signals.Terminated:
    print("terminated", pool._idle_semaphore._cond._lock.locked())
"""
WAITED = """
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
begin = time.monotonic()
try:
    threading.Event().wait(10)
except signals.Terminated:
    print("terminated", time.monotonic() - begin > 5)
"""


@pytest.mark.parametrize(
    "code",
    [TAKEN.format(moment="enter"), TAKEN.format(moment="exit"), SUBMITTED.format(moment="enter"), WAITED],
    ids=["as a lock is taken", "as a lock is released", "as a job is submitted", "while waiting"],
)
def test_a_signal_leaves_no_lock_behind_and_is_not_delayed(code: str) -> None:
    """A lock that stays locked would keep the workers, and so the process, from ending."""
    command = [sys.executable, "-c", START + code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.stdout, done.stderr) == ("terminated False\n", "")
