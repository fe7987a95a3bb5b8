"""The command line: run (the default), check, rehearse, status, report, regrade, schema.

Must not know: how any of it is done. Every heavy import waits until its command runs, so that --help is quick.
"""

from __future__ import annotations

import difflib
import io
import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from eli5b_batch import __version__
from eli5b_batch.errors import Eli5bError, JobError, StorageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from rich.console import Console

    from eli5b_batch.job.schema import Job
    from eli5b_batch.run.plan import Experiment


app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Run experiments in which a large language model teaches small ones; resume them after a crash.

    \b
    eli5b-batch jobs/quickstart.yaml            run a job, or finish it
    eli5b-batch check jobs/omni_full.yaml       what it will ask, take and cost
    eli5b-batch rehearse jobs/omni_full.yaml    how long it will take, and what it will wait for
    eli5b-batch status outputs/omni_full        how it stands, from another shell
    eli5b-batch report outputs/omni_full        tables and figures again
    eli5b-batch regrade outputs/omni_full       verdicts again, and what changed
    """,
)

_ROOT_OPTIONS = ("-h", "--help", "--version", "--install-completion", "--show-completion")


def main(args: list[str]) -> None:
    """Run the command line on `args`; `eli5b-batch JOB` means `eli5b-batch run JOB`."""
    for stream in (sys.stdout, sys.stderr):  # what a terminal can't show must stop nothing
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    for arg in args:
        if not arg or arg.encode(errors="replace").decode() != arg:  # an unset variable; bytes that are no text
            typer.echo(f"eli5b-batch: {arg!r}: an argument must be UTF-8 text and not be empty", err=True)
            sys.exit(JobError.exit_code)
    commands = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
    if args and args[0] not in _ROOT_OPTIONS and not _names_a_command(args[0], commands):
        args = ["run", *args]
    try:
        app(args=args, prog_name="eli5b-batch")
    except OSError as error:  # most likely stdout itself, on a disk that is full; a closed pipe is typer's to handle
        typer.echo(f"eli5b-batch: {error}", err=True)
        sys.exit(Eli5bError.exit_code)


def _names_a_command(word: str, commands: Collection[str]) -> bool:
    """A command, or a slip of the hand that is no file: typer then says which command is the nearest."""
    return word in commands or (bool(difflib.get_close_matches(word, commands)) and not Path(word).exists())


JobFile = Annotated[Path, typer.Argument(metavar="JOB", help="The job file.", show_default=False)]
RunDir = Annotated[
    Path, typer.Argument(metavar="RUN", help="The run folder, such as outputs/omni_full.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change one value, e.g. --set params.samples=4. Repeatable."),
]
Limit = Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the first N problems.")]
Output = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="The run folder itself; without it outputs/<name of the job>."),
]
Simulate = Annotated[
    bool,
    typer.Option("--simulate", help="The same job against simulated servers: no keys, no GPUs, no money."),
]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"eli5b-batch {__version__}")
        raise typer.Exit


@app.command("run")
def run_command(
    job_file: JobFile,
    overrides: Overrides = None,
    limit: Limit = None,
    output: Output = None,
    simulate: Simulate = False,
    display: Annotated[
        str,
        typer.Option(
            metavar="auto|live|plain|none", help="Dashboard, plain lines, or nothing.", envvar="ELI5B_DISPLAY"
        ),
    ] = "auto",
    grace: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Time for calls in flight after SIGTERM.")
    ] = 30.0,
    stop_after: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Stop by itself after so long, e.g. 8h, 90m, 30s; resumable.", show_default=False
        ),
    ] = None,
    give_up_after: Annotated[
        str, typer.Option(metavar="TIME", help="Stop when nothing of a provider has worked for so long; resumable.")
    ] = "30m",
    redo: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STEP", help="Ask every call of a step again, e.g. --redo answer; old records stay. Repeatable."
        ),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="First set damaged lines of calls.jsonl aside, into a file beside it.")
    ] = False,
) -> None:
    """Run a job, or finish one that was interrupted: the same command does both.

    \b
    eli5b-batch jobs/quickstart.yaml
    eli5b-batch jobs/omni_full.yaml --limit 20 --output outputs/trial
    eli5b-batch jobs/omni_full.yaml --simulate --set params.samples=4

    \b
    Exit codes: 0 all done, 1 unexpected error, 2 bad job or usage, 3 finished with failed records,
    4 stopped by the budget, 5 provider refused, 129, 130 or 143 interrupted, resumable.
    """
    if display not in ("auto", "live", "plain", "none"):
        raise typer.BadParameter(f"{display!r} is not auto, live, plain or none", param_hint="--display")
    if math.isnan(grace):  # no comparison refuses it, so that most versions of typer let it through
        raise typer.BadParameter("nan is no number of seconds", param_hint="'--grace'")
    patience = {
        "grace_s": grace,
        "stop_after_s": _seconds(stop_after, "--stop-after") if stop_after else None,
        "give_up_after_s": _seconds(give_up_after, "--give-up-after"),
    }
    from eli5b_batch.cli.run import run_shown  # noqa: PLC0415

    try:
        experiment = _experiment(job_file, overrides, limit, simulate)
        if repair:
            _repair(_run_dir(experiment.job, output))
        if redo:
            _redo(_run_dir(experiment.job, output), experiment, redo)
        run_dir = _run_dir(experiment.job, output)
        code = run_shown(experiment, run_dir, _console(), display=display, patience=patience)
    except Eli5bError as error:
        _fail(error, job_file)
    raise typer.Exit(code)


@app.command()
def check(
    job_file: JobFile,
    overrides: Overrides = None,
    limit: Limit = None,
    output: Output = None,
    simulate: Simulate = False,
    pull: Annotated[bool, typer.Option("--pull", help="Download missing models to the Ollama servers.")] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="Ask one tiny call of each paid model, and say what it cost.")
    ] = False,
) -> None:
    """Say what a job will ask, take and cost, and what would stop it, without asking a model anything but by --probe.

    \b
    eli5b-batch check jobs/omni_full.yaml
    eli5b-batch check jobs/omni_full.yaml --probe
    eli5b-batch check jobs/local.yaml --pull
    """
    from eli5b_batch.event_loop import run as run_loop  # noqa: PLC0415
    from eli5b_batch.forecast.check import check_job  # noqa: PLC0415

    try:
        experiment = _experiment(job_file, overrides, limit, simulate)
        code = run_loop(check_job(experiment, _run_dir(experiment.job, output), _console(), pull=pull, probe=probe))
    except Eli5bError as error:
        _fail(error, job_file)
    raise typer.Exit(code)


@app.command("rehearse")
def rehearse_command(
    job_file: JobFile,
    overrides: Overrides = None,
    limit: Limit = None,
    simulate: Simulate = False,
    records: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="RUN", help="A finished run: its recorded times and tokens, in place of assumptions."
        ),
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures there, too.")] = None,
    no_doubling: Annotated[
        bool, typer.Option("--no-doubling", help="Leave out what doubling each limit would buy.")
    ] = False,
) -> None:
    """Predict how long a run takes, what it costs and what it waits for, by going through it on a virtual clock.

    No model is asked and nothing is written to outputs/. The calls, their order and the waiting are the run's own; the
    models' times and lengths are modelled.

    \b
    eli5b-batch rehearse jobs/omni_full.yaml
    eli5b-batch rehearse jobs/omni_full.yaml --from outputs/trial
    eli5b-batch rehearse jobs/omni_cross.yaml --set providers.hosts.limits.requests_per_minute=3000
    eli5b-batch rehearse jobs/omni_cross.yaml --simulate --limit 100 --json prediction.json
    """
    from eli5b_batch.cli.rehearse import rehearse_job  # noqa: PLC0415

    try:
        experiment = _experiment(job_file, overrides, limit, simulate)
        rehearse_job(experiment, _console(), records=records, figures=json, doubling=not no_doubling)
    except Eli5bError as error:
        _fail(error, job_file)


@app.command()
def status(
    run_dir: RunDir,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the run until it ends.")] = False,
    failures: Annotated[
        bool, typer.Option("--failures", help="The calls that failed, by cause, in the hosts' words.")
    ] = False,
) -> None:
    """Show how a run stands, from a second shell.

    \b
    eli5b-batch status outputs/omni_full
    eli5b-batch status outputs/omni_full --watch
    eli5b-batch status outputs/omni_full --failures
    """
    if watch and failures:
        raise typer.BadParameter("it is a look at the records and can't be watched", param_hint="--failures")
    try:
        if failures:
            from eli5b_batch.cli.failures import failures_view  # noqa: PLC0415
            from eli5b_batch.cli.progress_bar import ProgressBar  # noqa: PLC0415

            failures_view(run_dir, _console(), ProgressBar(_console(), sys.stderr))
        else:
            from eli5b_batch.cli.status import status_view  # noqa: PLC0415

            status_view(run_dir, _console(), watch=watch)
    except Eli5bError as error:
        _fail(error)


@app.command()
def report(run_dir: RunDir) -> None:
    """Build results, tables and figures again from calls.jsonl and grades.jsonl. No model is asked.

    \b
    eli5b-batch report outputs/omni_full
    """
    from eli5b_batch.cli.run import show_report  # noqa: PLC0415

    try:
        show_report(run_dir, _console())
    except Eli5bError as error:
        _fail(error)


@app.command("regrade")
def regrade_command(
    run_dir: RunDir,
    grader: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="math or number; without it the job's grader.", show_default=False),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Grader processes; without it one for each core.", show_default=False),
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Only say how one verdict is reached. A key as in grades.jsonl, or a part that only one has.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Grade every answer of a run again from its records, and say which verdicts changed and why. No model is asked.

    \b
    eli5b-batch regrade outputs/omni_full
    eli5b-batch regrade outputs/gsm8k --grader number
    eli5b-batch regrade outputs/omni_full --explain '00017-1b00533f|answer|hint:none'
    """
    from eli5b_batch.cli.regrade import explain_answer, regrade_run  # noqa: PLC0415

    try:
        if explain is None:
            regrade_run(run_dir, _console(), grader=grader, workers=workers)
        else:
            explain_answer(run_dir, explain, _console(), grader=grader)
    except Eli5bError as error:
        _fail(error)


@app.command()
def schema() -> None:
    """Print the job file's JSON Schema, for editors.

    \b
    eli5b-batch schema > jobs/job.schema.json
    """
    import orjson  # noqa: PLC0415

    from eli5b_batch.job.schema import Job  # noqa: PLC0415

    typer.echo(orjson.dumps(Job.model_json_schema(), option=orjson.OPT_INDENT_2).decode())


def _experiment(path: Path, overrides: list[str] | None, limit: int | None, simulated: bool) -> Experiment:  # noqa: FBT001 (passed on)
    from eli5b_batch.job.load import load_job  # noqa: PLC0415
    from eli5b_batch.run.plan import load_experiment  # noqa: PLC0415

    job = load_job(path, overrides=overrides or (), limit=limit)
    if simulated:
        from eli5b_batch.simulated.process import simulate  # noqa: PLC0415

        job = simulate(job)
    return load_experiment(job, str(path))


def _run_dir(job: Job, output: Path | None) -> Path:
    return output or Path("outputs") / job.name


def _seconds(text: str, option: str) -> float:
    """A length of time such as 8h, 90m or 30s."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([hms])", text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no length of time: write 8h, 90m or 30s", param_hint=option)
    return float(found[1]) * {"h": 3600, "m": 60, "s": 1}[found[2]]


def _repair(run_dir: Path) -> None:
    from eli5b_batch.run.store import repair_run  # noqa: PLC0415

    moved = repair_run(run_dir)
    what = f"{moved} damaged lines set aside in {run_dir}/calls.jsonl.damaged" if moved else "no damaged line found"
    typer.echo(f"eli5b-batch: {what}", err=True)


def _redo(run_dir: Path, experiment: Experiment, steps: list[str]) -> None:
    from eli5b_batch.run.store import redo_steps  # noqa: PLC0415

    for step in redo_steps(run_dir, experiment, steps):
        typer.echo(f"eli5b-batch: every call of step {step} is asked again", err=True)


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415

    return Console()


def _fail(error: Eli5bError, job_file: Path | None = None) -> NoReturn:
    """One sentence on stderr; what is wrong with a job is said with its file, wherever it was noticed."""
    text = str(error)
    if job_file and isinstance(error, JobError) and not text.startswith(str(job_file)):
        text = f"{job_file}: {text}"
    typer.echo(f"eli5b-batch: {text}", err=True)
    if isinstance(error, StorageError):
        typer.echo("What is on record is safe: mend the disk, and the same command goes on.", err=True)
    raise typer.Exit(error.exit_code)
