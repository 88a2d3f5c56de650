"""Every kind of teacher on a small network made from configuration; nothing is downloaded."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from small_teachers import Means, cnn, small_clip

from reinforced.errors import RequestError
from reinforced.forward import prepared
from reinforced.json_schema import pipeline_schema
from reinforced.reinforcement import TeacherRecord
from reinforced.teacher import Preprocessing
from reinforced.teachers import KINDS, Ensemble, parse_teacher

Spec = dict[str, Any]
SIDE = 32
IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
CLASSES = ["cat", "dog", "fire engine"]
TEXTS = ["a photo of a {}.", "a drawing of a {}."]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def timm_teacher(folder: Path) -> tuple[Spec, Any]:
    import timm

    torch.manual_seed(0)
    arguments = {"num_classes": 5, "embed_dim": 12, "depth": 1, "num_heads": 1, "img_size": SIDE}
    network = timm.create_model("vit_tiny_patch16_224", pretrained=False, **arguments).eval()
    save_file(network.state_dict(), folder / "vit.safetensors")
    spec = {"timm": "vit_tiny_patch16_224", "weights": f"{folder}/vit.safetensors", "arguments": arguments}
    return spec, lambda images: network(images / 0.5 - 1)


def torchvision_teacher(folder: Path) -> tuple[Spec, Any]:
    from torchvision.models import squeezenet1_1

    torch.manual_seed(0)
    network = squeezenet1_1(num_classes=5).eval()
    torch.save(network.state_dict(), folder / "squeezenet.pth")
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    spec = {"torchvision": "squeezenet1_1", "arguments": {"num_classes": 5}, "size_px": SIDE}
    ask = lambda images: network((images - mean.view(3, 1, 1)) / std.view(3, 1, 1))  # noqa: E731
    return spec | {"weights": f"{folder}/squeezenet.pth"}, ask


def transformers_teacher(folder: Path) -> tuple[Spec, Any]:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=SIDE,
        patch_size=16,
        num_labels=5,
    )
    network = ViTForImageClassification(config).eval()
    network.save_pretrained(folder / "vit")
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
    ViTImageProcessor(size={"height": SIDE, "width": SIDE}, image_mean=mean, image_std=std).save_pretrained(
        folder / "vit"
    )
    scale, shift = torch.tensor(std).view(3, 1, 1), torch.tensor(mean).view(3, 1, 1)
    return {"transformers": f"{folder}/vit"}, lambda images: network((images - shift) / scale).logits


def open_clip_teacher(folder: Path) -> tuple[Spec, Any]:
    import open_clip

    place = folder / "clip"
    network = small_clip(place, SIDE)
    tokens = open_clip.SimpleTokenizer()

    def ask(images: torch.Tensor) -> torch.Tensor:
        rows = []
        for name in CLASSES:
            each = [network.encode_text(tokens(text.format(name)), normalize=True)[0] for text in TEXTS]
            mean = (each[0] + each[1]) / 2
            rows.append(mean / mean.norm())
        found = network.encode_image((images - 0.5) / 0.25, normalize=True)
        return network.logit_scale.exp() * found @ torch.stack(rows).T

    return {"open_clip": str(place), "class_names": CLASSES, "templates": TEXTS}, ask


def onnx_teacher(folder: Path) -> tuple[Spec, Any]:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(folder / "means.onnx"))
    return {"onnx": f"{folder}/means.onnx"}, lambda images: images.mean(dim=(2, 3)) @ torch.from_numpy(weight)


MAKERS: dict[str, Callable[[Path], tuple[Spec, Any]]] = {
    "timm": timm_teacher,
    "torchvision": torchvision_teacher,
    "transformers": transformers_teacher,
    "open_clip": open_clip_teacher,
    "onnx": onnx_teacher,
}
EACH = pytest.mark.parametrize("kind", MAKERS)


def test_every_kind_is_tried_here_or_beside_the_ensemble() -> None:
    assert {*MAKERS, "factory", "torch_export"} == set(KINDS)


@EACH
def test_a_teacher_answers_what_its_library_would_with_its_own_preprocessing(kind: str, tmp_path: Path) -> None:
    spec, ask = MAKERS[kind](tmp_path)
    ensemble = Ensemble([parse_teacher(spec)], (SIDE, SIDE), batch_size=2)
    with torch.inference_mode():
        expected = ask(torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255)
    np.testing.assert_allclose(ensemble.logits(0, IMAGES), expected.numpy(), atol=2e-5)
    np.testing.assert_allclose(ensemble.probabilities(IMAGES), expected.softmax(1).numpy(), atol=1e-5)
    record = TeacherRecord.of(ensemble.teachers[0], ensemble.hashes[0], ensemble.preprocessing[0])
    assert (record.kind, record.size) == (kind, (SIDE, SIDE))
    assert len(record.sha256) == 64
    assert TeacherRecord.model_validate_json(record.model_dump_json()) == record


@EACH
def test_views_of_another_size_are_resized_to_what_it_wants(kind: str, tmp_path: Path) -> None:
    spec, _ = MAKERS[kind](tmp_path)
    ensemble = Ensemble([parse_teacher(spec)], (20, 24), batch_size=2)
    small = np.ascontiguousarray(IMAGES[:, :24, :20])
    assert np.isfinite(ensemble.logits(0, small)).all()
    assert ensemble.preprocessing[0].size == (SIDE, SIDE)


@EACH
def test_what_the_pipeline_says_goes_before_its_configuration(kind: str, tmp_path: Path) -> None:
    spec, _ = MAKERS[kind](tmp_path)
    own = {"mean": [0.1, 0.2, 0.3], "std": [2.0, 3.0, 4.0], "interpolation": "bicubic"}
    ensemble = Ensemble([parse_teacher(spec | own)], (SIDE, SIDE))
    assert ensemble.preprocessing[0] == Preprocessing((SIDE, SIDE), "bicubic", (0.1, 0.2, 0.3), (2.0, 3.0, 4.0))


@EACH
def test_a_change_of_its_files_is_seen_before_it_is_asked(kind: str, tmp_path: Path) -> None:
    spec, _ = MAKERS[kind](tmp_path)
    teacher = parse_teacher(spec)
    hashes = {teacher.content_hash()}
    for file in teacher.files():
        Path(file).write_bytes(Path(file).read_bytes() + b" ")
        hashes.add(teacher.content_hash())
    assert len(hashes) == 1 + len(teacher.files())


@EACH
def test_a_file_that_is_missing_is_named(kind: str, tmp_path: Path) -> None:
    spec, _ = MAKERS[kind](tmp_path)
    last = Path(parse_teacher(spec).files()[-1])
    last.unlink()
    for ask in (lambda t: Ensemble([t], (SIDE, SIDE)), lambda t: t.load(torch.device("cpu"))):
        with pytest.raises(RequestError, match=rf"{last.name}' is not there"):
            ask(parse_teacher(spec))


@EACH
def test_weights_that_are_none_are_refused(kind: str, tmp_path: Path) -> None:
    spec, _ = MAKERS[kind](tmp_path)
    Path(parse_teacher(spec).files()[-1]).write_bytes(b"no weights at all")
    with pytest.raises(RequestError, match=r"no named tensors|can be loaded"):
        Ensemble([parse_teacher(spec)], (SIDE, SIDE))


@EACH
def test_a_package_that_is_not_installed_is_named(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, _ = MAKERS[kind](tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime" if kind == "onnx" else kind, None)
    with pytest.raises(RequestError, match=r"not installed.*install reinforced\[teachers\]"):
        Ensemble([parse_teacher(spec)], (SIDE, SIDE))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"timm": "resnet81", "weights": "x"}, "timm has no model 'resnet81'; did you mean"),
        ({"timm": "resnet18", "weights": "x", "arguments": {"clases": 3}}, "refuses arguments"),
        ({"torchvision": "resnet81", "weights": "x"}, "no classifier 'resnet81'; did you mean"),
        ({"torchvision": "resnet18", "weights": "x", "preset": "IMAGENET"}, "did you mean 'IMAGENET1K_V1'"),
        ({"torchvision": "resnet18", "weights": "x", "arguments": {"clases": 3}}, "refuses arguments"),
        ({"open_clip": "ViT-B-32", "class_names": CLASSES}, "needs `weights`"),
        ({"open_clip": "ViT-B-16-SigLIP", "class_names": CLASSES, "weights": "x"}, "lies on a hub"),
        ({"open_clip": "ViT-B-23", "class_names": CLASSES, "weights": "x"}, "cannot build it"),
    ],
)
def test_a_name_or_setting_the_library_does_not_know_is_refused(spec: Spec, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        parse_teacher(spec).load(torch.device("cpu"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ({"hf_model_name": "bert"}, "lies on a hub"),
        ({"hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}}, r"\['trust_remote_code'\]"),
    ],
)
def test_a_zero_shot_model_brings_no_code_and_fetches_nothing(text: Spec, message: str, tmp_path: Path) -> None:
    spec, _ = open_clip_teacher(tmp_path)
    path = tmp_path / "clip" / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["text_cfg"] |= text
    path.write_text(json.dumps(config))
    with pytest.raises(RequestError, match=message):
        parse_teacher(spec).load(torch.device("cpu"))


def test_a_zero_shot_models_own_tokenizer_is_read_from_its_folder(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    spec, _ = open_clip_teacher(tmp_path)
    place = tmp_path / "clip"
    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "a", "photo", "of", "cat", "dog"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(place)
    config = json.loads((place / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "nobody/nothing"
    (place / "open_clip_config.json").write_text(json.dumps(config))
    teacher = parse_teacher(spec)
    assert str(place / "tokenizer.json") in teacher.files()
    assert np.isfinite(Ensemble([teacher], (SIDE, SIDE), batch_size=2).logits(0, IMAGES)).all()
    path = place / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": {"AutoTokenizer": ["evil.T", "evil.T"]}}))
    (place / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with contextlib.suppress(RequestError):
        teacher.load(torch.device("cpu"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("templates", '["a photo of a cat"]', "has no {} for the class"),
        ("class_names", "{cat: 1}", "must be a list of texts"),
        ("class_names", "[cat, 1]", "must be a list of texts"),
        ("class_names", "[cat", "no YAML or JSON file"),
    ],
)
def test_prompts_from_a_file_must_be_prompts(field: str, text: str, message: str, tmp_path: Path) -> None:
    spec, _ = open_clip_teacher(tmp_path)
    (tmp_path / "lines.yaml").write_text(text)
    with pytest.raises(RequestError, match=message):
        parse_teacher(spec | {field: f"{tmp_path}/lines.yaml"}).load(torch.device("cpu"))


def test_eighty_prompts_are_the_default(tmp_path: Path) -> None:
    spec, _ = open_clip_teacher(tmp_path)
    (tmp_path / "names.json").write_text(json.dumps(CLASSES))
    del spec["templates"]
    ensemble = Ensemble([parse_teacher(spec | {"class_names": f"{tmp_path}/names.json"})], (SIDE, SIDE))
    assert ensemble.classes == 3
    teacher: Any = ensemble.teachers[0]
    assert len(set(teacher._lines("templates"))) == 80
    assert all(line.count("{}") == 1 for line in teacher._lines("templates"))


def test_a_classifier_without_a_preprocessor_says_what_to_give(tmp_path: Path) -> None:
    spec, _ = transformers_teacher(tmp_path)
    (tmp_path / "vit" / "preprocessor_config.json").unlink()
    with pytest.raises(RequestError, match="give mean and std"):
        Ensemble([parse_teacher(spec)], (SIDE, SIDE))
    Ensemble([parse_teacher(spec | {"mean": [0.5] * 3, "std": [0.5] * 3})], (SIDE, SIDE))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"resample": 3}, {"interpolation": "bicubic"}),
        ({"size": {"shortest_edge": 40}}, {"size": (40, 40)}),
        (
            {"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": {"height": 32, "width": 36}},
            {"size": (36, 32)},
        ),
        ({"size": 48}, {"size": (48, 48)}),
        ({"do_normalize": False}, {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}),
    ],
)
def test_a_preprocessor_is_followed(changes: Spec, expected: Spec, tmp_path: Path) -> None:
    spec, _ = transformers_teacher(tmp_path)
    path = tmp_path / "vit" / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    found = parse_teacher(spec).load(torch.device("cpu")).preprocessing
    usual = Preprocessing((SIDE, SIDE), "bilinear", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    assert found == replace(usual, **expected)


@pytest.mark.parametrize("changes", [{"do_rescale": False}, {"rescale_factor": 1 / 127.5}])
def test_a_preprocessor_that_scales_otherwise_is_refused(changes: Spec, tmp_path: Path) -> None:
    spec, _ = transformers_teacher(tmp_path)
    path = tmp_path / "vit" / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(RequestError, match=r"does not scale pixels to 0\.\.1"):
        parse_teacher(spec).load(torch.device("cpu"))


def test_code_beside_a_model_is_not_run(tmp_path: Path) -> None:
    spec, _ = transformers_teacher(tmp_path)
    path = tmp_path / "vit" / "config.json"
    remote = {"AutoConfig": "evil.Config", "AutoModelForImageClassification": "evil.Model"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": remote, "model_type": "evil"}))
    (tmp_path / "vit" / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(RequestError, match="can be loaded"):
        Ensemble([parse_teacher(spec)], (SIDE, SIDE))
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_with_more_than_tensors_is_not_unpickled(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"state_dict": cnn().state_dict(), "x": Evil()}, tmp_path / "evil.pth")
    spec = {"factory": "small_teachers.cnn", "weights": f"{tmp_path}/evil.pth"}
    with pytest.raises(RequestError, match="no named tensors"):
        Ensemble([parse_teacher(spec)], (SIDE, SIDE))
    assert not (tmp_path / "ran").exists()
    torch.save({"state_dict": cnn().state_dict(), "epoch": 3}, tmp_path / "good.pth")
    Ensemble([parse_teacher(spec | {"weights": f"{tmp_path}/good.pth"})], (SIDE, SIDE))


@pytest.mark.parametrize("shape", [["n", 3], ["n", 3, 16, 16]])
def test_a_graph_for_other_images_is_refused(shape: list[Any], tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("images", "logits")]
    graph = helper.make_graph([helper.make_node("Identity", ["images"], ["logits"])], "same", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), f"{tmp_path}/g.onnx")
    spec = {"onnx": f"{tmp_path}/g.onnx"}
    with pytest.raises(RequestError, match=r"must have one float32 input|must answer \(N, classes\)"):
        Ensemble([parse_teacher(spec)], (SIDE, SIDE))
    with pytest.raises(RequestError, match=r"no output 'x', it has logits|must have one float32 input"):
        parse_teacher(spec | {"output": "x"}).load(torch.device("cpu"))


def test_images_are_resized_as_pillow_does_within_a_grey_level() -> None:
    from PIL import Image

    smooth = np.asarray(Image.fromarray(IMAGES[0]).resize((64, 48), Image.Resampling.BICUBIC))
    how = Preprocessing(size=(20, 24), interpolation="bilinear")
    found = prepared(torch.from_numpy(smooth[None].copy()), how)[0].permute(1, 2, 0).numpy() * 255
    expected = np.asarray(Image.fromarray(smooth).resize((20, 24), Image.Resampling.BILINEAR))
    assert np.abs(found - expected).max() <= 1.01
    assert Means()(prepared(torch.from_numpy(smooth[None].copy()), Preprocessing())).shape == (1, 3)


def test_every_teacher_on_the_page_is_one_and_every_kind_is_on_it() -> None:
    page = (Path(__file__).parents[1] / "docs" / "teachers.md").read_text("utf-8")
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    shown = [given for given in blocks if "op" not in given]  # the others are steps
    assert {kind for given in shown for kind in KINDS if kind in given} == set(KINDS)
    assert all(parse_teacher(given).name for given in shown)
    step = {"op": "reinforce", "draws": 1, "augment": {"size_px": 8}, "teachers": shown}
    head = {"name": "page", "out": "page", "source": {"op": "read.digits"}}
    jsonschema.validate(head | {"steps": [step]}, pipeline_schema())
