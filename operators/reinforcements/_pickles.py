"""Pickles that nobody vouches for: plain values and arrays of numbers are rebuilt here, nothing else is ever called."""

from __future__ import annotations

import io
import pickle
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_BYTES = 1 << 28
"""Largest file read: one image's reinforcements take kilobytes."""

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_NUMBERS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")


def load(data: bytes) -> Any:
    """Read a file that `torch.save` (zip or older form) or `pickle.dump` wrote; arrays come as `Array`.

    Only None, booleans, numbers, strings, bytes, tuples, lists, dictionaries, sets and NumPy arrays of numbers are
    read. Raises: ValueError for anything else, naming it before it is looked up, and for a damaged file.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"has {len(data):,} bytes, more than the {MAX_BYTES:,} that are read")
    try:
        stream = io.BytesIO(_pickle_in_zip(data) if data.startswith(b"PK") else data)
        found = _Restricted(stream).load()
        if found == _LEGACY_MAGIC:  # torch.save before 1.6: magic number, version, byte order, then the object
            _, _, found = (_Restricted(stream).load() for _ in range(3))
        return found
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to mean
        if isinstance(error, _RefusedError):
            raise
        raise ValueError(f"is cut off or no pickle: {type(error).__name__}: {error}") from error


def _pickle_in_zip(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        info = next((info for info in archive.infolist() if info.filename.endswith("/data.pkl")), None)
        if info is None or info.compress_type != zipfile.ZIP_STORED:
            raise ValueError("a zip without the uncompressed data.pkl of torch.save")
        return archive.read(info)


class _RefusedError(ValueError):
    pass


class _StandIn:
    """What a pickle gets in place of a NumPy name. A state is refused, also for the class itself."""

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("state where there is none")


class Array(_StandIn):
    """An array of numbers; `values` holds it."""

    values: npt.NDArray[Any]

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, raw = state
        if not (isinstance(kind, _DType) and isinstance(raw, bytes)):
            raise pickle.UnpicklingError("an array that does not hold numbers")
        self.values = np.frombuffer(raw, kind.order + kind.code).reshape(shape, order="F" if fortran else "C")


class _DType(_StandIn):
    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:  # noqa: ARG002
        if code not in _NUMBERS:
            raise pickle.UnpicklingError(f"an array of {code}")
        self.code, self.order = code, "<"

    def __setstate__(self, state: Any) -> None:
        self.order = ">" if state[1] == ">" else "<"


class _Reconstruct(_StandIn):
    def __new__(cls, kind: Any, shape: Any, code: Any) -> Any:  # noqa: ARG004
        return Array()


class _Encode(_StandIn):
    def __new__(cls, text: str, encoding: str) -> Any:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"bytes in {encoding}")
        return text.encode("latin1")


_ALLOWED = {
    "numpy.core.multiarray._reconstruct": _Reconstruct,
    "numpy._core.multiarray._reconstruct": _Reconstruct,
    "numpy.ndarray": Array,
    "numpy.dtype": _DType,
    "_codecs.encode": _Encode,
}


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in _ALLOWED:
            raise _RefusedError(f"refused: the pickle asks for {module}.{name}, which is no plain value")
        return _ALLOWED[f"{module}.{name}"]

    def persistent_load(self, pid: Any) -> Any:
        kind = pid[0] if isinstance(pid, tuple) and pid else pid
        raise _RefusedError(f"refused: the pickle asks for a {kind} of PyTorch, which is no plain value")
