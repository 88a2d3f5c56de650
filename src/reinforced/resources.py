"""What one worker of a step needs: cores, GPUs, memory; and how many workers there may be."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Resources(BaseModel):
    """What one worker of a step needs, and how many of them there may be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpus: Annotated[float, Field(gt=0, description="CPU cores of one worker; also its number of compute threads.")] = 1
    gpus: Annotated[float, Field(ge=0, description="GPUs of one worker; a fraction shares one.")] = 0
    memory: Annotated[str | None, Field(description="Memory of one worker, such as 4GiB; Ray places it by that.")] = (
        None
    )
    workers: Annotated[
        tuple[int, int] | int | None,
        Field(description="Number of workers, or [least, most] for a pool that grows; default: as many as fit."),
    ] = None

    @field_validator("memory")
    @classmethod
    def _check_memory(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"\d+(\.\d+)?\s*(MiB|GiB|TiB|MB|GB|TB)", value):
            raise ValueError(f"'{value}' is no amount of memory; write a number and a unit, such as 4GiB")
        return value

    @field_validator("workers")
    @classmethod
    def _check_workers(cls, value: tuple[int, int] | int | None) -> tuple[int, int] | int | None:
        least, most = value if isinstance(value, tuple) else (value or 1, value or 1)
        if not 1 <= least <= most:
            raise ValueError(f"workers [{least}, {most}] must be at least 1 and in rising order")
        return value

    @property
    def memory_bytes(self) -> int | None:
        """The memory in bytes."""
        if self.memory is None:
            return None
        number, unit = re.fullmatch(r"([\d.]+)\s*(\w+)", self.memory).groups()  # type: ignore[union-attr]
        base = 1024 if "i" in unit else 1000
        return int(float(number) * base ** {"M": 2, "G": 3, "T": 4}[unit[0]])
