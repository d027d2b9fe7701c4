"""Teach a language model to read the detector: prompt learner, projector and LoRA (paper §3.2-3.3).

    python -m llm.finetune --llm checkpoints/embedded/llm --kfd checkpoints/embedded/kfd \\
        --data runs/set --out checkpoints/embedded/assistant
    python -m llm.finetune --llm Qwen/Qwen2.5-7B-Instruct --template chat --quantize --device cuda \\
        --kfd checkpoints/kfd --data runs/set --out checkpoints/qwen --lr 1e-4 --accumulate 4
    python -m llm.finetune --llm checkpoints/embedded/llm --kfd checkpoints/embedded/kfd --data runs/set \\
        --out runs/try --faces 32 --val-faces 16 --steps 6              # seconds, CPU

The detector and the base model stay frozen. Killed at any moment, the same command resumes and ends with
the same weights (same seed, CPU). The checkpoint kept is the one with the least validation loss.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor, nn

from data_sim.cli import parse
from data_sim.dialogue import make_dialogue
from data_sim.regions import WHOLE_FACE
from kfd.detector import Detector
from kfd.storage import resume_state, save_config, save_state
from llm.adapter import ATTENTION, add_adapter
from llm.align import align
from llm.base import count_parameters, load_base, token_rms
from llm.cases import GroundedCases, ground_once, mirror, mirror_case, vary
from llm.losses import Losses
from llm.model import ForgeryLLM
from llm.prompt import PromptStyle
from llm.tokens import Tokens, collate
from llm.training import Log, bucketed, cosine_rate, drop_word, set_rate
from prompt_learner import ForgeryPromptLearner, PromptLearnerConfig, VisualProjector

POOL = 8  # steps drawn at a time and sorted by length
NOT_SETTINGS = ("out", "run", "save_every", "log_every", "device")  # may change between two resumed runs


@dataclass(frozen=True)
class FinetuneConfig:
    """Settings of one fine-tuning run."""

    llm: str  # folder or hub id of the base model
    kfd: str  # folder of the detector
    data: str  # a face set made by data_sim.build
    out: str  # folder of the assistant
    run: str = (
        ""  # folder of the resumable state and of the judged faces; by default runs/ and the name of `out`
    )
    template: str = "vicuna"  # vicuna, or chat for the tokenizer's own template
    faces: int = 1500  # real training faces; each is judged as it is and forged
    val_faces: int = 100  # real validation faces, likewise
    steps: int = 1200  # optimizer steps
    batch_size: int = 8  # conversations computed together
    accumulate: int = 1  # batches per optimizer step
    max_turns: int = 5  # a conversation has 1 to this many turns
    where_share: float = 0.3  # of conversations that open with the question for the regions
    open_share: float = 0.2  # of those that open with any question; the rest opens with that for the verdict
    dropped_words: float = 0.2  # share of questions that lose a word, as a stand-in for wordings never seen
    local_weight: float = 2.0  # how often a face with single regions is drawn, against once for any other
    max_tokens: int = 1024  # longer conversations are cut at the end
    lr: float = 1e-3  # peak learning rate of the LoRA matrices
    align_steps: int = 600  # of the prompt learner alone, before the language model joins; see llm.align
    soft_lr: float = 2e-3  # peak learning rate of prompt learner and projector
    weight_decay: float = 0.01
    warmup: int = 50  # steps
    clip: float = 1.0  # largest gradient norm
    verdict_weight: float = 0.5  # of the Yes/No loss against the language loss
    rank: int = 16  # of LoRA
    alpha: int = 32  # of LoRA
    dropout: float = 0.05  # in front of LoRA
    targets: tuple[str, ...] = ATTENTION  # layers that get LoRA
    num_prompts: int = 9  # tokens of E_forgery
    quantize: bool = False  # QLoRA: base weights in 4 bits
    checkpointing: bool = False  # recompute activations: less memory, more time
    seed: int = 0
    val_every: int = 200  # steps between validations
    save_every: int = 100  # steps between resumable states
    log_every: int = 20  # steps between log lines
    device: str = "cpu"

    def __post_init__(self) -> None:
        positive = (
            "faces",
            "val_faces",
            "steps",
            "batch_size",
            "accumulate",
            "max_turns",
            "rank",
            "val_every",
        )
        problems = [f"{name} = {getattr(self, name)}" for name in positive if getattr(self, name) < 1]
        if problems:
            raise ValueError("expected at least 1, got " + ", ".join(problems))


@dataclass(frozen=True)
class Example:
    """A tokenised conversation about face `row` of the judged ones; None: the face was not scored.

    mirrored: the conversation is about the mirror image of the face.
    """

    tokens: Tokens
    row: int | None
    mirrored: bool = False


def draw_example(
    config: FinetuneConfig,
    model: ForgeryLLM,
    faces: GroundedCases,
    weights: list[float],
    rng: random.Random,
) -> Example:
    """A random face, a random conversation about it. weights: cumulative, of the faces."""
    row = rng.choices(range(len(faces)), cum_weights=weights)[0]
    mirrored = rng.random() < 0.5
    case = vary(mirror_case(faces.cases[row]) if mirrored else faces.cases[row], rng)
    draw = rng.random()
    opening = "where" if draw < config.where_share else "verdict"
    opening = None if draw > 1 - config.open_share else opening
    turns = make_dialogue(case, rng, turns=rng.randint(1, config.max_turns), opening=opening)
    turns = [drop_word(turn, rng) if rng.random() < config.dropped_words else turn for turn in turns]
    row = row if case.score is not None else None
    return Example(model.prompter.conversation(case, turns), row, mirrored)


def batches(
    config: FinetuneConfig, model: ForgeryLLM, faces: GroundedCases, first: int
) -> Iterator[tuple[int, list[list[Example]]]]:
    """(step, its batches) from step `first` on; what a step sees depends on seed and step alone."""
    local = [bool(case.regions) and WHOLE_FACE not in case.regions for case in faces.cases]
    weights = list(accumulate(config.local_weight if named else 1.0 for named in local))
    for pool in range(first // POOL, -(-config.steps // POOL)):
        rng = random.Random(f"{config.seed}/{pool}")
        count = POOL * config.accumulate * config.batch_size
        examples = [draw_example(config, model, faces, weights, rng) for _ in range(count)]
        groups = bucketed([example.tokens for example in examples], config.batch_size)
        rng.shuffle(groups)
        for offset in range(POOL):
            step = pool * POOL + offset
            if first <= step < config.steps:
                mine = groups[offset * config.accumulate : (offset + 1) * config.accumulate]
                yield step, [[examples[position] for position in group] for group in mine]


def batch_losses(
    config: FinetuneConfig, model: ForgeryLLM, faces: GroundedCases, examples: list[Example]
) -> Losses:
    """The losses of one batch of conversations about judged faces."""
    batch = collate([example.tokens for example in examples], config.max_tokens).to(model.device)
    found = faces.detection([example.row or 0 for example in examples], model.device)
    found = mirror(found, torch.tensor([example.mirrored for example in examples], device=model.device))
    scored = torch.tensor([example.row is not None for example in examples], device=model.device)
    soft: Tensor = torch.cat(model.soft_prompts(found), dim=1) * scored[:, None, None]
    return model.losses(batch, soft, config.verdict_weight)


def build(config: FinetuneConfig, detector: Detector, faces: GroundedCases) -> ForgeryLLM:
    """The base model with fresh LoRA matrices, prompt learner and projector; only these train."""
    torch.manual_seed(config.seed)
    llm, tokenizer = load_base(config.llm, config.device, quantize=config.quantize)
    sizes = PromptLearnerConfig(
        llm_dim=llm.get_input_embeddings().embedding_dim,
        image_embed_dim=faces.detections.embedding.shape[1],
        taps=len(faces.detections.consistency_maps),
        num_prompts=config.num_prompts,
        token_rms=token_rms(llm),
    )
    llm = add_adapter(llm, config.rank, config.alpha, config.dropout, config.targets)
    if config.checkpointing:
        llm.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    learner, projector = ForgeryPromptLearner(sizes), VisualProjector(sizes)
    return ForgeryLLM(
        llm, tokenizer, PromptStyle(config.template), learner.to(config.device), projector.to(config.device)
    )


def trained_state(model: ForgeryLLM) -> dict[str, Tensor]:
    """The parameters that train, by name."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


@torch.no_grad()
def validate(config: FinetuneConfig, model: ForgeryLLM, faces: GroundedCases) -> Losses:
    """Mean losses of fixed conversations about validation faces."""
    model.eval()
    rng = random.Random(config.seed + 1)
    examples = []
    for row, case in enumerate(faces.cases):
        turns = make_dialogue(case, rng, turns=config.max_turns)
        examples.append(Example(model.prompter.conversation(case, turns), row))
    groups = bucketed([example.tokens for example in examples], config.batch_size)
    losses = [batch_losses(config, model, faces, [examples[i] for i in group]) for group in groups]
    weights = torch.tensor([len(group) / len(examples) for group in groups])
    means = [
        (torch.stack([getattr(loss, name) for loss in losses]).cpu() * weights).sum()
        for name in ("total", "language", "verdict")
    ]
    model.train()
    return Losses(*means)


def fit(
    config: FinetuneConfig,
    model: ForgeryLLM,
    train: GroundedCases,
    val: GroundedCases,
    kfd_digest: str,
    run: Path,
) -> None:
    """Train to the last step, from the saved state if there is one; keep the best in `config.out`."""
    soft = [*model.prompt_learner.parameters(), *model.projector.parameters()]
    adapter = [p for p in model.llm.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [{"params": adapter, "peak": config.lr}, {"params": soft, "peak": config.soft_lr}],
        lr=config.lr,
        weight_decay=config.weight_decay,
    )
    settings = {k: v for k, v in asdict(config).items() if k not in NOT_SETTINGS}
    settings["targets"] = list(config.targets)
    state = resume_state(run / "state.pt", settings)
    first, best = 0, float("inf")
    if state is not None:
        model.load_state_dict(state["trained"], strict=False)  # the frozen base is not in the state
        optimizer.load_state_dict(state["optimizer"])
        first, best = state["step"], state["best"]
        print(f"continuing at step {first} of {config.steps}", flush=True)
    elif config.align_steps:
        loss = align(model, train, config.align_steps, config.soft_lr, config.seed)
        print(f"aligned the prompt learner, loss {loss:.4f}", flush=True)
    model.train()
    log = Log(config.steps, config.log_every)
    for step, parts in batches(config, model, train, first):
        torch.manual_seed(config.seed * 1_000_003 + step)  # LoRA's dropout, the same after a resumption
        factor = cosine_rate(step, config.steps, config.warmup)
        set_rate(optimizer, factor)
        optimizer.zero_grad()
        for examples in parts:
            losses = batch_losses(config, model, train, examples)
            (losses.total / len(parts)).backward()
        nn.utils.clip_grad_norm_([*adapter, *soft], config.clip)
        optimizer.step()
        log.add(step, config.lr * factor, loss=float(losses.language.detach()),
                verdict=float(losses.verdict.detach()))  # fmt: skip
        last = step + 1 == config.steps
        if (step + 1) % config.val_every == 0 or last:
            measured = validate(config, model, val)
            print(f"step {step + 1} validation loss {measured.language:.4f} verdict {measured.verdict:.4f}",
                  flush=True)  # fmt: skip
            if measured.total < best:
                best = float(measured.total)
                model.save_pretrained(config.out, config.llm, kfd_digest, step=step + 1, validation=best,
                                      seed=config.seed)  # fmt: skip
        if (step + 1) % config.save_every == 0 or last:
            progress = {"step": step + 1, "best": best, "settings": settings}
            save_state(progress | {"trained": trained_state(model), "optimizer": optimizer.state_dict()},
                       run / "state.pt")  # fmt: skip


def main(args: list[str] | None = None) -> None:
    """Judge the faces, build the model, train it."""
    config = parse(FinetuneConfig, __doc__, args)
    run = Path(config.run or Path("runs") / f"finetune-{Path(config.out).name}")
    detector = Detector.from_pretrained(config.kfd, config.device)
    train = ground_once(run / "train", detector, config.data, "train", config.faces, config.seed)
    val = ground_once(run / "val", detector, config.data, "val", config.val_faces, config.seed)
    model = build(config, detector, train)
    trainable, frozen = count_parameters(model)
    print(f"{trainable:,} trainable and {frozen:,} frozen parameters; {len(train)} judged faces", flush=True)
    fit(config, model, train, val, detector.digest, run)
    save_config(config, Path(config.out) / "finetune.json")
    print(f"saved {config.out}")


if __name__ == "__main__":
    main()
