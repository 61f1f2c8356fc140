"""The program of the confined process: the first to load a model that was trained elsewhere.

`python -I -m pipelines.training.confined` in an empty folder that holds a request. It limits itself, shuts out the network
where the system lets it, forbids Python what no model needs, and only then opens the model. Whatever happens to it happens
to nobody else: pipelines.registry.foreign reads what it left in the folder, or how it ended.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.contracts import DataFault, Value
from pipelines.spec import ForeignModels

if TYPE_CHECKING:
    from pipelines.training.recipe import Fitted

REQUEST, RESULT, READY = "request.json", "result.json", "ready"
GOLDEN, ROWS, SCORES = "golden.arrow", "rows.arrow", "scores.npy"
USED = "used."
_FILE_MB = 512
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
_FORBIDDEN = (
    *("pickle.find_class", "subprocess.Popen", "ctypes.dlopen", "socket.connect", "socket.bind", "socket.getaddrinfo"),
    *(
        "os.system",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.kill",
        "os.remove",
        "os.rename",
    ),
)


class Request(Value):
    """What to open and to score.

    Attributes:
        algorithm: catboost, onnx or skops.
        files: names of the model's files in the folder, as its maker had it.
        used: those of them that differ where the model is used here, there under the same name behind `USED`.
    """

    algorithm: str
    files: tuple[str, ...]
    used: tuple[str, ...] = ()
    limits: ForeignModels


class Result(Value):
    """What came of it.

    Attributes:
        refused: why the model is not taken; None when it is.
        golden: probability of each golden row.
    """

    refused: str | None = None
    golden: tuple[float, ...] = ()


def main() -> None:
    """Answer the request in the working directory."""
    request = Request.model_validate_json(Path(REQUEST).read_bytes())
    _limit(request.limits)
    from pipelines.training import algorithms  # the libraries, before anything is forbidden

    _import_libraries(request.algorithm)
    files = {name: Path(name).read_bytes() for name in request.files}
    used = files | {name: Path(f"{USED}{name}").read_bytes() for name in request.used}
    Path(READY).touch()
    sys.addaudithook(_forbid)
    own = True
    try:
        model = algorithms.load(request.algorithm, files)
        _check(request, model)
        result = Result(golden=tuple(_scores(model, GOLDEN).tolist()))
        if Path(ROWS).exists():
            import numpy as np

            own = False
            np.save(SCORES, _scores(algorithms.load(request.algorithm, used), ROWS), allow_pickle=False)
    except DataFault as fault:
        result = Result(refused=str(fault))
    except Exception as error:  # noqa: BLE001 - a library's own complaint about somebody's file: a refusal, whatever it is
        told = f": {' '.join(str(error).split())[:200]}" if own else ""  # about the bank's rows it may quote one
        result = Result(
            refused=f"the {request.algorithm} library could not read or compute it ({type(error).__name__}{told})"
        )
    Path(RESULT).write_text(result.model_dump_json())


def _check(request: Request, model: Any) -> None:
    from pipelines.training import catboost_model, onnx_model, skops_model

    if request.algorithm == "catboost":
        catboost_model.check(model)
    elif request.algorithm == "onnx":
        onnx_model.check(model, request.limits.onnx)
    else:
        skops_model.check(model, request.limits.skops)


def _scores(model: Fitted, name: str) -> Any:
    import pyarrow as pa

    from pipelines.training.calibration import logistic

    with pa.ipc.open_file(name) as file:
        return logistic(model.log_odds(file.read_all()))


def _limit(limits: ForeignModels) -> None:
    bounds: Mapping[int, int] = {
        resource.RLIMIT_AS: limits.confinement.memory_mb << 20,
        resource.RLIMIT_CPU: limits.confinement.cpu_seconds,
        resource.RLIMIT_FSIZE: _FILE_MB << 20,
        resource.RLIMIT_CORE: 0,
    }
    for kind, bound in bounds.items():
        resource.setrlimit(kind, (bound, bound))
    # A name space without a network, where the kernel lets anyone make one; the limits above do not depend on it.
    ctypes.CDLL(None).unshare(_NEW_USER | _NEW_NETWORK)


def _import_libraries(algorithm: str) -> None:
    from importlib import import_module

    wanted = {
        "catboost": ("catboost", "pandas"),
        "onnx": ("onnx", "onnx.checker", "onnxruntime"),
        "skops": ("skops.io", "pandas", "sklearn.ensemble", "sklearn.linear_model", "sklearn.pipeline"),
    }
    for name in wanted[algorithm]:
        import_module(name)


def _forbid(event: str, _: Any) -> None:
    if event.startswith(_FORBIDDEN):
        raise DataFault(f"it tried something no model needs ({event})")


if __name__ == "__main__":
    main()
