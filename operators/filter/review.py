"""What people decided."""

from __future__ import annotations

import csv
import io
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PrivateAttr

from reinforced.batch import Batch
from reinforced.errors import RequestError
from reinforced.operator import Filter, Verdicts
from reinforced.weight_files import hash_file, read_file


class FilterReview(Filter):
    """Drops the images that a person decided to drop, by a CSV with the columns key, verdict and note.

    A verdict is `keep` or `drop`, the reason `review: <note>`. An image that is listed without a verdict was asked
    about and not answered: it is dropped as `no verdict`. One that is not listed was not asked about: `unlisted` says
    what becomes of it, and drops it as `not listed`. `write.review` makes the list.
    """

    reads: ClassVar = ("key",)
    examples: ClassVar = ()

    path: Annotated[str, Field(min_length=1, description="The CSV file: a path or an fsspec URL.")]
    unlisted: Annotated[Literal["keep", "drop"], Field(description="What becomes of images that are not listed.")] = (
        "keep"
    )

    _verdicts: dict[str, tuple[str, str]] = PrivateAttr(default_factory=dict)

    def ingredients(self) -> dict[str, str]:
        """Return the hash of the list."""
        return {"verdicts": hash_file(self.path)}

    def setup(self) -> None:
        """Read the list. Raises: RequestError for another header, another word, or two verdicts on one image."""
        reader = csv.DictReader(io.StringIO(read_file(self.path).decode("utf-8-sig"), newline=""))
        if not {"key", "verdict"} <= set(reader.fieldnames or ()):
            raise RequestError(
                f"{self.path} needs columns key and verdict, it has {', '.join(reader.fieldnames or ())}"
            )
        self._verdicts = {}
        for row in reader:
            verdict, note = (row["verdict"] or "").strip().lower(), (row.get("note") or "").strip()
            if verdict not in ("keep", "drop", ""):
                raise RequestError(
                    f"{self.path}, line {reader.line_num}: '{verdict}' is no verdict; write keep or drop"
                )
            if self._verdicts.setdefault(row["key"], (verdict, note))[0] != verdict:
                raise RequestError(f"{self.path}, line {reader.line_num}: '{row['key']}' has another verdict before")

    def judge(self, batch: Batch) -> Verdicts:
        """Look every key up."""
        return Verdicts([self._reason(key) for key in batch.keys])

    def _reason(self, key: str) -> str | None:
        if key not in self._verdicts:
            return "not listed" if self.unlisted == "drop" else None
        verdict, note = self._verdicts[key]
        if verdict == "drop":
            return f"review: {note}" if note else "review"
        return None if verdict else "no verdict"
