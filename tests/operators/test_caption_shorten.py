from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from language_server import LanguageServer

from reinforced.batch import Batch
from reinforced.errors import RowErrors
from reinforced.operators.caption.shorten import CaptionShorten

LONG = "a small brown bird with a short tail that stands up and a thin bill"


def test_only_texts_that_are_too_long_are_sent(tmp_path: Path) -> None:
    table = pa.table({"key": ["a", "b"], "caption": ["a bird", LONG]})
    with LanguageServer() as server:
        asked = {"model": {"endpoint": server.url, "name": "m"}, "requests": {"cache": tmp_path}, "words": 8}
        operator = CaptionShorten.model_validate(asked | {"max_words": None, "prompt": "At most {words} words."})
        operator.setup()
        made = operator.apply(Batch(table))
        assert len(server.arrivals) == 1
        assert made.values("short_caption") == ["a bird", f"Said about: At most 8 words.\n\n{LONG}"]
        assert made.values("short_caption_input_tokens") == [0, 100]
        strict = CaptionShorten.model_validate(asked | {"max_words": 10, "prompt": "At most {words} words."})
        strict.setup()
        with pytest.raises(RowErrors) as caught:
            strict.apply(Batch(table))
        assert caught.value.reasons == {1: "too long: 21 words"}
        assert len(server.arrivals) == 1  # the answer was stored, though it will not do
