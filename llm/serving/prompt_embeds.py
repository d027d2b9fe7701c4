"""Prompt embeddings: how a server that has the merged model is told what the detector found.

vLLM, started with --enable-prompt-embeds, takes the embeddings of a whole rendered prompt at /completions,
as a tensor written by torch.save, in base64; it adds no template of its own.

    model = load_prompts("runs/export")
    conversation = RemoteConversation(EmbedsWriter(endpoint, model, case, detection), case)
"""

from __future__ import annotations

import base64
from collections.abc import Generator, Sequence
from io import BytesIO
from typing import Any

import torch
from torch import Tensor

from data_sim.dialogue import Case
from kfd.detection import Detection
from llm.conversation import FinishedTurn, checked_room
from llm.model import ForgeryLLM
from llm.prompt import Segment, answer, clean_question, opening, question
from llm.serving.endpoint import Endpoint
from llm.tokens import PromptTokenizer


def prompt_segments(
    prompter: PromptTokenizer, case: Case, history: Sequence[FinishedTurn], asked: str, said: str = ""
) -> list[Segment]:
    """A conversation up to where the model writes on.

    asked: the cleaned question. said: what of its answer is there already.
    """
    markers = prompter.markers
    segments = opening(prompter.style, markers, case)
    for turn, exchange in enumerate(history):
        segments += question(markers, exchange.question, first=turn == 0)
        segments += answer(markers, exchange.answer, verdict=False)
    segments += question(markers, asked, first=not history)
    return [*segments, Segment("text", markers.lead + said)] if said else segments


@torch.inference_mode()
def prompt_embeds(model: ForgeryLLM, segments: Sequence[Segment], detection: Detection | None) -> Tensor:
    """The embeddings of a rendered conversation with the soft prompts spliced in.

    detection: of one face, B = 1; None for a face without a score, whose soft prompts are blank.
    Returns (1, T, C) in the dtype of the token embeddings.
    """
    tokens = model.prompter.tokenise(segments)
    soft = None if detection is None else torch.cat(model.soft_prompts(detection), dim=1)
    ids, index = ([row] for row in (tokens.input_ids, tokens.soft_index))
    return model.embed(torch.tensor(ids, device=model.device), torch.tensor(index, device=model.device), soft)


def encode(embeds: Tensor) -> str:
    """A tensor as the server reads it: torch.save, then base64."""
    buffer = BytesIO()
    torch.save(embeds.detach().cpu().clone(), buffer)  # a clone: a view would be saved with all behind it
    return base64.b64encode(buffer.getvalue()).decode("ascii")


class EmbedsWriter:
    """Words about one face from a server that has the merged model.

    resumes: the prompt is ours to the last token, so an answer can go on from its middle.
    """

    resumes = True

    def __init__(
        self, endpoint: Endpoint, model: ForgeryLLM, case: Case, detection: Detection | None
    ) -> None:
        """model: of llm.serving.exported.load_prompts. detection: None where the face has no score."""
        self.endpoint = endpoint
        self.model = model
        self.case = case
        self.detection = detection

    def clean(self, text: str) -> str:
        """A user's question without the template's marks; ValueError where nothing is left."""
        return clean_question(text, self.model.prompter.marks)

    def room(self, history: Sequence[FinishedTurn], asked: str, limit: int) -> int:
        """Count the tokens an answer may have; ValueError when the conversation is full."""
        prompter = self.model.prompter
        used = len(prompter.tokenise(prompt_segments(prompter, self.case, history, asked)))
        return min(limit, checked_room(self.model, used))

    def write(
        self,
        history: Sequence[FinishedTurn],
        asked: str,
        said: str,
        limit: int,
        temperature: float,
        seed: int,
    ) -> Generator[str, None, None]:
        """The pieces of an answer, going on behind `said`. Raises EndpointError."""
        prompter = self.model.prompter
        segments = prompt_segments(prompter, self.case, history, asked, said)
        written = len(prompter.tokenise([Segment("text", said)])) if said else 0
        if written >= limit:
            return
        body: dict[str, Any] = {
            "prompt_embeds": encode(prompt_embeds(self.model, segments, self.detection)),
            "max_tokens": limit - written,
            "temperature": temperature,
            "seed": seed,
            "stop": [prompter.markers.end.strip()],
            "stop_token_ids": sorted(prompter.stop_ids),
            # Servers take what is not said from the model's generation_config.json; a local answer does not.
            "top_p": 1.0,
            "top_k": 0,
            "repetition_penalty": 1.0,
        }
        for event in self.endpoint.stream("completions", body):
            for choice in event["choices"][:1]:
                yield choice.get("text") or ""
