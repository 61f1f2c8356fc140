"""Processes as one group: marked, found again without their supervisor, started again within limits."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import psutil
import pytest

from pipelines.contracts import Blocked
from pipelines.stack import processes
from pipelines.stack.group import RESTARTS, Group
from pipelines.stack.services import Service

SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")
PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)
time.sleep(600)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('deaf', flush=True)
time.sleep(600)
"""
RENAMED = "import setproctitle, time; setproctitle.setproctitle('something else'); time.sleep(600)"


_launched: list[subprocess.Popen[bytes]] = []


def marked_environment(home):
    return {**os.environ, processes.MARKER: processes.stack_id(home), "SPT_NOENV": "1"}


def launch(command, home, **options):
    """A process that carries the home's mark."""
    process = subprocess.Popen(command, env=marked_environment(home), **options)
    _launched.append(process)
    return process


def service(name, command, essential=True, healthy=lambda _since: True):
    return Service(name, command, healthy, essential)


def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.05)


@pytest.fixture
def home(tmp_path):
    yield tmp_path
    processes.stop_marked(tmp_path, grace_seconds=0)
    for process in _launched:
        process.wait()
    _launched.clear()


def test_stray_grandchildren_in_sessions_of_their_own_are_found_and_ended(home):
    parent = launch([sys.executable, "-c", PARENT], home, start_new_session=True)
    until(lambda: len(processes.marked(home)) == 2)
    parent.kill()
    parent.wait()
    assert len(processes.marked(home)) == 1
    assert processes.stop_marked(home, grace_seconds=5) == 1
    assert not processes.marked(home)


def test_a_process_that_renames_itself_is_still_found(home):
    renamed = launch([sys.executable, "-c", RENAMED], home)
    until(lambda: "something else" in " ".join(psutil.Process(renamed.pid).cmdline()))
    assert [p.pid for p in processes.marked(home)] == [renamed.pid]


def test_a_process_that_refuses_to_end_is_killed(home):
    process = launch([sys.executable, "-c", STUBBORN], home, stdout=subprocess.PIPE)
    process.stdout.readline()
    processes.stop_marked(home, grace_seconds=0.3)
    assert not processes.marked(home)
    assert not psutil.pid_exists(process.pid)


def test_two_homes_do_not_see_each_other(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    started = [launch(SLEEP, home) for home in (one, other)]
    try:
        processes.stop_marked(one, grace_seconds=2)
        assert started[0].poll() is not None
        assert started[1].poll() is None
        assert [p.pid for p in processes.marked(other)] == [started[1].pid]
    finally:
        processes.stop_marked(other, grace_seconds=2)


def test_what_dies_is_started_again(home):
    group = Group([service("worker", SLEEP)], home, marked_environment(home))
    (child,) = group.children
    first = child.process.pid
    child.process.kill()
    child.process.wait()
    group.look_after()
    assert child.process.pid != first
    assert child.report().restarts == 1
    group.look_after()
    assert not group.waiting_for


def test_what_keeps_dying_stops_the_group_with_the_end_of_its_log(home):
    group = Group(
        [service("worker", (sys.executable, "-c", "print('no such table'); raise SystemExit(1)"))], home, os.environ
    )

    def look_until_it_gives_up():
        while True:
            group.look_after()
            time.sleep(0.05)

    with pytest.raises(Blocked, match="worker died") as stopped:
        look_until_it_gives_up()
    assert str(stopped.value).count("no such table") == RESTARTS + 1


def test_a_page_that_keeps_dying_is_left_dead_and_the_rest_goes_on(home):
    page = service("page", (sys.executable, "-c", "raise SystemExit(1)"), essential=False, healthy=lambda _s: False)
    group = Group([page, service("worker", SLEEP)], home, marked_environment(home))

    def given_up():
        group.look_after()
        return not group.waiting_for

    until(given_up)
    page_state, worker_state = (child.report() for child in group.children)
    assert (page_state.pid, page_state.healthy) == (None, False)
    assert (worker_state.restarts, worker_state.healthy) == (0, True)


def test_a_port_in_use_is_not_free():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not processes.is_free(taken.getsockname()[1])
    ports = processes.free_ports(5)
    assert len(set(ports)) == 5
    assert all(processes.is_free(port) for port in ports)
