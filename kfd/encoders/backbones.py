"""The vision-language models that can stand under the detector, and how their weights are read.

`embedded` is trained whole and travels with its checkpoint. The others are public and stay frozen: their
weights are read, strictly, from a local file or folder or from the Hugging Face hub, and a detector's
checkpoint holds their digest instead of them.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, get_type_hints

import torch
from torch import nn

from common.strict_json import fits
from kfd.encoders.base import TAPS
from kfd.encoders.clip import ClipEncoder, load_clip
from kfd.encoders.imagebind import ImageBindConfig, ImageBindEncoder, load_imagebind
from kfd.encoders.text import BPE_FILE, TOKENIZER_FILE, clip_tokenizer, load_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Dtype = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
IMAGEBIND_FILES = ("imagebind_huge.pth", "imagebind_huge.safetensors", "model.safetensors")
CLIP_HUB_ID = "openai/clip-vit-large-patch14"
HUB_FILES = "config.json model.safetensors tokenizer.json"
SAMPLES = 256  # values of each large tensor that enter a digest

Config = TypeVar("Config")


@dataclass(frozen=True)
class Backbone:
    """What a user has to know of an encoder.

    weights: where they are taken from unless told otherwise, a file or a hub id; "" where the detector's own
        checkpoint holds them.
    fetch: the command that downloads them, and their size.
    licence: theirs.
    taps: layers or blocks the detector reads by default, in the encoder's own counting.
    """

    weights: str
    fetch: str
    licence: str
    taps: tuple[int, ...]


BACKBONES: dict[str, Backbone] = {
    "embedded": Backbone("", "", "Apache-2.0", TAPS["mobilenet_v1"]),
    "imagebind-huge": Backbone(
        "checkpoints/imagebind_huge.pth",
        "curl -L --create-dirs -o checkpoints/imagebind_huge.pth "
        "https://dl.fbaipublicfiles.com/imagebind/imagebind_huge.pth  (4.5 GB)",
        "CC BY-NC 4.0, which forbids commercial use",
        ImageBindConfig.taps,
    ),
    "clip-vit-b32": Backbone(
        "openai/clip-vit-base-patch32",
        f"hf download openai/clip-vit-base-patch32 {HUB_FILES} "
        "--local-dir checkpoints/clip-vit-b32  (0.6 GB)",
        "MIT",
        (4, 8, 12),
    ),
    "clip-vit-l14": Backbone(
        CLIP_HUB_ID,
        f"hf download {CLIP_HUB_ID} {HUB_FILES} --local-dir checkpoints/clip-vit-l14  (1.7 GB)",
        "MIT",
        (8, 16, 24),
    ),
    "openclip-vit-h14": Backbone(
        "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        f"hf download laion/CLIP-ViT-H-14-laion2B-s32B-b79K {HUB_FILES} "
        "--local-dir checkpoints/openclip-vit-h14  (3.9 GB)",
        "MIT",
        (16, 24, 32),
    ),
}


@dataclass(frozen=True)
class LoadedEncoder:
    """A frozen encoder with its weights.

    encoder: a kfd.encoders.base.Encoder, frozen, in eval mode.
    settings: what rebuilds it beside the weights, for KFDConfig.encoder_settings.
    digest: of its weights, see `weights_digest`.
    note: one sentence for the log: what was read from where under which licence, and what was left aside.
    """

    encoder: nn.Module
    settings: dict[str, object]
    digest: str
    note: str


def usual_dtype(name: str, device: str) -> Dtype:
    """bf16 for a frozen encoder on a GPU; fp32 on a CPU, where bf16 is slower, and for the embedded one."""
    return "fp32" if name == "embedded" or torch.device(device).type == "cpu" else "bf16"


def load_encoder(
    name: str,
    settings: dict[str, object] | None = None,
    weights: str | Path | None = None,
    dtype: Dtype = "fp32",
    device: str = "cpu",
) -> LoadedEncoder:
    """Read a public encoder and freeze it.

    name: a key of BACKBONES other than "embedded". settings: fields of ImageBindConfig, or `taps` of CLIP.
    weights: file, folder or hub id; by default the public one's.
    dtype: what both towers compute in; with fp16 the text tower stays in fp32, because the gradients that
        reach the learnable context through it would vanish.
    Raises FileNotFoundError without the weights, ValueError when they do not fit exactly.
    """
    backbone = BACKBONES[name]
    source = find_weights(name, weights)
    if name == "imagebind-huge":
        sizes = config_of(ImageBindConfig, settings)
        model, left_aside = load_imagebind(source, sizes)
        encoder, settings = ImageBindEncoder(model), asdict(sizes)
        counts = Counter(key.split(".")[1] for key in left_aside)
        others = ", ".join(f"{count} of {modality}" for modality, count in sorted(counts.items()))
        aside = f"; {len(left_aside)} tensors left aside" + (f" ({others})" if others else "")
    else:
        unknown = sorted(set(settings or {}) - {"taps"})
        if unknown:
            raise ValueError(f"unknown settings of {name}: {unknown}; sizes come from its own config.json")
        taps = tuple((settings or {}).get("taps", backbone.taps))
        try:
            encoder = ClipEncoder(load_clip(source), taps)
        except OSError as error:
            raise FileNotFoundError(f"{_missing(name, source)} ({str(error).splitlines()[0]})") from None
        settings, aside = {"taps": taps}, ""
    digest = weights_digest(encoder)  # of the values on disk, whatever they are computed in
    count = len(encoder.model.state_dict())
    note = f"{name}: {count} tensors of {source}{aside}. Licence: {backbone.licence}"
    return LoadedEncoder(_freeze(encoder, dtype, device), settings, digest, note)


def encoder_tokenizer(name: str, encoder: nn.Module, weights: str | Path | None = None) -> Tokenizer:
    """CLIP's tokenizer, which ImageBind uses too.

    It is read from beside the weights: tokenizer.json, vocab.json with merges.txt, or OpenAI's
    bpe_simple_vocab_16e6.txt.gz. Where there is none (ImageBind's weights come without), from the hub.
    Raises FileNotFoundError that says what to fetch, ValueError when it does not fit the text tower.
    """
    source = find_weights(name, weights)
    folder = source.parent if isinstance(source, Path) and source.is_file() else source
    tokenizer = _local_tokenizer(folder) if isinstance(folder, Path) else _hub_tokenizer(folder)
    if tokenizer is None:
        tokenizer = _hub_tokenizer(CLIP_HUB_ID, folder)
    if tokenizer.get_vocab_size() > encoder.vocab_size:
        raise ValueError(
            f"expected a tokenizer of at most {encoder.vocab_size} tokens, the text tower's, got one of "
            f"{tokenizer.get_vocab_size()}; put the tokenizer of {name} beside its weights in {folder}"
        )
    return tokenizer


def find_weights(name: str, given: str | Path | None = None) -> Path | str:
    """Where an encoder's weights are: an existing file or folder, or a hub id.

    Raises FileNotFoundError that says what to fetch, from where, its licence and the flag that takes it.
    """
    source = str(given or BACKBONES[name].weights)
    path = Path(source).expanduser()
    is_id = not path.exists() and re.fullmatch(r"[\w-][\w.-]*/[\w.-]+(?<!\.pth)(?<!\.safetensors)", source)
    if name != "imagebind-huge":
        if not is_id and not (path / "config.json").is_file():
            raise FileNotFoundError(_missing(name, path))
        return source if is_id else path
    if is_id:
        path = _download(name, source)
    if path.is_dir():
        found = [path / file for file in IMAGEBIND_FILES if (path / file).is_file()]
        path = found[0] if found else path / IMAGEBIND_FILES[0]
    if not path.is_file():
        raise FileNotFoundError(_missing(name, path))
    return path


def weights_digest(module: nn.Module) -> str:
    """SHA-256 of a module's floating-point tensors: names, shapes, all biases and norms, samples of the rest.

    Enough to tell any two trained models apart, and read in a second where a whole digest of a tower's
    gigabytes would hold up every start. Values count as float32: a copy rounded to 16 bits is another model.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if tensor.is_floating_point():
            values = tensor.detach().flatten()
            if tensor.ndim > 1:
                values = values[:: max(1, len(values) // SAMPLES)]
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(values.to("cpu", torch.float32).numpy().tobytes())
    return digest.hexdigest()


def config_of(config_class: type[Config], settings: dict[str, object] | None) -> Config:
    """An encoder's config dataclass out of JSON or YAML; raises ValueError on unknown settings."""
    settings = settings or {}
    known = {field.name for field in fields(config_class)}
    unknown = sorted(settings.keys() - known)
    if unknown:
        raise ValueError(f"unknown encoder settings {unknown}; known are {sorted(known)}")
    hints = get_type_hints(config_class)
    wrong = {name: value for name, value in settings.items() if not fits(value, hints[name])}
    if wrong:
        raise ValueError(f"encoder settings of another type than {config_class.__name__}'s: {wrong}")
    try:
        return config_class(**{k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()})
    except TypeError as error:
        raise ValueError(f"encoder settings do not suffice for {config_class.__name__}: {error}") from None


def _freeze(encoder: nn.Module, dtype: Dtype, device: str) -> nn.Module:
    encoder = encoder.to(device, DTYPES[dtype])
    if dtype == "fp16":
        for part in encoder.text_parts:
            part.float()
    return encoder.requires_grad_(False).eval()


def _missing(name: str, source: str | Path) -> str:
    backbone = BACKBONES[name]
    return (
        f"found no weights of {name} at {source}. Fetch them: {backbone.fetch}; licence: {backbone.licence}. "
        "Then say where they are: --encoder-weights PATH_OR_HUB_ID of kfd.train, --encoder elsewhere"
    )


def _download(name: str, hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, allow_patterns=[*IMAGEBIND_FILES, TOKENIZER_FILE]))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(f"{_missing(name, hub_id)} ({str(error).splitlines()[0]})") from None


def _local_tokenizer(folder: Path) -> Tokenizer | None:
    if (folder / TOKENIZER_FILE).is_file():
        return load_tokenizer(folder)
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        from transformers import CLIPTokenizer

        return CLIPTokenizer.from_pretrained(folder).backend_tokenizer
    return clip_tokenizer(folder / BPE_FILE) if (folder / BPE_FILE).is_file() else None


def _hub_tokenizer(hub_id: str, folder: Path | None = None) -> Tokenizer:
    from huggingface_hub import hf_hub_download

    try:
        return load_tokenizer(Path(hf_hub_download(hub_id, TOKENIZER_FILE)).parent)
    except OSError as error:
        beside = f", or put {TOKENIZER_FILE} or OpenAI's {BPE_FILE} into {folder}" if folder else ""
        raise FileNotFoundError(
            f"found no tokenizer for the text tower; fetch it: hf download {hub_id} {TOKENIZER_FILE} "
            f"(CLIP's, MIT){beside} ({str(error).splitlines()[0]})"
        ) from None
