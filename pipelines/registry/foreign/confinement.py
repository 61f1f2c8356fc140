"""Starts the confined process that opens a foreign model, and reads how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from pipelines.contracts import VigilError
from pipelines.evaluation.metrics import Scores
from pipelines.registry.foreign.refusal import PackageRefused
from pipelines.spec import ForeignModels
from pipelines.training import confined

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Said:
    """Probabilities the model gave in confinement: of the golden rows, and of `rows` where there were any."""

    golden: Scores
    rows: Scores


def score_confined(
    algorithm: str,
    files: Mapping[str, bytes],
    golden: pa.Table,
    limits: ForeignModels,
    *,
    used: Mapping[str, bytes] | None = None,
    rows: pa.Table | None = None,
) -> Said:
    """Open the model in a process of its own and let it score; nothing it does can hurt this one.

    Args:
        files: the model as its maker had it; it scores the golden rows.
        used, rows: the same model as it is used here, and rows for it to score.

    Raises:
        PackageRefused: the model is not what a model may be, crashed its process, or took more than the policy gives it.
        VigilError: the process could not be started; that is no fault of the package.
    """
    differing = {name: content for name, content in (used or {}).items() if files[name] != content}
    request = confined.Request(algorithm=algorithm, files=tuple(files), used=tuple(differing), limits=limits)
    with TemporaryDirectory(prefix="vigil-confined-") as scratch:
        folder = Path(scratch)
        (folder / confined.REQUEST).write_text(request.model_dump_json())
        for name, content in {**files, **{f"{confined.USED}{n}": c for n, c in differing.items()}}.items():
            (folder / name).write_bytes(content)
        for name, table in ((confined.GOLDEN, golden), (confined.ROWS, rows)):
            if table is not None:
                _write(folder / name, table)
        ended = _run(folder, limits)
        return _said(folder, ended, limits, None if rows is None else rows.num_rows)


def _run(folder: Path, limits: ForeignModels) -> int | None:
    """Exit code of the process; negative is the signal it died of, None that it was stopped for taking too long."""
    environment = {"PATH": os.defpath, "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"}
    process = subprocess.Popen(
        [sys.executable, "-I", "-B", "-m", confined.__name__],
        cwd=folder,
        env=environment | dict.fromkeys(_ONE_THREAD, "1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=True,
        start_new_session=True,
    )
    try:
        return process.wait(limits.confinement.wall_seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _said(folder: Path, ended: int | None, limits: ForeignModels, rows: int | None) -> Said:
    if not (folder / confined.READY).exists():
        raise VigilError(
            f"the confined process that opens foreign models did not start (exit code {ended}). The package was neither "
            "taken nor refused. Check confinement.memory_mb in policies/foreign_models.yaml, then run the same command again."
        )
    if ended is None:
        raise PackageRefused(f"opening and scoring it took more than {limits.confinement.wall_seconds} seconds")
    if ended != 0:
        raise PackageRefused(f"it ended the process that opened it ({_how(ended)})")
    try:
        result = confined.Result.model_validate_json((folder / confined.RESULT).read_bytes())
        if result.refused is None:
            return Said(np.array(result.golden), np.empty(0) if rows is None else _scores(folder, rows))
    except (OSError, ValueError):
        raise PackageRefused("the process that opened it left no readable result") from None
    raise PackageRefused("".join(c if c.isprintable() else "?" for c in result.refused[:500]))


def _scores(folder: Path, rows: int) -> Scores:
    scores: Scores = np.load(BytesIO((folder / confined.SCORES).read_bytes()), allow_pickle=False)
    if scores.shape != (rows,) or scores.dtype != np.float64:
        raise ValueError("another number of scores than of rows")
    return scores


def _how(code: int) -> str:
    return f"exit code {code}" if code > 0 else signal.Signals(-code).name


def _write(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
