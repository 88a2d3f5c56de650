"""The documentation says what is there, all of it, and its examples run."""

from __future__ import annotations

import io
import re
import runpy
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
import yaml
from pydantic import Field
from sklearn.datasets import load_sample_images

import reinforced
from reinforced import catalog, reference
from reinforced.columns import column, layer_schemas
from reinforced.operator import Filter, Operator
from reinforced.plan import plan
from reinforced.registry import find_operator, operator_names

TOP = Path(__file__).parents[1]
PAGES = sorted([TOP / "README.md", TOP / "CONTRIBUTING.md", *(TOP / "docs").glob("*.md")])
WRITTEN = {page.name: page.read_text("utf-8") for page in PAGES}
BLOCK = re.compile(r"(?:<!-- (run|file: \S+) -->\n)?```(\w+)\n(.*?)```", re.DOTALL)


def wordless(cls: type[Operator]) -> list[str]:
    """Return what of an operator has no words."""
    found = [] if (cls.__dict__.get("__doc__") or "").strip() else ["the operator"]
    found += [f"parameter {p.name}" for p in catalog.parameters(cls) if not p.description.strip()]
    described = [f for f in cls.writes if not isinstance(f, str)]
    return found + [f"column {f.name}" for f in described if not (f.metadata or {}).get(b"description")]


class Wordless(Filter):
    writes: ClassVar = (column("nothing", "int32", ""),)

    limit: Annotated[int, Field(gt=0)] = 1


def test_an_operator_without_words_is_found() -> None:
    assert wordless(Wordless)[0] == "the operator"
    assert {"parameter limit", "column nothing"} <= set(wordless(Wordless))


@pytest.mark.parametrize("name", operator_names())
def test_every_operator_and_parameter_has_words_in_the_reference(name: str) -> None:
    assert wordless(find_operator(name)) == []
    page = reference.operators_page()
    section = page.partition(f"## {name} {{")[2].partition("\n## ")[0]
    assert catalog.describe(name).text in section
    for parameter in catalog.describe(name).parameters:
        assert f"`{parameter.name}`" in section or parameter.name.startswith(("resources", "into"))


@pytest.mark.parametrize("name", layer_schemas())
def test_every_column_has_words_in_the_reference(name: str) -> None:
    section = reference.schemas_page().partition(f"## {name}\n")[2].partition("\n## ")[0]
    schema = layer_schemas()[name]
    assert len(schema.description) > 20
    for found in schema.fields.values():
        words = found.metadata[b"description"].decode()
        assert len(words) > 10, f"column {found.name}"
        assert f"`{found.name}`" in section
        assert words.replace("|", "\\|") in section


@pytest.mark.parametrize("name", reference.commands())
def test_every_command_and_option_has_words(name: str) -> None:
    words, options = reference.commands()[name]
    assert len(words) > 10
    assert [o.names[0] for o in options if len(o.description) < 10] == []
    page = reference.commands_page()
    assert all(f"`{option}`" in page for o in options for option in o.names)


def test_every_public_name_is_on_the_page_of_the_python_interface() -> None:
    missing = [
        n for n in reinforced.__all__ if n != "__version__" and f"::: reinforced.{n}\n" not in WRITTEN["python.md"]
    ]
    assert missing == []


def test_every_dependency_says_why_it_is_here_and_no_other_is_listed() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = {("", _package(line)) for line in project["dependencies"]}
    wanted |= {(extra, _package(line)) for extra, lines in extras.items() for line in lines}
    rows = re.findall(r"^\| (?:`(\S+)` \| )?`([^`]+)` \| (.+) \|$", WRITTEN["dependencies.md"], re.MULTILINE)
    assert {(extra, package) for extra, package, _ in rows} == {w for w in wanted if w[1] != "reinforced"}
    assert all(len(why) > 10 for _, _, why in rows)


def test_constraints_name_every_dependency_and_only_versions() -> None:
    lines = [line for line in (TOP / "constraints.txt").read_text("utf-8").splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in lines)
    pinned = {re.sub(r"[._-]+", "-", line.partition("==")[0]).lower() for line in lines}
    project = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [
        line for name, group in project["optional-dependencies"].items() if name != "clip-retrieval" for line in group
    ]
    named = {re.sub(r"[._-]+", "-", _package(line)).lower() for line in [*project["dependencies"], *extras]}
    assert named - pinned == {"reinforced"}
    assert "clip-retrieval" not in pinned


def _package(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found
    return found[0]


def test_every_page_is_in_the_navigation() -> None:
    config = yaml.load((TOP / "mkdocs.yml").read_text("utf-8"), Loader=yaml.BaseLoader)
    listed = set(_leaves(config["nav"]))
    assert {page.name for page in (TOP / "docs").glob("*.md")} <= listed


def _leaves(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from _leaves(part)


def commands_in(text: str) -> list[list[str]]:
    """Return the `reinforced` commands of a page's shell blocks, split into words."""
    shell = "\n".join(body for _, language, body in BLOCK.findall(text) if language == "sh")
    lines = shell.replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in re.split(r"&&|--(?= +reinforced )|>", line.partition(" #")[0])]
    commands = [re.sub(r"^PYTHONPATH=\S+ ", "", part.strip()) for part in parts]
    return [shlex.split(command)[1:] for command in commands if command.startswith("reinforced ")]


@pytest.mark.parametrize("page", [name for name, text in WRITTEN.items() if commands_in(text)])
def test_every_command_on_a_page_exists(page: str) -> None:
    known = reference.commands()
    for command, *words in commands_in(WRITTEN[page]):
        if words and f"{command} {words[0]}" in known:
            command = f"{command} {words.pop(0)}"
        assert command in known, f"reinforced {command}"
        options = {name for option in known[command][1] for name in option.names}
        assert [w for w in words if w.startswith("-") and w.partition("=")[0] not in options] == [], f"of {command}"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_recipe_of_just_on_a_page_exists(page: str) -> None:
    recipes = set(
        re.findall(r"^([a-z][a-z-]*)(?: [A-Z*][^:=]*)?:(?!=)", (TOP / "Justfile").read_text("utf-8"), re.MULTILINE)
    )
    assert recipes == {"test", "test-slow", "lint", "types", "bench", "docs", "demo"}
    shell = "\n".join(body for _, language, body in BLOCK.findall(WRITTEN[page]) if language == "sh")
    named = {word for line in re.findall(r"\bjust ([a-z -]+)", shell) for word in line.split()}
    assert named <= recipes


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with photographs in class folders and a teacher for images of 64 px."""
    import torch
    from PIL import Image

    for name, photo in zip(("temple", "flower"), load_sample_images().images, strict=True):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(7):
            left, top = 50 * (i % 6), 30 * (i % 6)  # the last is the first again
            side = Image.fromarray(photo).crop((left, top, left + 150 + 30 * (i % 2), top + 165))
            side.save(tmp_path / "photos" / name / f"{i}.jpg")
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.AvgPool2d(16), torch.nn.Flatten(), torch.nn.Linear(48, 8)).eval()
    program, buffer = torch.export.export(network, (torch.zeros(64, 3, 64, 64),)), io.BytesIO()
    torch.export.save(program, buffer)
    (tmp_path / "teachers").mkdir()
    (tmp_path / "teachers" / "mine.pt2").write_bytes(buffer.getvalue())
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def examples(text: str) -> list[tuple[str, str, str]]:
    """Return the blocks of a page that a test can do something with: mark, language, text."""
    pipelines = re.compile(r"^name: .*^source: ", re.DOTALL | re.MULTILINE)
    return [b for b in BLOCK.findall(text) if b[0] or (b[1] == "yaml" and pipelines.search(b[2]))]


@pytest.mark.parametrize("page", [name for name, text in WRITTEN.items() if examples(text)])
def test_the_examples_of_a_page_run_one_after_the_other(page: str, workplace: Path) -> None:
    names: dict[str, Any] = {}
    for mark, language, text in examples(WRITTEN[page]):
        if mark.startswith("file: "):
            (workplace / mark.removeprefix("file: ")).write_text(text, "utf-8")
        elif language == "python":
            (workplace / "example.py").write_text(text, "utf-8")
            names |= runpy.run_path("example.py", init_globals=names)
        else:
            pipeline = yaml.safe_load(text)
            (workplace / f"{pipeline['name']}.yaml").write_text(text, "utf-8")
            made = plan(f"{pipeline['name']}.yaml")
            if mark:
                assert len(reinforced.run(f"{pipeline['name']}.yaml").dataset) > 0
            assert made.name == pipeline["name"]


def test_an_error_shown_on_a_page_is_the_error_one_gets(workplace: Path) -> None:
    lines = ["name: photos", "out: data", "source: {op: read.images, path: photos/}", "steps:"]
    Path("photos.yaml").write_text("\n".join([*lines, "", "  - {op: filter.image, min_sidepx: 64}"]), "utf-8")
    with pytest.raises(ValueError) as caught:
        plan("photos.yaml")
    assert str(caught.value) in WRITTEN["pipelines.md"]
