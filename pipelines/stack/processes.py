"""Find and stop what one home has started, and nothing else.

Every process of a stack carries the environment variable VIGIL_STACK with an id made from its home folder, so that a
group whose supervisor was killed is still found, two clones never touch each other, and nothing is stopped by its name.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from pipelines.contracts import fingerprint

MARKER = "VIGIL_STACK"


def stack_id(home: Path) -> str:
    """The id that every process of this home's stack carries; the same after a crash."""
    return fingerprint("vigil stack", home.resolve())[:16]


def marked(home: Path) -> list[psutil.Process]:
    """Living processes that carry this home's id, without the caller and the processes it descends from."""
    wanted = stack_id(home)
    own = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    return [p for p in psutil.process_iter() if p.pid not in own and carries(p, wanted)]


def carries(process: psutil.Process, wanted: str) -> bool:
    """Whether a process lives and carries the id. A process we may not look into is not ours."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARKER) == wanted)
    except (psutil.Error, OSError):
        return False


def stop(processes: Iterable[psutil.Process], grace_seconds: float) -> None:
    """Ask the processes to end, wait, and kill those that did not. They may be gone already."""
    living = [p for p in processes if _ask_to_end(p)]
    _, stubborn = psutil.wait_procs(living, timeout=grace_seconds)
    for process in stubborn:
        _kill(process)
    psutil.wait_procs(stubborn, timeout=5)


def stop_marked(home: Path, grace_seconds: float) -> int:
    """Stop every process of this home's stack, including any that appear meanwhile; return how many there were."""
    stopped = 0
    deadline = time.monotonic() + grace_seconds + 30
    while found := marked(home):
        stopped += len(found)
        stop(found, grace_seconds if time.monotonic() < deadline else 0)
        grace_seconds = 1
    return stopped


def is_free(port: int) -> bool:
    """Whether 127.0.0.1:port can be listened on right now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Different TCP ports nobody listens on at 127.0.0.1 right now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _ask_to_end(process: psutil.Process) -> bool:
    try:
        process.terminate()
    except psutil.NoSuchProcess:
        return False
    return True


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
