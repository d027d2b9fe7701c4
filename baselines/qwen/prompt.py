"""What Qwen2.5-VL and Qwen2-VL are asked, and how their replies are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from kfd.detection import CLASSES

# Fine-tuning: the question and the answers of document 001.
QUESTION = "Please classify the following image as real or fake"
ANSWERS = tuple(f"The class of this image is {name}" for name in CLASSES)

# Zero-shot: document 001 names the role, the ten artefacts and the four elements, not their wording.
EXPERT = (
    "You are a world-class digital forensics expert. You examine pictures of faces for traces of deepfake "
    "manipulation and report in XML, and in nothing else."
)
ARTEFACTS = (
    "asymmetric irises or pupils",
    "irregular glasses",
    "irregular teeth",
    "irregular or unequal ears",
    "unnatural hair",
    "unnatural skin texture",
    "inconsistent lighting or shadows",
    "distorted background",
    "deformed hands",
    "unnatural blurring",
)
CHECKLIST = (
    "Is this face real or a deepfake? Look for:\n"
    + "\n".join(f"{number}. {name}" for number, name in enumerate(ARTEFACTS, start=1))
    + "\nReply with exactly these four elements:\n<verdict>real or fake</verdict>\n"
    "<confidence>a number from 0 to 100</confidence>\n"
    "<artifacts>the traces that you see, separated by commas, or none</artifacts>\n"
    "<reasoning>one or two sentences</reasoning>"
)
_REPLY = re.compile(
    r"\s*<verdict>\s*(real|fake)\s*</verdict>\s*<confidence>\s*(\d{1,3}(?:\.\d+)?)\s*%?\s*</confidence>"
    r"\s*<artifacts>([^<>]*)</artifacts>\s*<reasoning>([^<>]+)</reasoning>\s*",
    re.IGNORECASE,
)
_WORD = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Reply:
    """A reply that has the form asked for. confidence: in what it says, 0 to 100."""

    verdict: Literal["real", "fake"]
    confidence: float
    artifacts: tuple[str, ...]
    reasoning: str


def parse_reply(text: str) -> Reply | None:
    """Read a reply, or None where it has not exactly the form asked for: then it has no verdict."""
    found = _REPLY.fullmatch(text)
    if found is None or float(found[2]) > 100:
        return None
    names = tuple(name.strip() for name in found[3].split(",") if name.strip())
    artifacts = () if [name.lower().rstrip(".") for name in names] == ["none"] else names
    return Reply(found[1].lower(), float(found[2]), artifacts, found[4].strip())


def parse_word(text: str) -> Literal["real", "fake"] | None:
    """What a reply to "Is this a deepfake image?" opens with: Yes is fake, No is real, all else None."""
    found = _WORD.match(text)
    return None if found is None else "fake" if found[1].lower() == "yes" else "real"


def chat_text(question: str, num_image_tokens: int, system: str = "You are a helpful assistant.") -> str:
    """A conversation in Qwen's ChatML, up to where the answer begins.

    num_image_tokens: places that the picture takes up in the sequence.
    """
    picture = "<|vision_start|>" + "<|image_pad|>" * num_image_tokens + "<|vision_end|>"
    return (
        f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{picture}{question}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
