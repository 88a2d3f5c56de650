from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from small_teachers import small_clip

pytest.importorskip("open_clip")
pytest.importorskip("transformers")

from reinforced.batch import Batch
from reinforced.errors import RequestError
from reinforced.operators.embed.text import EmbedText

TEXTS = ["a temple at dusk", "a flower", "a flower", "one more temple, by the sea"]


def rows(texts: list[str | None]) -> pa.Table:
    return pa.table({"key": [str(i) for i in range(len(texts))], "caption": pa.array(texts, pa.string())})


def vectors(model: dict[str, Any], texts: list[str | None], **more: Any) -> np.ndarray:
    operator = pickle.loads(pickle.dumps(EmbedText.model_validate({"model": model, "store": "float32", **more})))
    operator.setup()
    return np.array(operator.apply(Batch(rows(texts))).values("text_embedding"))


def small_bert(folder: Path) -> Any:
    """Save a text model of transformers with random weights and a tokenizer of the words above."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", *sorted({word.strip(",") for text in TEXTS for word in text.split()})]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    torch.manual_seed(0)
    sizes = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    network = BertModel(BertConfig(vocab_size=len(words), **sizes)).eval()
    network.save_pretrained(folder)
    fast.save_pretrained(folder)
    return network, fast


def test_the_vectors_are_those_of_open_clip_itself(tmp_path: Path) -> None:
    import open_clip

    network = small_clip(tmp_path / "clip", 32)
    with torch.inference_mode():
        expected = network.encode_text(open_clip.SimpleTokenizer()(TEXTS), normalize=True).numpy()
    found = vectors({"open_clip": str(tmp_path / "clip")}, list(TEXTS))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 0.01


def test_a_text_model_gives_the_mean_over_tokens_of_unit_length_whatever_else_is_in_the_batch(tmp_path: Path) -> None:
    network, tokenizer = small_bert(tmp_path / "bert")
    model = {"transformers": str(tmp_path / "bert")}
    found = vectors(model, list(TEXTS))
    with torch.inference_mode():
        hidden = network(**tokenizer(TEXTS[0], return_tensors="pt")).last_hidden_state[0].mean(0)
    np.testing.assert_allclose(found[0], hidden / hidden.norm(), atol=1e-5)
    assert np.array_equal(found[3], vectors(model, [TEXTS[3]])[0])
    assert EmbedText.model_validate({"model": model}).outputs().field(0).type == pa.list_(pa.float16(), 12)


def test_a_row_without_a_text_fails(tmp_path: Path) -> None:
    small_clip(tmp_path / "clip", 32)
    with pytest.raises(ValueError, match="null: caption"):
        vectors({"open_clip": str(tmp_path / "clip")}, ["a flower", None])


def test_a_folder_that_holds_no_model_is_refused_before_anything_starts(tmp_path: Path) -> None:
    operator = EmbedText.model_validate({"model": {"transformers": str(tmp_path / "nothing")}})
    with pytest.raises(RequestError, match="no local folder of a transformers model"):
        operator.ingredients()
    with pytest.raises(RequestError, match="no configuration of a text model"):
        operator.outputs()
