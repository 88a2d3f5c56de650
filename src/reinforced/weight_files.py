"""Reading the weights of networks: from a path, an fsspec URL or this package, and never by unpickling."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import IO, TYPE_CHECKING, cast

from reinforced.errors import RequestError

if TYPE_CHECKING:
    from torch import Tensor

_PIECE_BYTES = 1 << 22


@contextmanager
def opened(reference: str) -> Iterator[IO[bytes]]:
    """Open a file named by a path, an fsspec URL, or `package:path` for one that ships with this package.

    Raises: RequestError when it is not there.
    """
    import fsspec

    try:
        if reference.startswith("package:"):
            path = reference.removeprefix("package:")
            if ".." in path.split("/"):
                raise RequestError(f"file '{reference}' must lie inside the package")
            with resources.files("reinforced").joinpath(path).open("rb") as file:
                yield file
        else:
            with fsspec.open(reference, "rb") as file:
                yield file
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise RequestError(
            f"the file '{reference}' is not there: give a path, an fsspec URL or package:PATH"
        ) from error


def read_file(reference: str) -> bytes:
    """Read a whole file, named as for `opened`. Raises: RequestError when it is not there."""
    with opened(reference) as file:
        return bytes(file.read())


def hash_file(reference: str) -> str:
    """Return a file's SHA-256 in hexadecimal, read piece by piece. Raises: RequestError when it is not there."""
    digest = hashlib.sha256()
    with opened(reference) as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def hash_files(references: Sequence[str]) -> str:
    """Return the SHA-256 of a file; of several, that of their hexadecimal hashes in a row; empty for none."""
    hashes = [hash_file(reference) for reference in references]
    return "".join(hashes) if len(hashes) < 2 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def read_state(reference: str) -> dict[str, Tensor]:
    """Read named tensors from a safetensors file, or from a checkpoint of torch's that holds tensors alone.

    A checkpoint that keeps them under `state_dict` is understood.
    Raises: RequestError when the file is not there or holds anything else.
    """
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = read_file(reference)
    try:
        if not reference.endswith((".pt", ".pth", ".bin")):
            return load(data)
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise RequestError(
            f"'{reference}' holds no named tensors; give a safetensors file, or a checkpoint of tensors alone: {error}"
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise RequestError(f"'{reference}' holds no named tensors but a {type(state).__name__}")
    return cast("dict[str, Tensor]", state)


@contextmanager
def weights_only() -> Iterator[None]:
    """Forbid unpickling to whatever torch calls inside: torch.export.load falls back to it by itself."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
