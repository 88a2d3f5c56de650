"""The command line: `reinforced COMMAND`.

Results go to standard output, progress and errors to standard error. Exit codes: 0 done, 1 failed, 2 the request was
wrong, 130 interrupted.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from reinforced import importing, search_cli, takedown_cli
from reinforced.errors import RequestError, RunError
from reinforced.teachers_cli import teachers_app

if TYPE_CHECKING:
    from reinforced.run import RunResult

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    name="reinforced",
    help="Construct image datasets and reinforce them.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(teachers_app, name="teachers")

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""What Typer raises for wrong arguments; some versions have it from click, others bring their own."""

PipelineName = Annotated[str, typer.Argument(metavar="PIPELINE", help="A YAML file, or the name of a recipe.")]
Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="Values to set in it, such as out=data/pets seed=1 steps.0.draws=10."
    ),
]
DatasetPath = Annotated[str, typer.Argument(metavar="DATASET", help="Folder or fsspec URL of a dataset.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; every error is one line on standard error."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    sys.path.append(str(Path.cwd()))  # a user's own operators lie beside the pipeline
    try:
        code = app(args=arguments or ["--help"], prog_name="reinforced", standalone_mode=False) or DONE
    except (UsageError, RequestError, RunError, OSError, KeyboardInterrupt, typer.Abort) as error:
        if os.environ.get("REINFORCED_DEBUG"):
            raise
        code = _say(error)
    except Exception as error:  # a fault of ours: still one line, and how to see the rest
        if os.environ.get("REINFORCED_DEBUG"):
            raise
        _complain(f"{type(error).__name__}: {error}; this should not happen: set REINFORCED_DEBUG=1 to see where")
        code = FAILED
    if code == INTERRUPTED:
        again = shlex.join(["reinforced", *arguments])
        resumes = "; what is done is kept, the same command goes on from there:" if arguments[:1] == ["run"] else ":"
        print(f"interrupted{resumes} {again}", file=sys.stderr)
    return int(code)


def _say(error: BaseException) -> int:
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):  # who read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    if isinstance(error, UsageError):
        _complain(f"{error.format_message()} (see reinforced --help)")  # type: ignore[attr-defined]
        return WRONG
    _complain(str(error))
    return WRONG if isinstance(error, RequestError) else FAILED


def _complain(text: str) -> None:
    print(f"error: {' '.join(text.split())}", file=sys.stderr)


@app.command()
def run(
    pipeline: PipelineName,
    settings: Settings = None,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="This machine's cores, or Ray.")] = "local",
    address: Annotated[str | None, typer.Option(help="Address of a Ray cluster; default: Ray on this machine.")] = None,
    workers: Annotated[int | None, typer.Option(help="Most workers at once; default: as many as fit.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what the source could not read for a passing reason.")
    ] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Progress as plain lines, also on a terminal.")] = False,
) -> None:
    """Run a pipeline, or go on with an interrupted one. The last line printed is the dataset's path."""
    execute(pipeline, settings or [], engine, address, workers, plain, retry_failed)


def execute(
    pipeline: str | Mapping[str, Any],
    settings: Sequence[str] = (),
    engine: str = "local",
    address: str | None = None,
    workers: int | None = None,
    plain: bool = False,
    retry_failed: bool = False,
) -> None:
    """Run a pipeline, show how far it is, and at the end what it made."""
    from reinforced.plan import plan as make_plan
    from reinforced.progress import make_progress
    from reinforced.run import run as run_plan

    made = make_plan(pipeline, settings)
    with make_progress([step.name for step in [made.source, *made.steps]], plain) as progress:
        result = run_plan(
            made, engine=engine, workers=workers, address=address, retry_failed=retry_failed, listener=progress
        )
    _summarize(result)


def _summarize(result: RunResult) -> None:
    from reinforced.cascade import cheaper_orders
    from reinforced.display import funnel_table, show
    from reinforced.inspection import FunnelStep, evaluation, funnel

    plan, dataset = result.plan, result.dataset
    steps = [FunnelStep(plan.name, s.name, s.operator.kind, result.counts[s.name]) for s in [plan.source, *plan.steps]]
    show([funnel_table(steps, result.seconds), *map(str, cheaper_orders(plan.steps, result.counts, result.seconds))])
    scores = evaluation(dataset)
    if scores:
        from reinforced.comparison import student_table

        show([student_table(scores)])
    made = f"{result.shards_made} of {len(dataset.shards)} shards made now"
    show([f"{len(dataset):,} samples, {made}, {result.wall_s:.1f} s"])
    if dataset.storage.local:
        from reinforced.report import write_report

        path = dataset.storage.local / "report.html"
        steps = funnel(dataset)
        many = len({step.pipeline for step in steps}) > 1
        write_report(dataset, {s.title if many else s.step: s.counts for s in steps}, scores, path)
        show([f"Report, to open in a browser: {path}"])
    show([f"Look further: reinforced inspect {shlex.quote(result.path)}"])
    print(result.path)


@app.command()
def plan(
    pipeline: Annotated[str | None, typer.Argument(metavar="PIPELINE", help="A YAML file, or a recipe's name.")] = None,
    settings: Settings = None,
    as_json: AsJson = False,
    json_schema: Annotated[
        bool, typer.Option("--json-schema", help="Print the JSON Schema of pipeline files, for editors.")
    ] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Ask the teachers about a few images, and say what all will take.")
    ] = False,
) -> None:
    """Check a pipeline and show its steps and columns. Starts no worker and writes nothing."""
    from reinforced.display import json_line, print_plan

    if json_schema:
        from reinforced.json_schema import pipeline_schema

        print(json_line(pipeline_schema()))
        return
    if pipeline is None:
        raise RequestError("plan needs a PIPELINE, or --json-schema; reinforced pipelines lists the recipes")
    from reinforced.plan import plan as make_plan

    made = make_plan(pipeline, settings or [])
    print_plan(made, as_json, measure)


@app.command()
def ops(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="An operator, to see all there is to it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the operators, or show one with its parameters. Columns and an example come with it."""
    from reinforced import catalog
    from reinforced.display import json_line, operator_facts, operator_tables, show, table

    if name is None:
        found = catalog.summaries()
        if as_json:
            print(json_line([{"name": n, "kind": kind, "summary": text} for n, (kind, text) in found.items()]))
        else:
            show([table("", ["operator", "kind", "what it does"], ([n, *facts] for n, facts in found.items()))])
        return
    page = catalog.describe(name)
    if as_json:
        print(json_line(operator_facts(page)))
    else:
        show(operator_tables(page))


@app.command()
def pipelines() -> None:
    """List the recipes that ship with the package."""
    from reinforced.display import show, table
    from reinforced.pipeline import recipes

    show([table("", ["recipe", "what it makes"], recipes().items())])


@app.command()
def inspect(
    dataset: DatasetPath,
    sql: Annotated[
        str | None,
        typer.Option(help="A DuckDB query; `dataset` is the layers joined, each layer is there by its name too."),
    ] = None,
    key: Annotated[str | None, typer.Option(help="Everything about one sample, also one that was dropped.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a dataset holds, a query's answer, or one sample."""
    from reinforced import display, inspection
    from reinforced.dataset import open_dataset

    if sql is not None and key is not None:
        raise RequestError("--sql and --key are two questions: ask one of them")
    opened = open_dataset(dataset)
    if sql is not None:
        found = opened.sql(sql)
        if as_json:
            for row in found.to_pylist():
                print(display.json_line(row))
            return
        display.show([display.rows_table(found)])
        if len(found) > display.ROWS_SHOWN:
            display.show([f"{len(found) - display.ROWS_SHOWN:,} more rows; --json prints all of them"])
    elif key is not None:
        sample = inspection.find_sample(opened, key)
        if as_json:
            print(display.json_line(sample))
        else:
            display.show(display.sample_tables(sample))
    else:
        facts = inspection.overview(opened)
        if as_json:
            print(display.json_line(facts))
        else:
            display.show(display.overview_tables(facts, inspection.funnel(opened)))


@app.command()
def verify(dataset: DatasetPath) -> None:
    """Recount the ledger and hash every layer again. Names what does not fit, with exit code 1 if anything does not."""
    from reinforced.verify import verify as check

    found = check(dataset)
    for line in found:
        print(line)
    if found:
        raise RunError(f"{dataset}: {len(found)} things do not fit")
    print(f"{dataset} is whole: every layer, key and ledger row is as recorded")


@app.command()
def export(
    dataset: DatasetPath,
    destination: Annotated[str, typer.Argument(metavar="DEST", help="New folder or fsspec URL to write to.")],
    to: Annotated[str, typer.Option(help="webdataset, parquet or imagefolder.")],
) -> None:
    """Write the kept samples with all their columns in another form."""
    from reinforced.export import export as write

    count = 0
    for shard, files in write(dataset, to, destination):
        count += len(files)
        print(f"shard {shard}: {len(files):,} files", file=sys.stderr)
    print(f"{count:,} files")
    print(destination)


app.command("import")(importing.command)
app.command("takedown")(takedown_cli.command)
app.command("search")(search_cli.command)


def _version(asked: bool) -> None:
    if asked:
        import reinforced

        print(reinforced.__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass
