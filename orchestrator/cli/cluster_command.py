"""`cluster`: run a sweep on several machines, attached by hand or given by SLURM."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.node_command import join, start, status, stop
from orchestrator.cli.options import POSITIVE, given_to_sweep
from orchestrator.cli.terminal import say, tell
from orchestrator.cli.tune_command import tune
from orchestrator.errors import UserError
from orchestrator.units import plural
from orchestrator.yaml_files import short

if TYPE_CHECKING:
    from orchestrator.cluster.slurm import BatchJob
    from orchestrator.nouns import Slurm
    from orchestrator.sweep.request import Request, Resolved

SET_BY_THE_JOB = ("address", "machine")
"""Options of `tune` that the job script sets itself."""


@click.group()
def cluster() -> None:
    """Run a sweep on several machines at once.

    \b
    Examples:
      orchestrator cluster start --machine pc --host 192.168.1.10
      orchestrator cluster slurm --nodes 2 --account ACCOUNT --submit -- tune --space lhs
    """  # noqa: D301 - click wants the character


for verb in (start, join, status, stop):
    cluster.add_command(verb)


@cluster.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "--machine",
    default="leonardo",
    show_default=True,
    metavar="NAME",
    help="The cluster's file in clusters/; it needs a `slurm:` section.",
)
@click.option(
    "--nodes",
    type=click.IntRange(1, 10_000),
    default=2,
    show_default=True,
    metavar="N",
    help="Number of nodes.",
)
@click.option(
    "--hours",
    type=POSITIVE,
    default=24.0,
    show_default=True,
    metavar="H",
    help="Wall time of each job.",
)
@click.option("--gpus", type=click.IntRange(1), metavar="N", help="GPUs per node. [default: all]")
@click.option(
    "--exclusive",
    is_flag=True,
    help="Keep other jobs off the nodes, so that CPU and RAM energy belongs to this sweep alone.",
)
@click.option(
    "--account",
    metavar="A",
    help="Account to bill. [default: SBATCH_ACCOUNT, then the machine's file]",
    envvar="SBATCH_ACCOUNT",
)
@click.option("--partition", metavar="P", help="SLURM partition. [default: the machine's file]")
@click.option(
    "--qos",
    metavar="Q",
    help="Quality of service, e.g. boost_qos_dbg. [default: the machine's file]",
)
@click.option(
    "--chain",
    type=click.IntRange(0, 1000),
    default=0,
    show_default=True,
    metavar="N",
    help="At most N follow-up jobs, each of which resumes the sweep.",
)
@click.option(
    "--lead",
    "lead_s",
    type=click.IntRange(60),
    metavar="SECONDS",
    help="Start draining this long before the wall time ends; must be longer than any prompt "
    "takes. [default: tune's --execution-timeout + 120, else 900]",
)
@click.option(
    "--dashboard", is_flag=True, help="Start Ray's dashboard on 127.0.0.1 of the first node."
)
@click.option(
    "--submit", is_flag=True, help="Submit the script with sbatch instead of printing it."
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- tune ...")
def slurm(*, command: tuple[str, ...], submit: bool, **options: Any) -> None:
    """Write a job script that runs a sweep on nodes of a SLURM cluster, or submit it.

    The job starts Ray on its nodes, runs the `tune` command and ends. Before its wall time is up
    it drains: running prompts finish, no new ones start. A follow-up job (--chain) or submitting
    the same command again resumes the sweep. Stage the weights beforehand (`orchestrator models
    stage`), since compute nodes have no network. The `tune` command is checked now, so that a
    mistake shows before the job has waited in the queue.

    \b
    Examples:
      orchestrator cluster slurm --account ACCOUNT -- tune --space lhs --model mistral > job.sh
      orchestrator cluster slurm --nodes 1 --gpus 1 --hours 0.5 --submit -- tune --space lhs
      orchestrator cluster slurm --chain 5 --submit -- tune --space sobol --samples 200
    """  # noqa: D301 - click wants the character
    from orchestrator.cluster import slurm as jobs

    parsed = _parsed(command)
    resolved = _resolved(parsed, options["machine"])
    job = _job(resolved, command[1:], parsed.params["execution_timeout_s"], options)
    jobs.check(job)
    if submit:
        _submit(job, resolved.request)
        return
    _warn(job)
    click.echo(jobs.script(job), nl=False)


def _parsed(command: tuple[str, ...]) -> click.Context:
    """The `tune` command with its parameters. Raises UserError, and click's own errors."""
    if command[0] != "tune":
        raise UserError(
            f"{command[0]}: after the options write `-- tune ...`, "
            "as in `orchestrator cluster slurm -- tune --space lhs`"
        )
    parsed = tune.make_context(
        "tune", list(command[1:]), parent=click.get_current_context().find_root()
    )
    for name in SET_BY_THE_JOB:
        if parsed.params[name] is not None:
            raise UserError(
                f"tune --{name}: the job script sets this option; leave it out "
                "(choose the machine with `cluster slurm --machine`)"
            )
    return parsed


def _resolved(parsed: click.Context, machine: str) -> Resolved:
    """Resolve the `tune` command as the job will, but without its GPUs. Raises UserError."""
    from orchestrator.dataset.folder_checks import check_folder
    from orchestrator.sweep.request import request_of
    from orchestrator.sweep.requested import check_plan_file, drawn_or_read

    given = given_to_sweep(parsed)
    # an impossible design or an edited plan is told now, not in the job
    resolved, plan = drawn_or_read(request_of({**given, "machine": machine, "address": "auto"}), [])
    check_folder(resolved.request.out)
    check_plan_file(resolved.request.out, plan.id)
    return resolved


def _job(
    resolved: Resolved,
    arguments: tuple[str, ...],
    execution_timeout_s: float | None,
    options: dict[str, Any],
) -> BatchJob:
    """The job of a resolved `tune` command and the options of `cluster slurm`. Raises UserError."""
    from orchestrator.cluster import slurm as jobs
    from orchestrator.engine.weights import locate

    slurm = _slurm(resolved.machine.slurm, options)
    to_stage: list[str] = []
    if resolved.needs_weights:
        to_stage = [model.ref for model in resolved.models if locate(model) is None]
    return jobs.BatchJob(
        machine=resolved.machine,
        machine_name=options["machine"],
        slurm=slurm,
        nodes=options["nodes"],
        gpus=options["gpus"] or slurm.gpus_per_node,
        hours=options["hours"],
        lead_s=options["lead_s"] or jobs.lead_s(execution_timeout_s),
        exclusive=options["exclusive"],
        chain=options["chain"],
        dashboard=options["dashboard"],
        folder=Path.cwd(),
        out=Path.cwd() / resolved.request.out,
        tune=arguments,
        python=Path(sys.executable),
        caches=jobs.caches(),
        to_stage=tuple(to_stage),
    )


def _slurm(of_machine: Slurm, options: dict[str, Any]) -> Slurm:
    """The machine's SLURM settings; options that were given replace them. Raises UserError."""
    from pydantic import ValidationError

    from orchestrator.nouns import Slurm

    given: dict[str, str] = {}
    for name in ("account", "partition", "qos"):
        if options[name] is not None:
            given[name] = options[name]
    for name, value in given.items():
        try:
            Slurm.model_validate({name: value})
        except ValidationError as error:
            raise UserError(
                f"--{name} {short(value)}: write letters, digits, '.', '_' and '-' only"
            ) from error
    return of_machine.model_copy(update=given)


def _warn(job: BatchJob) -> None:
    """Print what would make the job fail or its energies doubtful."""
    from orchestrator.cluster.slurm import PLACEHOLDER

    lines = []
    if not job.slurm.account:
        lines.append(
            f"warning: no account to bill is known; replace {PLACEHOLDER} in the script, "
            "or give --account"
        )
    lines += [
        f"warning: {ref}: its weights are not on this machine; "
        f"run `orchestrator models stage {ref}` on a login node first"
        for ref in job.to_stage
    ]
    if job.shares_nodes():
        lines.append(
            "warning: other jobs may run on the same nodes, and their CPU and RAM energy is then "
            "counted too; --exclusive keeps them off"
        )
    for line in lines:
        say(line)


def _submit(job: BatchJob, request: Request) -> None:
    """Submit the job, record its number in the data set, and say how to follow it.

    Raises UserError where the weights or an account are missing, or sbatch refuses the job.
    """
    from orchestrator.cluster import slurm as jobs
    from orchestrator.cluster.slurm_queue import note
    from orchestrator.dataset.folder_checks import check_writable

    faults = []
    if not job.slurm.account:
        faults.append(
            "--submit: no account to bill is known; "
            "give --account, or write it into `slurm:` of the machine's file"
        )
    faults += [
        f"{ref}: its weights are not on this machine and jobs have no network; "
        f"run `orchestrator models stage {ref}` first"
        for ref in job.to_stage
    ]
    if faults:
        raise UserError(*faults)
    check_writable(request.out)
    _warn(job)
    number = jobs.submit(jobs.script(job), job.folder)
    try:
        note(job.out, number)
    except OSError as error:
        say(
            f"warning: {job.out}: can't be written ({error.strerror}); "
            "`orchestrator status` won't show this job"
        )
    nodes = f"{plural(job.nodes, 'node')} for {job.hours:g} h"
    drain = f"scancel --batch --signal=USR1 {number}"
    for line in (
        f"Submitted as job {number}: {nodes}, log {job.folder}/slurm-{number}.log",
        f"Show its progress: orchestrator status --out {request.out}",
        f"Drain it: {drain}    (a follow-up job then resumes it, if --chain has any left)",
        f"Cancel it: scancel {number}",
    ):
        tell(line)
