"""Conversations of a step of fine-tuning: a function of seed and step alone, so that runs resume."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from data_sim.dialogue import Case, Turn, make_dialogue
from data_sim.dialogues.conversation import HELD_OUT_TOPICS, TRUTHS, UNTOLD, make_conversation
from data_sim.dialogues.drawn import draw_facts
from data_sim.dialogues.facts import Facts
from llm.model import ForgeryLLM
from llm.tokens import NO_VERDICT, Tokens
from llm.training.cases import GroundedCases, mirror_case, vary
from llm.training.config import FinetuneConfig
from llm.training.general import GeneralData
from llm.training.schedule import bucketed, drop_word
from media.regions import WHOLE_FACE

POOL = 8  # steps drawn at a time and sorted by length


@dataclass(frozen=True)
class Example:
    """A tokenised conversation about judged face `row`, or general record `row`; None: blank evidence.

    mirrored: the conversation is about the mirror image of the face. general: of the general data.
    """

    tokens: Tokens
    row: int | None
    mirrored: bool = False
    general: bool = False


def is_general(step: int, share: float) -> bool:
    """Tell whether a step trains on general data: a share of them, spread evenly; half: every other."""
    return int((step + 1) * share) > int(step * share)


def general_examples(config: FinetuneConfig) -> int:
    """Count the conversations of general data that the run will see."""
    return int(config.steps * config.general_share) * config.accumulate * config.batch_size


def draw_example(
    config: FinetuneConfig,
    model: ForgeryLLM,
    faces: GroundedCases,
    weights: list[float],
    rng: random.Random,
) -> Example:
    """A random face, a random conversation about it. weights: cumulative, of the faces."""
    row = rng.choices(range(len(faces)), cum_weights=weights)[0]
    return face_example(config, model, faces, row, rng)


def face_example(
    config: FinetuneConfig, model: ForgeryLLM, faces: GroundedCases, row: int, rng: random.Random
) -> Example:
    """A random conversation about a face: told all that the style tells, nothing, or in words alone."""
    mirrored = rng.random() < 0.5
    case = mirror_case(faces.cases[row]) if mirrored else faces.cases[row]
    draw = rng.random()
    told = "nothing" if draw < config.untold_share else model.prompter.style.told
    # Of a face of which nothing is told, the soft prompts are all that is known.
    blank = told != "nothing" and draw < config.untold_share + config.blank_share
    if told in ("finding", "facts"):
        case = vary(case, rng)  # of other words a model could not see that a photograph is too poor
    if told == "facts":
        case = draw_facts(case, rng)
    draw = rng.random()
    opening = "where" if draw < config.where_share else "verdict"
    opening = None if draw > 1 - config.open_share else opening
    turns = _dialogue(case, told, config.taught, rng, rng.randint(1, config.max_turns), opening)
    turns = [drop_word(turn, rng) if rng.random() < config.dropped_words else turn for turn in turns]
    yes = NO_VERDICT if case.score is None else faces.yes_target(row, case)
    tokens = model.prompter.conversation(case, turns, told, yes)
    return Example(tokens, None if blank or case.score is None else row, mirrored)


def _dialogue(
    case: Case, told: str, taught: str, rng: random.Random, turns: int, opening: str | None
) -> list[Turn]:
    """Questions, and answers that say nothing which the prompt does not hold, or is taught as the truth."""
    if told == "finding":
        return make_dialogue(case, rng, turns, opening=opening)
    if isinstance(case, Facts):
        return make_conversation(case, rng, turns, opening=opening, without=HELD_OUT_TOPICS)
    without = ("likelihood",) if told == "score" else ()
    repertoire = TRUTHS if taught == "truth" else UNTOLD
    return make_conversation(
        Facts.of(case), rng, turns, opening=opening, without=without, repertoire=repertoire
    )


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> list[int]:
    """The order in which an epoch of the general data goes through its records."""
    return random.Random(f"{seed}/general/{epoch}").sample(range(count), count)


def general_example(model: ForgeryLLM, general: GeneralData, number: int, seed: int) -> Example:
    """The `number`th general conversation of a run, from 0; all records come before one comes again."""
    epoch, place = divmod(number, len(general))
    row = _order(seed, epoch, len(general))[place]
    return record_example(model, general, row)


def record_example(model: ForgeryLLM, general: GeneralData, row: int) -> Example:
    """A general record as a training conversation."""
    record = general.records[row]
    pictured = record.image is not None
    return Example(model.prompter.general(record.turns, pictured), row if pictured else None, general=True)


def batches(
    config: FinetuneConfig, model: ForgeryLLM, faces: GroundedCases, general: GeneralData | None, first: int
) -> Iterator[tuple[int, list[list[Example]]]]:
    """(step, its batches) from step `first` on. A step sees forgery dialogues or general data, never both."""
    share = 0.0 if general is None else config.general_share
    local = [bool(case.regions) and WHOLE_FACE not in case.regions for case in faces.cases]
    weights = list(accumulate(config.local_weight if named else 1.0 for named in local))
    per_step = config.accumulate * config.batch_size
    for pool in range(first // POOL, -(-config.steps // POOL)):
        steps = range(pool * POOL, (pool + 1) * POOL)
        rng = random.Random(f"{config.seed}/{pool}")
        in_general = [step for step in steps if is_general(step, share)]
        count = (POOL - len(in_general)) * per_step
        dialogues = _groups(
            config, [draw_example(config, model, faces, weights, rng) for _ in range(count)], rng
        )
        start = int(steps[0] * share) * per_step
        numbers = range(start, start + len(in_general) * per_step)
        others = _groups(config, [general_example(model, general, n, config.seed) for n in numbers], rng)
        for step in steps:
            groups = others if step in in_general else dialogues
            mine = [groups.pop(0) for _ in range(config.accumulate)]
            if first <= step < config.steps:
                yield step, mine


def _groups(config: FinetuneConfig, examples: list[Example], rng: random.Random) -> list[list[Example]]:
    """Batches of conversations of similar length, in random order."""
    groups = bucketed([example.tokens for example in examples], config.batch_size)
    rng.shuffle(groups)
    return [[examples[position] for position in group] for group in groups]
