"""Wrong pipelines: each gets one helpful line that names file and line, and leaves nothing on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import reinforced
from reinforced.errors import RequestError
from reinforced.pipeline import load, recipes
from reinforced.plan import plan

HEAD = "name: pets\nout: data\n"
DIGITS = HEAD + "source: {op: read.digits}\n"
STEP = DIGITS + "steps:\n  - "

WRONG: dict[str, tuple[str, list[str]]] = {
    # The file itself.
    "an unclosed bracket": (
        HEAD + "source: {op: read.digits\nseed: 1\n",
        ["p.yaml:4: not YAML", "expected ',' or '}'"],
    ),
    "a tab": (HEAD + "source:\n\top: read.digits\n", ["p.yaml:4: not YAML", r"'\t'"]),
    "two documents": (DIGITS + "---\nname: b\n", ["p.yaml:4: not YAML", "expected a single document"]),
    "a list": ("- name: pets\n", ["p.yaml: a pipeline is a mapping with the keys name, out, source, steps"]),
    "an empty file": ("", ["p.yaml: a pipeline is a mapping"]),
    "a Python object": (HEAD + "source: !!python/name:os.system\n", ["p.yaml:3: not YAML", "python/name:os.system"]),
    "a value in itself": (DIGITS + "variables: &v\n  v: *v\n", ["p.yaml:4: the value holds itself"]),
    "a key given twice": (DIGITS + "seed: 1\nseed: 2\n", ["p.yaml:5: 'seed' is given twice"]),
    "a parameter given twice": (
        STEP + "op: filter.image\n    min_std: 1\n    min_std: 2\n",
        ["p.yaml:7: 'min_std' is given twice"],
    ),
    "a key that YAML reads as true": (DIGITS + "on: 1\n", ["p.yaml:4: the key on is a boolean", "quotes: 'on'"]),
    # Its keys.
    "an unknown key": (DIGITS + "step: []\n", ["p.yaml:4: the pipeline has no key 'step'; did you mean 'steps'?"]),
    "no source": (HEAD, ["p.yaml:1: the pipeline needs 'source'", "an operator of kind source"]),
    "no out": (
        "name: pets\nsource: {op: read.digits}\n",
        ["p.yaml:1: the pipeline needs 'out'", "Folder or fsspec URL"],
    ),
    "a name with a slash": ("name: a/b\nout: data\nsource: {op: read.digits}\n", ["p.yaml:1:", "name", "got 'a/b'"]),
    "a seed in words": (DIGITS + "seed: one\n", ["p.yaml:4: the pipeline: seed:", "valid integer", "got 'one'"]),
    "a rate of two": (DIGITS + "max_failure_rate: 2\n", ["p.yaml:4:", "less than or equal to 1, got 2"]),
    "steps as a mapping": (DIGITS + "steps: {op: hash.pixels}\n", ["p.yaml:4: the pipeline: steps: must be a list"]),
    "a step as a word": (STEP + "filter.image\n", ["p.yaml:5:", "steps.0: must be a mapping", "got 'filter.image'"]),
    "a step without op": (STEP + "{min_std: 1}\n", ["p.yaml:5: a step needs an operator, such as op: filter.image"]),
    # Its operators and their parameters.
    "an unknown operator": (
        STEP + "{op: filter.imgae}\n",
        ["p.yaml:5: operator 'filter.imgae' is unknown; did you mean "],
    ),
    "an own operator that is nowhere": (STEP + "{op: my.Op}\n", ["p.yaml:5: operator 'my.Op' is unknown"]),
    "an unknown parameter": (
        STEP + "op: filter.image\n    min_side: 1\n",
        ["p.yaml:6: filter.image has no parameter 'min_side'; did you mean 'min_side_px'?"],
    ),
    "an unknown parameter inside another": (
        STEP + "op: hash.pixels\n    resources:\n      gpu: 1\n",
        ["p.yaml:7: hash.pixels has no parameter 'resources.gpu'; did you mean 'gpus'?"],
    ),
    "a number in words": (
        STEP + "op: filter.image\n    min_side_px: large\n",
        ["p.yaml:6: filter.image: min_side_px:", "valid integer", "got 'large'"],
    ),
    "a number out of range": (
        STEP + "op: filter.image\n    max_aspect: 0.5\n",
        ["p.yaml:6: filter.image: max_aspect:", "greater than or equal to 1, got 0.5"],
    ),
    "an unknown choice": (STEP + "{op: dedup.exact, by: byte}\n", ["p.yaml:5:", "'bytes' or 'pixels', got 'byte'"]),
    "an unknown choice in a list": (
        STEP + "{op: filter.image, formats: [PNG, JPG]}\n",
        ["p.yaml:5: filter.image: formats.1:", "'JPEG'", "got 'JPG'"],
    ),
    "a missing parameter": (STEP + "{op: filter.where}\n", ["p.yaml:5: filter.where needs 'sql': The condition"]),
    "a source among the steps": (
        STEP + "{op: read.digits}\n",
        ["p.yaml:5: read.digits is a source; it belongs under source:"],
    ),
    "a sink among the steps": (
        STEP + "{op: write.parquet, path: x}\n",
        ["p.yaml:5: write.parquet is a sink", "under sinks:"],
    ),
    "a step among the sinks": (
        DIGITS + "sinks: [{op: hash.pixels}]\n",
        ["p.yaml:4: hash.pixels is a transform", "under steps:"],
    ),
    "a filter as the source": (
        HEAD + "source: {op: filter.image}\n",
        ["p.yaml:3: filter.image is a filter", "under steps:"],
    ),
    "workers in falling order": (
        STEP + "op: hash.pixels\n    resources: {workers: [4, 2]}\n",
        ["p.yaml:6: hash.pixels: resources.workers: workers [4, 2] must be at least 1 and in rising order"],
    ),
    "memory without a unit": (STEP + "{op: hash.pixels, resources: {memory: '4'}}\n", ["p.yaml:5:", "such as 4GiB"]),
    "an unknown kind of teacher": (
        STEP + "op: reinforce\n    draws: 2\n    augment: {size_px: 8}\n    teachers: [{fctory: a.b}]\n",
        ["p.yaml:8: reinforce: teachers.0:", "did you mean 'factory'?"],
    ),
    "weights that are nowhere": (
        STEP + "{op: reinforce, draws: 2, augment: {size_px: 8}, teachers: [{torch_export: no.pt2}]}\n",
        ["p.yaml:5: reinforce: the file 'no.pt2' is not there"],
    ),
    # Interpolation.
    "interpolation to nothing": (
        STEP + "op: filter.image\n    min_std: ${variables.limit}\n",
        ["p.yaml:6: Interpolation key 'variables.limit' not found", "${variables.NAME}"],
    ),
    "an unset environment variable": (
        STEP + "op: filter.image\n    min_std: ${oc.env:REINFORCED_NOT_SET}\n",
        ["p.yaml:6:", "'REINFORCED_NOT_SET' not found"],
    ),
    "an unclosed interpolation": (STEP + "{op: filter.image, min_std: '${seed'}\n", ["p.yaml:5:", "${seed"]),
    # Columns and layers, end to end.
    "a column nobody provides": (
        STEP + "{op: filter.where, sql: widht > 3}\n",
        ["p.yaml:5: filter.where reads column 'widht', which nobody before it provides; did you mean 'width'?"],
    ),
    "a column that comes too late": (
        STEP + "{op: filter.where, sql: pixel_sha256 > 'a'}\n  - {op: hash.pixels}\n",
        ["p.yaml:5: filter.where reads column 'pixel_sha256', which nobody before it provides"],
    ),
    "a layer written twice": (
        STEP + "{op: hash.pixels}\n  - {op: hash.pixels}\n",
        ["p.yaml:6: hash.pixels#2 writes layer 'hashes', which hash.pixels writes already", "into: hashes_2"],
    ),
    "a column added twice": (
        STEP + "{op: hash.pixels}\n  - {op: hash.pixels, into: more}\n",
        ["p.yaml:6: hash.pixels#2 adds column 'pixel_sha256', which hash.pixels provides already"],
    ),
    "a layer that leaves the folder": (
        STEP + "{op: hash.pixels, into: ../x}\n",
        ["p.yaml:5:", "'../x' cannot be the name"],
    ),
    "a layer with a taken name": (
        STEP + "{op: hash.pixels, into: verdicts}\n",
        ["p.yaml:5:", "none of dataset, verdicts"],
    ),
    "a generator after a layer": (
        STEP + "{op: hash.pixels}\n  - {op: generate.tiles}\n",
        ["p.yaml:6: generate.tiles starts a new samples layer: put it before"],
    ),
    "a sink without its column": (
        DIGITS + "sinks: [{op: evaluate.student, split: part}]\n",
        ["p.yaml:4: evaluate.student reads column 'part', which nobody before it provides"],
    ),
    "SQL that is none": (
        STEP + "{op: filter.where, sql: label >}\n",
        ["p.yaml:5: filter.where: sql: label >:", "syntax error"],
    ),
    "SQL that is no condition": (
        STEP + "{op: filter.where, sql: label + 1}\n",
        ["p.yaml:5:", "gives INTEGER", "true or false"],
    ),
    "an unknown SQL function": (
        STEP + "{op: filter.where, sql: half(label) > 1}\n",
        ["p.yaml:5:", "half does not exist"],
    ),
    "SQL over all rows": (STEP + "{op: filter.where, sql: max(label) > 1}\n", ["p.yaml:5:", "uses max", "may decide"]),
    # Sources that are not there.
    "a path that YAML reads as false": (
        HEAD + "source: {op: read.images, path: no}\n",
        ["p.yaml:3: read.images: path:", "got False", "write it in quotes"],
    ),
    "a folder that is nowhere": (
        HEAD + "source: {op: read.images, path: nowhere}\n",
        ["p.yaml:3: read.images:", "does not exist"],
    ),
    "a dataset that is nowhere": (
        HEAD + "source: {op: read.dataset, path: nowhere}\n",
        ["p.yaml:3: read.dataset: nowhere is no dataset"],
    ),
}

OVERRIDES: dict[str, list[str]] = {
    "sed=1": ["override 'sed=1': 'sed' is no key of a pipeline; did you mean 'seed'?"],
    "seed": ["override 'seed' is not key=value, such as seed=1"],
    "seed=one": ["override 'seed=one': the pipeline: seed:", "valid integer"],
    "seed=[1": ["override 'seed=[1'", "not YAML"],
    "steps.9.min_std=1": ["override 'steps.9.min_std=1': of steps the pipeline has one: steps.0"],
    "steps.0.min_sdt=1": ["override 'steps.0.min_sdt=1': filter.image has no parameter", "did you mean 'min_std'?"],
    "source.shard_row=1": ["override 'source.shard_row=1': read.digits has no parameter", "did you mean 'shard_rows'?"],
    "out=${nothing}": ["override 'out=${nothing}': Interpolation key 'nothing' not found"],
    "sinks.0.path=x": ["override 'sinks.0.path=x': of sinks the pipeline has none to set"],
}


def _refused(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]) -> str:
    monkeypatch.chdir(folder)
    (folder / "p.yaml").write_text(text)
    with pytest.raises(RequestError) as refused:
        plan("p.yaml", overrides)
    assert [path.name for path in folder.iterdir()] == ["p.yaml"], "a refused pipeline leaves nothing on disk"
    return str(refused.value)


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_pipeline_gets_one_helpful_line(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, expected = WRONG[what]
    said = _refused(text, tmp_path, monkeypatch, [])
    assert "\n" not in said
    assert [part for part in expected if part not in said] == [], said


@pytest.mark.parametrize("override", OVERRIDES)
def test_a_wrong_override_is_named(override: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = _refused(STEP + "{op: filter.image}\n", tmp_path, monkeypatch, [override])
    assert "\n" not in said
    assert [part for part in OVERRIDES[override] if part not in said] == [], said


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RequestError, match=r"p\.yaml: is no text in UTF-8"):
        load(tmp_path / "p.yaml")


def test_an_unknown_recipe_suggests_a_known_one() -> None:
    with pytest.raises(RequestError, match="'quikstart' is neither a file nor a recipe; did you mean 'quickstart'"):
        load("quikstart")


def test_a_mistake_in_a_mapping_is_named_too(tmp_path: Path) -> None:
    wrong: dict[str, Any] = {"name": "a", "out": str(tmp_path / "a"), "source": {"op": "read.digit"}}
    with pytest.raises(RequestError, match=r"pipeline:4: operator 'read.digit' is unknown; did you mean 'read.digits'"):
        reinforced.run(wrong)
    assert list(tmp_path.iterdir()) == []


def test_every_recipe_says_what_it_makes_and_loads() -> None:
    assert "quickstart" in recipes()
    for name, words in recipes().items():
        assert len(words) > 20, name
        assert load(name).spec.out, name


def test_overrides_reach_nested_values_and_variables() -> None:
    text = {
        "name": "a",
        "out": "data/${name}",
        "variables": {"limit": 4},
        "source": {"op": "read.digits"},
        "steps": [{"op": "filter.image", "min_side_px": "${variables.limit}"}],
    }
    loaded = load(text, ["variables.limit=9", "source.shard_rows=7", "name=b", "steps.0.formats=[PNG]"])
    filter_image = loaded.steps[0].operator
    assert loaded.spec.out == "data/b"
    assert loaded.source.operator.model_dump()["shard_rows"] == 7
    assert filter_image.model_dump()["min_side_px"] == 9
    assert filter_image.model_dump()["formats"] == ("PNG",)


def test_a_seeded_step_gets_the_seed_of_the_pipeline_unless_it_names_one() -> None:
    reinforce = {
        "op": "reinforce",
        "draws": 1,
        "augment": {"size_px": 8},
        "teachers": [{"factory": "reinforced.models.digit_cnn"}],
    }
    text = {
        "name": "a",
        "out": "a",
        "seed": 5,
        "source": {"op": "read.digits"},
        "steps": [reinforce, reinforce | {"seed": 9}],
    }
    assert [step.operator.model_dump()["seed"] for step in load(text).steps] == [5, 9]


def test_secrets_of_the_environment_are_not_kept_with_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REINFORCED_TEST_SECRET", "hunter2")
    text = {
        "name": "a",
        "out": str(tmp_path / "a"),
        "variables": {"token": "${oc.env:REINFORCED_TEST_SECRET}"},
        "source": {"op": "read.digits", "shard_rows": 2000},
    }
    made = reinforced.run(text)
    files = [path for path in Path(made.path).rglob("*") if path.is_file()]
    assert [path for path in files if b"hunter2" in path.read_bytes()] == []
