"""Pictures without people."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from reinforced.batch import Batch
from reinforced.operator import Filter, Verdicts


class FilterPeople(Filter):
    """Drops pictures in which `detect.people` saw a face or a person; another limit asks no detector again.

    The reason is `face` or `person`, whichever scores more, and the score is that one's; a picture with neither score
    is dropped as `not looked at`. The default is low on purpose: a picture too many costs less than a person.
    """

    reads: ClassVar = ("face_score", "person_score")

    min_score: Annotated[float, Field(gt=0, le=1, description="Least score that counts as seen.")] = 0.25

    def judge(self, batch: Batch) -> Verdicts:
        """Compare the larger score with the limit."""
        verdicts = []
        for face, person in zip(batch.values("face_score"), batch.values("person_score"), strict=True):
            seen = [(score, name) for score, name in ((face, "face"), (person, "person")) if score is not None]
            score, name = max(seen, default=(None, "not looked at"))
            verdicts.append((name if score is None or score >= self.min_score else None, score))
        return Verdicts([reason for reason, _ in verdicts], [score for _, score in verdicts])
