"""The command line: what is printed where, exit codes, interruption."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from reinforced.cli import main
from reinforced.pipeline import recipes
from reinforced.progress import LiveProgress, PlainProgress, clock
from reinforced.record import Record, StepCounts, StepRecord

COMMAND = [sys.executable, "-m", "reinforced"]

PIPELINE = """# Digits without threes.
name: small
out: {out}
source: {{op: read.digits}}
steps:
  - {{op: filter.where, sql: label != 3}}
  - {{op: hash.pixels}}
  - {{op: dedup.exact}}
"""


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "small.yaml").write_text(PIPELINE.format(out=folder / "data"))
    return folder / "small.yaml"


@pytest.fixture(scope="module")
def dataset(pipeline: Path) -> Path:
    assert main(["run", str(pipeline), "--plain"]) == 0
    return pipeline.parent / "data"


def _run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload,no-any-return]


def test_help_comes_without_loading_the_heavy_packages() -> None:
    code = "import sys, reinforced.cli as c; c.main(['--help']); print(sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "ray", "pyarrow", "numpy", "PIL", "duckdb", "sklearn", "omegaconf"}
    assert [name for name in heavy if f"'{name}'" in done.stderr] == []
    for command in ("run", "plan", "ops", "pipelines", "inspect", "verify", "export"):
        assert re.search(rf"^ +{command} ", done.stdout, re.MULTILINE), command


def test_run_prints_results_on_stdout_with_the_path_last_and_progress_on_stderr(pipeline: Path, tmp_path: Path) -> None:
    done = _run("run", str(pipeline), f"out={tmp_path / 'made here'}", "source.shard_rows=600")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == str(tmp_path / "made here")
    assert re.search(r"filter\.where +1,797 +1,614 +183 +0 .*183 where", done.stdout)
    assert f"reinforced inspect '{tmp_path / 'made here'}'" in done.stdout
    assert f"{tmp_path / 'made here' / 'report.html'}" in done.stdout
    assert (tmp_path / "made here" / "report.html").stat().st_size > 1000
    assert "3/3 shards" in done.stderr
    assert "\x1b" not in done.stderr + done.stdout
    assert "rows/s" not in done.stdout


def test_running_again_makes_nothing_again(dataset: Path, pipeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in dataset.glob("*/*.parquet")}
    assert main(["run", str(pipeline)]) == 0
    assert "0 of 6 shards made now" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in dataset.glob("*/*.parquet")} == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "quikstart"], "did you mean 'quickstart'?"),
        (["run", "quickstart", "sed=1"], "did you mean 'seed'?"),
        (["run", "quickstart", "--engine", "spark"], "'spark'"),
        (["run", "quickstart", "--address", "auto"], "add engine ray"),
        (["run", "quickstart", "--workers", "0"], "must be at least 1"),
        (["run"], "PIPELINE"),
        (["runn", "quickstart"], "runn"),
        (["run", "quickstart", "--fast"], "--fast"),
        (["plan"], "plan needs a PIPELINE"),
        (["ops", "filter.imgae"], "did you mean 'filter.image'?"),
        (["inspect", "nowhere"], "nowhere is no dataset"),
        (["verify", "nowhere"], "nowhere is no dataset"),
        (["export", "nowhere", "there", "--to", "parquet"], "nowhere is no dataset"),
        (["export", "nowhere", "there", "--to", "csv"], "export --to csv is unknown; allowed: "),
    ],
)
def test_a_wrong_request_is_one_line_on_stderr_and_exit_code_2(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(r"error: .+\n", printed.err)
    assert said in printed.err
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_had_to_stop_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(3):
        (tmp_path / f"photos/{i}.png").write_bytes(b"no image")
    (tmp_path / "p.yaml").write_text(
        f"name: p\nout: {tmp_path}/data\nsource: {{op: read.images, path: {tmp_path}/photos}}"
    )
    assert main(["run", str(tmp_path / "p.yaml"), "--plain"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: 3 of 3 rows failed, more than max_failure_rate 0.1")


def test_an_interrupted_run_is_exit_code_130_says_how_to_go_on_and_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "data"
    arguments = ["run", "quickstart", f"out={out}", "source.shard_rows=50", "--plain", "--workers", "1"]
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(out.glob("_runs/records/*/*.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stdout == ""
    said = stderr.splitlines()[-1]
    assert said.startswith("interrupted; what is done is kept, the same command goes on from there: reinforced run ")
    assert f"out={out}" in said
    assert "Traceback" not in stderr
    assert not (out / "_runs/lease.json").exists()
    again = [*arguments, "steps.2.draws=1", "sinks=[]"]
    resumed = _run(*again)
    assert resumed.returncode == 0, resumed.stderr
    assert re.search(r"of them done before|nothing left to do", resumed.stderr)
    assert _run("verify", str(out)).stdout == f"{out} is whole: every layer, key and ledger row is as recorded\n"


def test_unexpected_errors_are_one_line_unless_asked_for(dataset: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "dataset.json").write_text('{"format": 1, "name": "broken", "layers": {}, "shards": [{}], "kept": 0}')
    done = _run("inspect", str(broken))
    assert done.returncode == 1
    assert re.fullmatch(r"error: KeyError: .*REINFORCED_DEBUG=1.*\n", done.stderr)
    debug = _run("inspect", str(broken), env=os.environ | {"REINFORCED_DEBUG": "1"})
    assert "Traceback" in debug.stderr


def test_plan_shows_steps_columns_and_segments(pipeline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(pipeline)]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"filter\.where +filter +0 +label", shown)
    assert re.search(r"dedup\.exact +global +1 +sha256", shown)
    assert re.search(r"hash\.pixels +hashes +pixel_sha256 +string", shown)


def test_plan_for_machines_names_what_each_step_reads_and_adds(
    pipeline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(pipeline), "seed=7", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["seed"] == 7
    assert [step["name"] for step in plan["steps"]] == ["read.digits", "filter.where", "hash.pixels", "dedup.exact"]
    added = plan["steps"][2]["adds"]
    assert [(column["layer"], column["name"], column["type"]) for column in added] == [
        ("hashes", "pixel_sha256", "string")
    ]
    assert plan["steps"][1]["parameters"] == {"sql": "label != 3"}
    assert plan["steps"][3]["segment"] == 1


def test_plan_prints_the_schema_for_editors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--json-schema"]) == 0
    assert json.loads(capsys.readouterr().out)["properties"].keys() >= {"name", "out", "source", "steps", "sinks"}


def test_ops_lists_every_operator_and_shows_one(capsys: pytest.CaptureFixture[str]) -> None:
    from reinforced.registry import operator_names

    assert main(["ops", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [operator["name"] for operator in listed] == operator_names()
    assert [operator["name"] for operator in listed if len(operator["summary"]) < 20] == []
    assert main(["ops", "reinforce"]) == 0
    page = capsys.readouterr().out
    assert re.search(r"draws +int +\(required\) +Reinforcements of each image\.", page)
    assert "augment.random_resized_crop.scale" in page
    assert re.search(r"teachers\[\]\.torch_export", page)
    assert "op: reinforce, draws: 3" in page


def test_pipelines_lists_every_recipe_with_its_first_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pipelines"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert [name for name, words in recipes().items() if f"{name} {words[:40]}" not in shown] == []


def test_inspect_shows_layers_columns_and_the_funnel(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(dataset)]) == 0
    shown = capsys.readouterr().out
    assert "1,614 samples in 6 shards" in shown
    assert re.search(r"hashes +small: hash\.pixels +1,614 ", shown)
    assert re.search(r"samples +width +int32 +px", shown)
    steps = re.findall(
        r"^ (read\.digits|filter\.where|hash\.pixels|dedup\.exact) +[\d,]+ +[\d,]+ +\d+ +\d+", shown, re.M
    )
    assert steps == ["read.digits", "filter.where", "hash.pixels", "dedup.exact"]
    assert main(["inspect", str(dataset), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["kept"] == 1614
    assert facts["funnel"][1]["counts"]["reasons"] == {"where": 183}


def test_inspect_answers_queries(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = "SELECT label, count(*) AS images, min(image) AS first FROM dataset GROUP BY label ORDER BY label LIMIT 2"
    assert main(["inspect", str(dataset), "--sql", query, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["label"], row["images"]) for row in rows] == [(0, 178), (1, 182)]
    assert rows[0]["first"].startswith("iVBOR")  # a PNG in base64
    assert main(["inspect", str(dataset), "--sql", query]) == 0
    assert re.search(r"^ 0 +178 +\d+ bytes", capsys.readouterr().out, re.M)
    assert main(["inspect", str(dataset), "--sql", "SELECT key FROM dataset"]) == 0
    assert "1,514 more rows; --json prints all of them" in capsys.readouterr().out
    for wrong in ("SELECT nothing FROM dataset", "SELECT", "SELECT 1 FROM read_parquet(3)"):
        assert main(["inspect", str(dataset), "--sql", wrong]) == 2, wrong


def test_inspect_tells_all_about_a_sample_also_a_dropped_one(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def ask(*arguments: str) -> dict:  # type: ignore[type-arg]
        assert main(["inspect", str(dataset), "--json", *arguments]) == 0
        return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]

    kept = ask("--key", "digit/0000")
    assert (kept["shard"], kept["row"]) == ("00000", 0)
    assert kept["layers"]["samples"]["label"] == 0
    assert len(kept["layers"]["hashes"]["pixel_sha256"]) == 64
    assert {fate["outcome"] for fate in kept["ledger"]} == {"kept"}
    dropped = ask("--key", "digit/0003")
    assert dropped["shard"] is None
    assert [(fate["outcome"], fate["step"], fate["reason"]) for fate in dropped["ledger"]] == [
        ("dropped", "filter.where", "where")
    ]
    assert dropped["ledger"][0]["steps"] == ["read.digits", "filter.where"]
    assert main(["inspect", str(dataset), "--key", "digit/0003"]) == 0
    assert re.search(r"small +dropped +filter\.where +where", capsys.readouterr().out)
    assert main(["inspect", str(dataset), "--key", "nobody's"]) == 2
    assert "has no sample 'nobody's'" in capsys.readouterr().err


def test_verify_is_exit_code_1_and_names_what_does_not_fit(
    pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(pipeline), f"out={tmp_path / 'data'}"]) == 0
    (tmp_path / "data/hashes/00002.parquet").write_bytes(b"PAR1")
    capsys.readouterr()
    assert main(["verify", str(tmp_path / "data")]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("hashes/00002.parquet: has 4 bytes")
    assert printed.err == f"error: {tmp_path / 'data'}: 1 things do not fit\n"


def test_export_prints_the_destination_last(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(dataset), "--to", "webdataset", str(tmp_path / "tars")]) == 0
    assert capsys.readouterr().out == f"6 files\n{tmp_path / 'tars'}\n"
    assert len(list((tmp_path / "tars").glob("*.tar"))) == 6


def test_a_reader_that_stops_early_is_no_error(dataset: Path) -> None:
    query = f"{' '.join(COMMAND)} inspect {dataset} --json --sql 'SELECT key, image FROM dataset, range(50)' | head -1"
    done = subprocess.run(["bash", "-c", query], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.startswith('{"key"')


def test_python_calls_are_functions_whatever_was_imported_before() -> None:
    code = (
        "import reinforced.run, reinforced.plan, reinforced\n"
        "from reinforced.plan import Plan\n"
        "assert callable(reinforced.run) and callable(reinforced.plan), reinforced.run\n"
        "print(reinforced.__version__, reinforced.plan('quickstart').name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert re.fullmatch(r"\d+\.\d+\.\d+ digits-plus\n", done.stdout), done.stderr


def _record(shard: str, kept: int) -> Record:
    counts = {"read": StepCounts(10, 10, 0, 0), "filter": StepCounts(10, kept, 9 - kept, 1)}
    return Record(shard, {}, "", {name: StepRecord("", c) for name, c in counts.items()}, rows=kept)


def test_plain_progress_counts_a_shard_once_however_often_it_comes_by() -> None:
    text = io.StringIO()
    progress = PlainProgress(["read", "filter"], Console(file=text, width=200))
    progress.phase("read → filter", 3, 2)
    progress.shard(_record("0", 7), {"read": 0.5, "filter": 0.5})
    progress.shard(_record("1", 5), {"read": 0.5, "filter": 0.5})
    progress.phase("finish", 3, 2)
    progress.shard(_record("0", 7), {})
    progress.shard(_record("1", 5), {})
    lines = text.getvalue().splitlines()
    assert lines[0] == "read → filter: 3 shards, 1 of them done before"
    assert re.fullmatch(r"read → filter: 3/3 shards, 20 rows, [\d,]+ rows/s, kept 12, dropped 6, failed 2", lines[1])
    assert re.fullmatch(r"finish: 3/3 shards, 12 rows, [\d,]+ rows/s, kept 12, dropped 6, failed 2", lines[-1])


def test_the_live_table_shows_every_step_and_how_far_it_is() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120)
    with LiveProgress(["read", "filter"], console) as progress:
        progress.phase("read → filter", 2, 2)
        progress.shard(_record("0", 7), {"read": 0.5, "filter": 0.25})
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.getvalue())
    assert re.search(r"filter +10 +7 +2 +1 +40", shown)
    assert "1/2 shards" in shown
    assert "ETA" in shown


def test_durations_read_as_clocks() -> None:
    assert [clock(seconds) for seconds in (0.2, 42, 187, 3723)] == ["0:00", "0:42", "3:07", "1:02:03"]
