"""The loop of fine-tuning: the same on one process and on many, and after a resumption."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from common.distributed import Processes
from common.schedule import make_optimizer, rate
from common.storage import load_part, naming, resume_state, save_state
from data_sim.dataset import FaceSet, faces_digest
from llm.model import ForgeryLLM
from llm.tokens import collate, count_targets
from llm.training.align import align
from llm.training.cases import GroundedCases, mirror_maps
from llm.training.config import FinetuneConfig
from llm.training.examples import Example, batches, face_example, record_example
from llm.training.general import GeneralData
from llm.training.losses import Counts, Losses
from llm.training.schedule import FLOOR, Log, bucketed, set_rate

# These may change between two resumed runs.
NOT_SETTINGS = ("out", "run", "save_every", "log_every", "device", "encoder", "general_images", "judged")
STATE_FILE = "state.pt"
ALONE = Processes()  # no launcher


@dataclass(frozen=True)
class Data:
    """The data that a run trains on and is validated on; without general data, those two are None."""

    train: GroundedCases
    val: GroundedCases
    general: GeneralData | None = None
    val_general: GeneralData | None = None


@dataclass(frozen=True)
class ValidationLosses:
    """Validation: language and verdict loss of forgery dialogues; language loss of general data, or None."""

    language: float
    verdict: float
    general: float | None = None

    def objective(self, config: FinetuneConfig) -> float:
        """The value that training minimises, by share of steps; the checkpoint with the least is kept."""
        dialogues = self.language + config.verdict_weight * self.verdict
        if self.general is None:
            return dialogues
        return (1 - config.general_share) * dialogues + config.general_share * self.general

    def __str__(self) -> str:
        text = f"loss {self.language:.4f} verdict {self.verdict:.4f}"
        if self.general is None:
            return text
        return f"{text} general perplexity {math.exp(min(self.general, 700)):.3f}"


def batch_losses(
    model: ForgeryLLM,
    source: GroundedCases | GeneralData,
    examples: list[Example],
    max_tokens: int,
    verdict_weight: float = 0.0,
    counts: Counts | None = None,
) -> Losses:
    """The losses of one batch of conversations about the faces, or the general records, of `source`.

    max_tokens: longer conversations are cut there. verdict_weight, counts: see llm.training.losses.
    """
    batch = collate([example.tokens for example in examples], max_tokens).to(model.device)
    # Only these: the norms of a prompt learner must not see a stand-in for what a conversation is blind to.
    seen = [place for place, example in enumerate(examples) if example.row is not None]
    rows = [examples[place].row for place in seen]
    if isinstance(source, GeneralData):
        soft = model.projector(source.embeddings[rows].to(model.device))
    else:
        found = source.detection(rows, model.device)
        mirrored = [examples[place].mirrored for place in seen]
        mirrored = torch.tensor(mirrored, dtype=torch.bool, device=model.device)
        soft = torch.cat(model.soft_prompts(mirror_maps(found, mirrored)), dim=1)
    blank = soft.new_zeros(len(examples), *soft.shape[1:])
    soft = blank.index_copy(0, torch.tensor(seen, dtype=torch.long, device=model.device), soft)
    return model.losses(batch, soft, verdict_weight, counts)


@torch.no_grad()
def mean_losses(
    model: ForgeryLLM,
    source: GroundedCases | GeneralData,
    examples: list[Example],
    batch_size: int,
    max_tokens: int,
    processes: Processes = ALONE,
) -> tuple[float, float]:
    """(language, verdict) loss over all targets of many conversations, which the processes divide."""
    counts = count_targets([example.tokens for example in examples], max_tokens)
    total = torch.zeros(2, dtype=torch.float64)
    for group in bucketed([example.tokens for example in examples], batch_size):
        mine = group[processes.index :: processes.count]
        # With sharded weights every process must compute every batch, also where it has no row of it.
        part = [examples[position] for position in mine or group[:1]]
        losses = batch_losses(model, source, part, max_tokens, counts=counts)
        if mine:
            total += torch.tensor([float(losses.language), float(losses.verdict)], dtype=torch.float64)
    language, verdict = processes.sum(total.float()).tolist()
    return language, verdict


def general_loss(
    model: ForgeryLLM,
    general: GeneralData,
    batch_size: int,
    max_tokens: int,
    processes: Processes = ALONE,
) -> float:
    """Mean cross-entropy of the answers' tokens in general data; its exponential is the perplexity."""
    examples = [record_example(model, general, row) for row in range(len(general))]
    return mean_losses(model, general, examples, batch_size, max_tokens, processes)[0]


def validate(config: FinetuneConfig, model: ForgeryLLM, data: Data, processes: Processes) -> ValidationLosses:
    """Losses of fixed conversations about validation faces, and of the held-out general data."""
    model.eval()
    rng = random.Random(config.seed + 1)
    examples = [face_example(config, model, data.val, row, rng) for row in range(len(data.val))]
    sizes = config.batch_size, config.max_tokens
    language, verdict = mean_losses(model, data.val, examples, *sizes, processes)
    general = None
    if data.val_general is not None:
        general = general_loss(model, data.val_general, *sizes, processes)
    model.train()
    return ValidationLosses(language, verdict, general)


def train_step(
    config: FinetuneConfig,
    model: ForgeryLLM,
    data: Data,
    parts: list[list[Example]],
    trainable: list[nn.Parameter],
    processes: Processes,
) -> tuple[float, float]:
    """Gradients of one step, summed over its batches and the processes; returns (language, verdict) loss.

    Each batch is divided among the processes, and every mean is over the targets of the whole step: the
    gradient does not depend on how many processes there are, nor on how the step is cut into batches.
    """
    counts = count_targets([example.tokens for part in parts for example in part], config.max_tokens)
    totals = torch.zeros(2)
    for part in parts:
        mine = part[processes.part(len(part))]
        source = data.general if part[0].general else data.train
        losses = batch_losses(model, source, mine, config.max_tokens, config.verdict_weight, counts)
        if losses.total.requires_grad:  # words alone through a frozen model teach nothing
            losses.total.backward()
        totals += torch.tensor([float(losses.language.detach()), float(losses.verdict.detach())])
    processes.sum_gradients(trainable)
    language, verdict = processes.sum(totals).tolist()
    return language, verdict


def trained_state(model: ForgeryLLM) -> dict[str, Tensor]:
    """What training changes, by name: parameters, and running statistics of the prompt learner's norms."""
    state = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    kept = {} if model.prompt_learner is None else dict(model.prompt_learner.named_buffers())
    return state | {f"prompt_learner.{name}": value for name, value in kept.items()}


def optimizer_of(config: FinetuneConfig, model: ForgeryLLM) -> torch.optim.Optimizer:
    """An optimizer with two peak rates: one of the LoRA matrices, one of prompt learner and projector."""
    adapter = [p for p in model.llm.parameters() if p.requires_grad]
    soft = [p for name, p in model.named_parameters() if p.requires_grad and not name.startswith("llm.")]
    groups = [{"params": adapter, "peak": config.lr}, {"params": soft, "peak": config.soft_lr}]
    return make_optimizer(config.optimizer, groups, config.lr, config.weight_decay)


@torch.no_grad()
def share_statistics(model: ForgeryLLM, processes: Processes) -> None:
    """Replace running statistics, each of a process's part of the batches, by their mean over all."""
    if processes.count == 1 or model.prompt_learner is None:
        return
    for value in model.prompt_learner.buffers():
        if value.is_floating_point():
            value.copy_(processes.sum(value) / processes.count)


@torch.no_grad()
def same_everywhere(parameters: Iterable[nn.Parameter], processes: Processes) -> None:
    """Give every process the main one's values: on a GPU the warm start may differ in its last bits."""
    for parameter in parameters:
        value = parameter.clone() if processes.main else torch.zeros_like(parameter)
        parameter.copy_(processes.sum(value))


def fit(
    config: FinetuneConfig, model: ForgeryLLM, data: Data, kfd_digest: str, run: Path, processes: Processes
) -> None:
    """Train to the last step, from the saved state if there is one; keep the best in `config.out`."""
    optimizer = optimizer_of(config, model)
    trainable = [p for group in optimizer.param_groups for p in group["params"]]
    settings = {k: v for k, v in asdict(config).items() if k not in NOT_SETTINGS}
    settings["targets"] = list(config.targets)
    judged = (FaceSet.open(config.data, split) for split in ("train", "val"))
    settings |= {"kfd_digest": kfd_digest, "data_digest": faces_digest(*judged)}
    state = resume_state(run / STATE_FILE, settings)
    first, best = 0, float("inf")
    if state is not None:
        with naming(run / STATE_FILE):
            load_part(model, trained_state(model), state["trained"], str(run / STATE_FILE))
            optimizer.load_state_dict(state["optimizer"])
            first, best = state["step"], state["best"]
        where = f", on {processes.count} processes" if processes.count > 1 else ""
        processes.print0(f"continuing at step {first} of {config.steps}{where}")
    elif config.align_steps and model.prompt_learner is not None:
        loss = align(model, data.train, config.align_steps, config.soft_lr, config.seed)
        processes.print0(f"aligned the prompt learner, loss {loss:.4f}")
    same_everywhere(trainable, processes)
    model.train()
    log = Log(config.steps, config.log_every, silent=not processes.main)
    for step, parts in batches(config, model, data.train, data.general, first):
        # LoRA's dropout: the same after a resumption, another on each process.
        torch.manual_seed((config.seed * 1_000_003 + step) * processes.count + processes.index)
        set_rate(optimizer, rate(config.schedule, step, config.steps, config.warmup, FLOOR))
        optimizer.zero_grad()
        language, verdict = train_step(config, model, data, parts, trainable, processes)
        if config.clip:
            nn.utils.clip_grad_norm_(trainable, config.clip)
        optimizer.step()
        share_statistics(model, processes)
        values = {"general": language} if parts[0][0].general else {"loss": language, "verdict": verdict}
        log.add(step, optimizer.param_groups[0]["lr"], **values)
        last = step + 1 == config.steps
        if (step + 1) % config.val_every == 0 or last:
            measured = validate(config, model, data, processes)
            processes.print0(f"step {step + 1} validation {measured}")
            if measured.objective(config) < best:
                best = measured.objective(config)
                if processes.main:
                    model.save_pretrained(config.out, config.llm, kfd_digest, step=step + 1, validation=best,
                                          seed=config.seed)  # fmt: skip
        if processes.main and ((step + 1) % config.save_every == 0 or last):
            progress = {"step": step + 1, "best": best, "settings": settings}
            save_state(progress | {"trained": trained_state(model), "optimizer": optimizer.state_dict()},
                       run / STATE_FILE)  # fmt: skip
    processes.wait()
