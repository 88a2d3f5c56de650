from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from photos import make_photos

pytest.importorskip("transformers")

from reinforced.answers import Answer
from reinforced.errors import RequestError
from reinforced.language_model import Question, Requests, Use
from reinforced.local_language_model import LocalLanguageModel

WORDS = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "what", "is", "this", "user", "a", "bird", "tree", "boat", "sky"]
TEMPLATE = (
    "{% for m in messages %}{{ m.role }} {% for c in m.content %}"
    "{% if c.type == 'image' %}<image> {% else %}{{ c.text }} {% endif %}{% endfor %}{% endfor %}"
)
USE = Use(Requests(), "", 0, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a LLaVA model of a few thousand random weights: 32 px images in patches of 16."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    place = tmp_path_factory.mktemp("models") / "llava"
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, additional_special_tokens=["<image>"], **special)
    square = {"height": 32, "width": 32}
    pixels = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=square)
    rest = {"vision_feature_select_strategy": "default", "chat_template": TEMPLATE, "num_additional_image_tokens": 1}
    LlavaProcessor(image_processor=pixels, tokenizer=tokenizer, patch_size=16, **rest).save_pretrained(place)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = CLIPVisionConfig(image_size=32, patch_size=16, projection_dim=16, **sizes)
    text = LlamaConfig(vocab_size=len(WORDS), pad_token_id=0, bos_token_id=1, eos_token_id=2, **sizes)
    torch.manual_seed(0)
    network = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=text, image_token_index=4, image_seq_length=4)
    )
    with torch.no_grad():  # larger weights, so that the image matters to what is said
        for weight in network.parameters():
            weight.mul_(8)
    network.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> list[Question]:
    place = tmp_path_factory.mktemp("photos")
    make_photos(place, 4)
    images = [path.read_bytes() for path in sorted(place.rglob("*.jpg"))]
    return [Question(str(i), "what is this" + " bird" * i, image) for i, image in enumerate(images)]


def model(folder: Path, **more: Any) -> LocalLanguageModel:
    return LocalLanguageModel.model_validate({"transformers": str(folder), "max_tokens": 6, **more})


def test_each_question_is_answered_as_if_it_were_asked_alone(folder: Path, questions: list[Question]) -> None:
    together = model(folder).open(USE).ask(questions)
    alone = [model(folder, batch_size=1).open(USE).ask([question])[0] for question in questions]
    assert together == alone
    assert len({answer.text for answer in together}) > 1  # type: ignore[union-attr]
    for question, answer in zip(questions, together, strict=True):
        assert isinstance(answer, Answer)
        assert answer.input_tokens == 1 + 4 + len(question.prompt.split())  # user, the image's patches, the words
        assert 1 <= answer.output_tokens <= 6


def test_a_long_answer_is_marked_as_cut(folder: Path, questions: list[Question]) -> None:
    for answer in model(folder, max_tokens=1).open(USE).ask(questions):
        assert isinstance(answer, Answer)
        assert answer.finish == "length" or answer.text == ""


def test_a_broken_image_costs_only_its_own_question(folder: Path, questions: list[Question]) -> None:
    broken = Question("x", "what is this", b"\xff\xd8\xff no image")
    first, second = model(folder).open(USE).ask([broken, questions[1]])
    assert isinstance(first, str) and first.startswith("corrupt: ")
    assert second == model(folder).open(USE).ask([questions[1]])[0]


def test_random_answers_repeat_for_a_question_and_differ_between_draws(folder: Path, questions: list[Question]) -> None:
    speaker = model(folder, temperature=1.5).open(USE)
    draws = [Question("0", "what is this", questions[0].image, draw) for draw in range(6)]
    said = speaker.ask(draws)
    assert said[::-1] == speaker.ask(draws[::-1])
    assert len({answer.text for answer in said}) > 1  # type: ignore[union-attr]


def test_a_text_alone_can_be_asked(folder: Path) -> None:
    (answer,) = model(folder).open(USE).ask([Question("0", "what is this")])
    assert isinstance(answer, Answer)
    assert answer.input_tokens == 4


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"has no config\.json"):
        model(tmp_path).ingredients()
    with pytest.raises(RequestError, match="is no image-text-to-text model"):
        model(tmp_path).open(USE)
