"""From the flags of `tune` and `plan` to a checked request; asks a Ray cluster only if it must."""

from __future__ import annotations

from orchestrator.gpu.devices import Gpu
from orchestrator.sweep.request import EACH, Request, Resolved, resolve_request


def resolved_request(request: Request, gpus: list[Gpu]) -> Resolved:
    """A request with everything read and every default filled in. Raises UserError.

    --machine each needs the kinds of machine that the cluster has: only then Ray is asked.
    """
    machines: tuple[str, ...] = ()
    if request.address and request.machine == EACH:
        from orchestrator.ray_tune.session import check_answers, kinds_of, set_environment

        check_answers(request.address)
        set_environment(request.address)
        machines = kinds_of(request.address)
    return resolve_request(request, [gpu.name for gpu in gpus], machines)
