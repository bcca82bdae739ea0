"""`cluster`: sweeps on machines that are several."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.node_command import join, start, status, stop
from orchestrator.cli.options import POSITIVE
from orchestrator.cli.tune_command import tune
from orchestrator.errors import UserError
from orchestrator.yaml_files import printable, short

if TYPE_CHECKING:
    from orchestrator.cluster.slurm import Job
    from orchestrator.nouns import Slurm
    from orchestrator.sweep.request import Request, Resolved

SET_BY_THE_JOB = ("address", "machine")
"""Options of `tune` that the job script gives."""


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
    help="Its file in clusters/, with slurm: in it.",
)
@click.option(
    "--nodes",
    type=click.IntRange(1, 10_000),
    default=2,
    show_default=True,
    metavar="N",
    help="Machines.",
)
@click.option(
    "--hours",
    type=POSITIVE,
    default=24.0,
    show_default=True,
    metavar="H",
    help="Wall time of a job.",
)
@click.option(
    "--gpus", type=click.IntRange(1), metavar="N", help="On each node. [default: all that it has]"
)
@click.option(
    "--exclusive",
    is_flag=True,
    help="Nobody else on the nodes, so that CPU and RAM energy is this sweep's alone.",
)
@click.option(
    "--account",
    metavar="A",
    help="Who pays. [default: SBATCH_ACCOUNT, then the machine's file]",
    envvar="SBATCH_ACCOUNT",
)
@click.option("--partition", metavar="P", help="Where. [default: the machine's file]")
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
    help="Most follow-up jobs.",
)
@click.option(
    "--lead",
    "lead_s",
    type=click.IntRange(60),
    metavar="SECONDS",
    help="Drain so long before the wall time ends; longer than any prompt takes. [default: tune's --execution-timeout and 120, "
    "else 900]",
)
@click.option(
    "--dashboard", is_flag=True, help="Ray's dashboard, on the first node's own 127.0.0.1."
)
@click.option("--submit", is_flag=True, help="Give it to sbatch instead of printing it.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- tune ...")
def slurm(*, command: tuple[str, ...], submit: bool, **asked: Any) -> None:
    """Write a job script that runs a sweep on nodes of a SLURM cluster, or submit it.

    The job starts Ray on its nodes, runs the `tune` command and ends. Before the wall time is up it drains; what is then
    missing is run by a follow-up job (--chain), or by submitting the same again. The weights must be there before
    (`orchestrator models stage`), since compute nodes have no network. The command is checked now, not after hours in a queue.

    \b
    Examples:
      orchestrator cluster slurm --account ACCOUNT -- tune --space lhs --model mistral > job.sh
      orchestrator cluster slurm --nodes 1 --gpus 1 --hours 0.5 --qos boost_qos_dbg --submit -- tune --space lhs
      orchestrator cluster slurm --nodes 2 --chain 5 --submit -- tune --space sobol --samples 200 --model mistral
    """  # noqa: D301 - click wants the character
    from orchestrator.cluster import slurm as jobs

    parsed = _parsed(command)
    resolved = _resolved(parsed, asked["machine"])
    job = _job(resolved, command[1:], parsed["execution_timeout_s"], asked)
    jobs.check(job)
    if submit:
        _submit(job, resolved.request)
        return
    _warn(job)
    click.echo(jobs.script(job), nl=False)


def _parsed(command: tuple[str, ...]) -> dict[str, Any]:
    """Options of the tune command, as click reads them. Raises UserError, and click's own errors."""
    if command[0] != "tune":
        raise UserError(
            f"{command[0]}: after the options comes `-- tune`, as in `orchestrator cluster slurm -- tune --space lhs`"
        )
    parsed = tune.make_context(
        "tune", list(command[1:]), parent=click.get_current_context().find_root()
    ).params
    for name in SET_BY_THE_JOB:
        if parsed[name] is not None:
            raise UserError(
                f"tune --{name}: the job sets it itself; leave it out (the machine is `cluster slurm --machine`)"
            )
    return parsed


def _resolved(parsed: dict[str, Any], machine: str) -> Resolved:
    """What the job will resolve, as far as it hangs on no GPU. Raises UserError."""
    from orchestrator.sweep.planning import begun_setups
    from orchestrator.sweep.prepare import check_folder
    from orchestrator.sweep.request import Request, resolve_request

    flags = {field.name: parsed[field.name] for field in dataclasses.fields(Request)}
    resolved = resolve_request(Request(**{**flags, "machine": machine, "address": "auto"}), [])
    check_folder(resolved.request.out)
    begun_setups(resolved)  # tells an impossible design or an edited plan
    return resolved


def _job(
    resolved: Resolved,
    arguments: tuple[str, ...],
    execution_timeout_s: float | None,
    asked: dict[str, Any],
) -> Job:
    from orchestrator.cluster import slurm as jobs
    from orchestrator.engine.weights import locate

    slurm = _slurm(resolved.machine.slurm, asked)
    real = resolved.models if resolved.request.engine != "simulated" else ()
    return jobs.Job(
        machine=resolved.machine,
        machine_name=asked["machine"],
        slurm=slurm,
        nodes=asked["nodes"],
        gpus=asked["gpus"] or slurm.gpus_per_node,
        hours=asked["hours"],
        lead_s=asked["lead_s"] or jobs.lead_s(execution_timeout_s),
        exclusive=asked["exclusive"],
        chain=asked["chain"],
        dashboard=asked["dashboard"],
        folder=Path.cwd(),
        out=Path.cwd() / resolved.request.out,
        tune=arguments,
        python=Path(sys.executable),
        caches=jobs.caches(),
        to_stage=tuple(model.ref for model in real if locate(model) is None),
    )


def _slurm(of_machine: Slurm, asked: dict[str, Any]) -> Slurm:
    """The machine's settings with those of the command line in their place. Raises UserError."""
    from pydantic import ValidationError

    from orchestrator.nouns import Slurm

    given = {
        name: asked[name] for name in ("account", "partition", "qos") if asked[name] is not None
    }
    for name, value in given.items():
        try:
            Slurm.model_validate({name: value})
        except ValidationError as error:
            raise UserError(
                f"--{name} {short(value)}: a name of letters, digits, '.', '_' and '-' only"
            ) from error
    return of_machine.model_copy(update=given)


def _warn(job: Job) -> None:
    from orchestrator.cluster.slurm import PLACEHOLDER

    lines = []
    if not job.slurm.account:
        lines.append(
            f"warning: no account is known; put it in the place of {PLACEHOLDER}, or give --account"
        )
    lines += [
        f"warning: {ref} isn't staged here: `orchestrator models stage {ref}` on a login node first"
        for ref in job.to_stage
    ]
    if job.shares_nodes():
        lines.append(
            "warning: others may work on the same nodes, and CPU and RAM energy is then theirs, too; --exclusive keeps them off"
        )
    for line in lines:
        click.echo(printable(line), err=True)


def _submit(job: Job, request: Request) -> None:
    """Submit, note and tell. Raises UserError."""
    from orchestrator.cluster import slurm as jobs
    from orchestrator.cluster.slurm_queue import note
    from orchestrator.sweep.prepare import check_writable

    faults = [
        f"{ref}: its weights are not here, and jobs have no network; run `orchestrator models stage {ref}` first"
        for ref in job.to_stage
    ]
    if not job.slurm.account:
        faults.insert(
            0,
            "--submit: no account is known; give --account, or write it into `slurm:` of the machine's file",
        )
    if faults:
        raise UserError(*faults)
    check_writable(request.out)
    _warn(job)
    number = jobs.submit(jobs.script(job), job.folder)
    try:
        note(job.out, number)
    except OSError as error:
        click.echo(
            f"warning: {job.out}: can't be written ({error.strerror}), `orchestrator status` won't know the job",
            err=True,
        )
    for line in (
        f"Submitted as job {number}: {job.nodes} nodes for {job.hours:g} h, log {job.folder}/slurm-{number}.log",
        f"See how far it is: orchestrator status --out {request.out}",
        f"Drain it: scancel --batch --signal=USR1 {number}    (then it goes on in a follow-up job, if --chain has any left)",
        f"End it: scancel {number}",
    ):
        click.echo(printable(line))
