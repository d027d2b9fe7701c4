"""Train the small language model of the embedded assistant from nothing, on the dialogues' language.

    python -m llm.pretrain --out runs/llm                                   # about half an hour on one core
    python -m llm.pretrain --out runs/llm-try --steps 20 --hidden 32 --layers 1 --heads 2

Run again after an interruption and it continues where it stopped, to the same weights.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from common.cli import parse
from common.locks import one_writer
from common.schedule import cosine_rate
from common.storage import load_strictly, naming, resume_state, save_state
from data_sim.dialogue import Case, make_dialogue, random_case, region_words
from llm.base import count_parameters, load_base, token_rms
from llm.model import ForgeryLLM
from llm.prompt import PromptStyle
from llm.tokens import Batch, PromptTokenizer, Tokens, collate
from llm.training.schedule import FLOOR, Log, bucketed, drop_word, set_rate
from llm.training.vocabulary import dialogue_texts, train_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

POOL = 8  # batches drawn at a time and sorted by length


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of one pretraining run."""

    out: str  # folder of the finished model
    run: str = ""  # folder of the resumable state; by default runs/ and the name of `out`
    start: str = ""  # folder of a model of the same sizes to go on from; its vocabulary is kept
    steps: int = 2600
    batch_size: int = 8  # conversations per step
    learning_rate: float = 2e-3
    warmup: int = 100  # steps
    weight_decay: float = 0.05
    verdict_weight: float = 0.3  # of the Yes/No loss against the language loss
    text_share: float = 0.5  # of conversations with the evidence as text
    blank_share: float = 0.1  # of those without evidence; the rest has it as soft prompts made of words
    max_turns: int = 6  # a conversation has 1 to this many turns
    other_opening: float = 0.3  # share of conversations that do not open with the question for the verdict
    dropped_words: float = 0.3  # share of questions that lose a word, as a stand-in for wordings never seen
    vocab_size: int = 2048
    hidden: int = 256  # width of the model
    layers: int = 4
    heads: int = 4
    intermediate: int = 512  # width inside the feed-forward layers
    max_tokens: int = 1024  # longest conversation
    num_prompts: int = 9  # E_forgery's tokens, as in fine-tuning
    texts: int = 20000  # conversations that the vocabulary is trained on
    seed: int = 0
    save_every: int = 250  # steps between resumable states
    log_every: int = 25  # steps between log lines

    def __post_init__(self) -> None:
        shares = self.text_share + self.blank_share
        if not (0 <= self.text_share <= 1 and 0 <= self.blank_share <= 1 and shares <= 1):
            raise ValueError(f"text_share + blank_share: expected shares of at most 1 in all, got {shares}")
        if self.hidden % self.heads:
            raise ValueError(f"hidden must be a multiple of heads, got {self.hidden} and {self.heads}")


@dataclass(frozen=True)
class Example:
    """A tokenised conversation; regions: what its soft prompts tell of, None for blank evidence."""

    tokens: Tokens
    regions: tuple[str, ...] | None


def draw_example(
    config: PretrainConfig, prompters: dict[str, PromptTokenizer], rng: random.Random
) -> Example:
    """A random case, a random conversation about it, and a random way of giving the evidence."""
    case: Case = random_case(rng)
    opening = None if rng.random() < config.other_opening else "verdict"
    turns = make_dialogue(case, rng, turns=rng.randint(1, config.max_turns), opening=opening)
    turns = [drop_word(turn, rng) if rng.random() < config.dropped_words else turn for turn in turns]
    way = rng.random()
    if way < config.text_share:
        return Example(prompters["evidence_text"].conversation(case, turns), None)
    blank = way < config.text_share + config.blank_share
    return Example(prompters["soft_prompts"].conversation(case, turns), None if blank else case.regions)


def batches(
    config: PretrainConfig, prompters: dict[str, PromptTokenizer], first: int
) -> Iterator[tuple[int, list[Example]]]:
    """(step, examples) from step `first` on; what a step sees depends on seed and step alone."""
    for pool in range(first // POOL, -(-config.steps // POOL)):
        rng = random.Random(f"{config.seed}/{pool}")
        examples = [draw_example(config, prompters, rng) for _ in range(POOL * config.batch_size)]
        groups = bucketed([example.tokens for example in examples], config.batch_size)
        rng.shuffle(groups)
        for offset, group in enumerate(groups):
            step = pool * POOL + offset
            if first <= step < config.steps:
                yield step, [examples[position] for position in group]


def word_prompts(model: ForgeryLLM, examples: list[Example], config: PretrainConfig, step: int) -> Tensor:
    """Soft prompts that tell of regions in the model's own words.

    Each region of a case is the mean of the embeddings of its words, in a random one of the prompt tokens,
    amid noise. The model so learns to read regions out of E_forgery before any image is seen, and the prompt
    learner finds a reader. Blank evidence is zeros.
    Returns (B, 1 + num_prompts, C).
    """
    table = model.llm.get_input_embeddings().weight
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    shape = (len(examples), 1 + config.num_prompts, table.shape[1])
    soft = torch.randn(shape, generator=generator) * (0.5 * token_rms(model.llm))
    for row, example in enumerate(examples):
        if example.regions is None:
            soft[row] = 0.0
            continue
        places = 1 + torch.randperm(config.num_prompts, generator=generator)
        for place, name in zip(places.tolist(), example.regions, strict=False):
            ids = model.prompter.encode(" " + region_words([name]).removeprefix("the "))
            soft[row, place] = soft[row, place] + table[ids].mean(dim=0)
    return soft


def run_tokenizer(config: PretrainConfig, folder: Path) -> PreTrainedTokenizerBase:
    """The vocabulary of a run: trained once, then read, so that no resumed run can come to another one."""
    from transformers import AutoTokenizer

    if config.start:
        return AutoTokenizer.from_pretrained(config.start)
    if not (folder / "tokenizer.json").is_file():
        tokenizer = train_tokenizer(dialogue_texts(config.texts, config.seed), config.vocab_size)
        tokenizer.save_pretrained(str(folder))
    return AutoTokenizer.from_pretrained(str(folder))


def build(
    config: PretrainConfig, tokenizer: PreTrainedTokenizerBase
) -> tuple[ForgeryLLM, dict[str, PromptTokenizer]]:
    """The model before its first step, and a prompt tokenizer for each way of giving the evidence."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden,
        intermediate_size=config.intermediate,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        max_position_embeddings=config.max_tokens,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(config.seed)
    llm = LlamaForCausalLM(sizes)
    if config.start:
        load_strictly(llm, load_base(config.start)[0].state_dict(), config.start)
    styles = {mode: PromptStyle("vicuna", mode) for mode in ("evidence_text", "soft_prompts")}
    prompters = {
        mode: PromptTokenizer(tokenizer, style, config.num_prompts) for mode, style in styles.items()
    }
    return ForgeryLLM(llm, tokenizer, styles["evidence_text"]), prompters


def make_optimizer(model: ForgeryLLM, config: PretrainConfig) -> torch.optim.Optimizer:
    """AdamW; vectors (the normalisation weights) are not decayed."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay, "peak": config.learning_rate},
        {"params": vectors, "weight_decay": 0.0, "peak": config.learning_rate},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95))


def fit(
    model: ForgeryLLM, prompters: dict[str, PromptTokenizer], config: PretrainConfig, state_path: Path
) -> None:
    """Train to the last step, from the saved state if there is one."""
    optimizer = make_optimizer(model, config)
    settings = {k: v for k, v in asdict(config).items() if k not in ("out", "run", "save_every", "log_every")}
    state = resume_state(state_path, settings)
    first = 0
    if state is not None:
        with naming(state_path):
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            first = state["step"]
        print(f"continuing at step {first} of {config.steps}")
    model.train()
    log = Log(config.steps, config.log_every)
    for step, examples in batches(config, prompters, first):
        factor = cosine_rate(step, config.steps, config.warmup, FLOOR)
        set_rate(optimizer, factor)
        batch: Batch = collate([example.tokens for example in examples], config.max_tokens)
        losses = model.losses(batch, word_prompts(model, examples, config, step), config.verdict_weight)
        optimizer.zero_grad()
        losses.total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        log.add(
            step,
            config.learning_rate * factor,
            loss=float(losses.language.detach()),
            verdict=float(losses.verdict.detach()),
        )
        if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            save_state({**state, "step": step + 1, "settings": settings}, state_path)


def main(args: list[str] | None = None) -> None:
    """Pretrain, and save the model in half precision beside its tokenizer."""
    config = parse(PretrainConfig, __doc__, args)
    run = Path(config.run or Path("runs") / f"pretrain-{Path(config.out).name}")
    try:
        with one_writer(run):
            model, prompters = build(config, run_tokenizer(config, run / "tokenizer"))
            print(f"{count_parameters(model)[0]:,} parameters, {len(model.prompter.tokenizer)} tokens")
            fit(model, prompters, config, run / "state.pt")
            Path(config.out).mkdir(parents=True, exist_ok=True)
            # bfloat16 halves the file; inference computes in float32 on a CPU all the same.
            model.llm.to(torch.bfloat16).save_pretrained(config.out)
            model.prompter.tokenizer.save_pretrained(config.out)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"saved {config.out}")


if __name__ == "__main__":
    main()
