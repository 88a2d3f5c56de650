from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest
from standard_table import standard_table

from reinforced.batch import Batch
from reinforced.errors import RequestError
from reinforced.operators.detect.people import DetectPeople
from reinforced.operators.filter.people import FilterPeople

TABLE = standard_table().slice(3, 2)


def scored(operator: DetectPeople) -> pa.Table:
    return operator(TABLE)


def test_scores_of_the_default_are_numbers_and_say_who_gave_them() -> None:
    pytest.importorskip("cv2")
    found = scored(DetectPeople())
    for name in ("face_score", "person_score"):
        assert all(0 <= score <= 1 for score in found.column(name).to_pylist())
    assert set(found.column("people_detector").to_pylist()) == {"opencv"}
    assert set(found.column("people_detector_sha256").to_pylist()) == {DetectPeople().ingredients()["opencv"]}


def test_a_face_is_seen_and_a_wall_is_not() -> None:
    cv2 = pytest.importorskip("cv2")
    import numpy as np

    from reinforced.people import OpenCvDetector

    detector = OpenCvDetector()
    assert detector(np.full((200, 200, 3), 128, np.uint8)) == (0, 0)
    face = np.full((240, 240, 3), 90, np.uint8)
    for centre, axes, grey in [
        ((120, 120), (60, 80), 205),
        ((96, 100), (15, 8), 50),
        ((144, 100), (15, 8), 50),
        ((120, 130), (7, 18), 225),
        ((120, 165), (24, 6), 90),
    ]:
        cv2.ellipse(face, centre, axes, 0, 0, 360, (grey,) * 3, -1)
    assert (detector(cv2.GaussianBlur(face, (9, 9), 3))[0] or 0) >= 0.5


def test_torchvision_weights_are_loaded_from_a_file(tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    from safetensors.torch import save_file

    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None)
    weights = tmp_path / "detector.safetensors"
    save_file(model.state_dict(), weights)
    found = scored(DetectPeople(detector="torchvision", model=name, weights=str(weights)))
    assert found.column("face_score").null_count == 2
    assert all(0 <= score <= 1 for score in found.column("person_score").to_pylist())
    whole = hashlib.sha256(hashlib.sha256(weights.read_bytes()).hexdigest().encode()).hexdigest()
    assert found.column("people_detector_sha256")[0].as_py() == whole


def test_a_transformers_detector_is_loaded_from_a_folder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = transformers.RTDetrConfig(
        backbone_config=backbone,
        encoder_in_channels=[8, 16, 16],
        encoder_hidden_dim=16,
        feat_channels=[16, 16, 16],
        decoder_in_channels=[16, 16, 16],
        d_model=16,
        decoder_layers=1,
        encoder_layers=1,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=10,
        num_denoising=0,
        id2label={0: "cat", 1: "Person"},
        label2id={"cat": 0, "Person": 1},
    )
    transformers.RTDetrForObjectDetection(config).save_pretrained(tmp_path)
    transformers.RTDetrImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path)
    found = scored(DetectPeople(detector="transformers", weights=str(tmp_path)))
    assert found.column("face_score").null_count == 2
    assert all(0 <= score <= 1 for score in found.column("person_score").to_pylist())


def test_missing_weights_are_named_with_the_extra_that_runs_them() -> None:
    operator = DetectPeople(detector="torchvision", weights="no/such.pth")
    with pytest.raises(RequestError, match=r"no/such\.pth.*reinforced\[teachers\]"):
        operator.ingredients()
    with pytest.raises(ValueError, match="need weights"):
        DetectPeople(detector="transformers")


def test_another_limit_needs_no_detector() -> None:
    rows = {"face_score": [0.1, 0.4, None, None, 0.6], "person_score": [0.2, 0.1, 0.3, None, 0.9]}
    table = pa.table({"key": list("abcde"), **rows})
    strict, lax = (FilterPeople(min_score=limit).judge(Batch(table)) for limit in (0.25, 0.5))
    assert list(strict.reasons) == [None, "face", "person", "not looked at", "person"]
    assert list(lax.reasons) == [None, None, None, "not looked at", "person"]
    assert list(strict.scores or ()) == [0.2, 0.4, 0.3, None, 0.9]
