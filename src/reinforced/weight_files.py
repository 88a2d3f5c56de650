"""Reading the weights of networks: from a path, an fsspec URL or this package, and never by unpickling."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources

from reinforced.errors import RequestError


def read_weights(reference: str) -> bytes:
    """Read a file named by a path, an fsspec URL, or `package:path` for one that ships with this package.

    Raises: RequestError when it is not there.
    """
    import fsspec

    try:
        if reference.startswith("package:"):
            path = reference.removeprefix("package:")
            if ".." in path.split("/"):
                raise RequestError(f"weights '{reference}' must lie inside the package")
            return resources.files("reinforced").joinpath(path).read_bytes()
        with fsspec.open(reference, "rb") as file:
            return bytes(file.read())
    except (FileNotFoundError, IsADirectoryError) as error:
        raise RequestError(
            f"weights '{reference}' are not there: give a path, an fsspec URL or package:PATH"
        ) from error


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
