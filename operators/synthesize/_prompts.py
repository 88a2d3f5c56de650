"""Prompts, as they stand in a pipeline or in a column of a file."""

from __future__ import annotations

from typing import Annotated

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from reinforced.errors import RequestError
from reinforced.storage import Storage


class PromptColumn(BaseModel):
    """Prompts in a column of a Parquet file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Annotated[str, Field(min_length=1, description="The file: a local path or fsspec URL.")]
    column: Annotated[str, Field(description="Column with the prompts.")] = "prompt"

    def read(self) -> list[str]:
        """Return the prompts that are not null. Raises: RequestError where there is no such file or column."""
        folder, _, name = self.path.rpartition("/")
        try:
            table = Storage(folder or ".").read_table(name, [self.column])
            found: list[str] = table.column(self.column).drop_null().cast(pa.string()).to_pylist()
        except (FileNotFoundError, KeyError, pa.ArrowInvalid) as error:
            raise RequestError(f"synthesize.diffusion: no column '{self.column}' in '{self.path}'") from error
        return found
