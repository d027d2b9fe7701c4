"""Several processes that train as one: every process draws the same global batch and works on its part.

    accelerate launch --multi_gpu --num_processes 2 -m kfd.train --device cuda ...
    torchrun --nproc-per-node 2 -m kfd.train ...                   # on CPUs (gloo)

Each process scales the loss of its part by the part's share of the global batch, so that the sums of loss and
gradients over the processes are those of one process on the whole batch. Started without a launcher there is
one process, and nothing here costs anything; accelerate is imported only where there are more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Processes:
    """The processes of one run, seen from one of them.

    count: how many there are. index: which one this is, from 0. device: where this one computes.
    """

    count: int = 1
    index: int = 0
    device: str = "cpu"

    @property
    def main(self) -> bool:
        """Whether this is the one that prints, validates and writes."""
        return self.index == 0

    def part(self, total: int) -> slice:
        """This process's rows of a global batch; the parts differ by one row at most.

        Raises ValueError when some process would have none.
        """
        if total < self.count:
            raise ValueError(
                f"expected a global batch of at least one row per process, got {total} rows for {self.count} "
                "processes; enlarge the batch or launch fewer processes"
            )
        return slice(self.index * total // self.count, (self.index + 1) * total // self.count)

    def sum(self, values: Tensor) -> Tensor:
        """Sum of a tensor over all processes; the same shape everywhere, on this process's device."""
        if self.count == 1:
            return values
        from accelerate.utils import reduce

        return reduce(values.detach().to(self.device), reduction="sum")

    @torch.no_grad()
    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its sum over all processes; None stays where no process has one."""
        if self.count == 1:
            return
        parameters = [p for p in parameters if p.requires_grad]
        used = self.sum(torch.tensor([float(p.grad is not None) for p in parameters]))
        taking_part = [p for p, users in zip(parameters, used.tolist(), strict=True) if users]
        if not taking_part:
            return
        # One message for all of them: thousands of small ones would cost a round trip each.
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in taking_part]
        together = self.sum(torch.cat([grad.float().flatten() for grad in grads]))
        pieces = together.split([p.numel() for p in taking_part])
        for parameter, piece in zip(taking_part, pieces, strict=True):
            parameter.grad = piece.view_as(parameter).to(parameter.dtype)

    def wait(self) -> None:
        """Go on when every process has come here."""
        if self.count > 1:
            torch.distributed.barrier()

    def print0(self, text: str) -> None:
        """Print on the main process only."""
        if self.main:
            print(text, flush=True)


def init_distributed(device: str = "cpu") -> Processes:
    """The processes that a launcher started, or this one alone.

    device: "cpu" or "cuda"; under a launcher "cuda" becomes this process's own GPU.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        if "WORLD_SIZE" not in os.environ and {"MASTER_ADDR", "ACCELERATE_USE_CPU"} <= os.environ.keys():
            print(
                "note: accelerate launch --cpu starts one process, whatever its --num_processes; "
                "for several use torchrun --nproc-per-node N -m ...",
                file=sys.stderr,
            )
        return Processes(device=device)
    from accelerate import PartialState

    on_cpu = torch.device(device).type == "cpu"
    # The main process validates and calibrates while the others wait.
    state = PartialState(cpu=on_cpu, timeout=timedelta(hours=2))
    return Processes(state.num_processes, state.process_index, "cpu" if on_cpu else str(state.device))


def cleanup(processes: Processes) -> None:
    """End the group of processes; call last."""
    if processes.count > 1:
        from accelerate import PartialState

        processes.wait()  # a process that ends while another still works can be aborted by its own threads
        PartialState().destroy_process_group()
