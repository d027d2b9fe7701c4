"""PandaGPT's delta as a start: its names and shapes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from llm import finetune
from llm.adapter import ATTENTION, add_adapter
from llm.training.pandagpt import start_from_pandagpt
from prompt_learner import VisualProjector
from tests.llm.training.test_finetune import flags
from tests.tiny.llm import learner_config, llama_tokenizer, tiny_llama

RANK, LAYERS, WIDTH = 2, 2, 32


def delta(embed_dim: int = 16, layers: int = LAYERS, marked: bool = False) -> dict[str, torch.Tensor]:
    """Random tensors under the names of the public file. marked: as a later PEFT writes them."""
    draw = torch.Generator().manual_seed(3)
    tensors = {
        "llama_proj.weight": torch.randn(WIDTH, embed_dim, generator=draw),
        "llama_proj.bias": torch.randn(WIDTH, generator=draw),
    }
    for layer in range(layers):
        for target in ATTENTION:
            stem = f"llama_model.base_model.model.model.layers.{layer}.self_attn.{target}"
            end = ".default.weight" if marked else ".weight"
            tensors[f"{stem}.lora_A{end}"] = torch.randn(RANK, WIDTH, generator=draw)
            tensors[f"{stem}.lora_B{end}"] = torch.randn(WIDTH, RANK, generator=draw)
    return tensors


def saved(tensors: dict[str, torch.Tensor], folder: Path) -> Path:
    path = folder / "pytorch_model.pt"
    torch.save({name: value.half() for name, value in tensors.items()}, path)
    return path


def parts(rank: int = RANK, targets: tuple[str, ...] = ATTENTION) -> tuple[VisualProjector, torch.nn.Module]:
    llm = add_adapter(tiny_llama(len(llama_tokenizer()), WIDTH), rank, rank, 0.0, targets)
    return VisualProjector(learner_config(WIDTH)), llm


@pytest.mark.parametrize("marked", [False, True], ids=["old PEFT", "new PEFT"])
def test_the_start_computes_what_its_matrices_say(marked: bool, tmp_path: Path) -> None:
    tensors = delta(marked=marked)
    projector, llm = parts()
    assert start_from_pandagpt(saved(tensors, tmp_path), projector, llm) == len(tensors)
    embedding = torch.randn(3, 16)
    weight, bias = tensors["llama_proj.weight"].half().float(), tensors["llama_proj.bias"].half().float()
    torch.testing.assert_close(projector(embedding)[:, 0], embedding @ weight.T + bias)
    end = ".default.weight" if marked else ".weight"
    stem = "llama_model.base_model.model.model.layers.1.self_attn.v_proj.lora_"
    a, b = (tensors[f"{stem}{side}{end}"].half().float() for side in "AB")
    layer = llm.base_model.model.model.layers[1].self_attn.v_proj
    inside = torch.randn(5, WIDTH)
    torch.testing.assert_close(layer(inside), layer.base_layer(inside) + inside @ a.T @ b.T)


def test_without_lora_the_projector_alone_is_taken(tmp_path: Path) -> None:
    projector, _ = parts()
    assert start_from_pandagpt(saved(delta(), tmp_path), projector, None) == 2


def unknown(tensors: dict[str, torch.Tensor]) -> None:
    tensors["image_decoder.fc.0.weight"] = torch.zeros(2, 2)


def missing(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["llama_model.base_model.model.model.layers.1.self_attn.k_proj.lora_B.weight"]


def not_finite(tensors: dict[str, torch.Tensor]) -> None:
    tensors["llama_proj.bias"][3] = torch.inf


def other_width(tensors: dict[str, torch.Tensor]) -> None:
    tensors["llama_proj.weight"] = torch.zeros(WIDTH, 17)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (unknown, "unknown image_decoder.fc.0.weight"),
        (missing, "missing .*layers.1.self_attn.k_proj.lora_B"),
        (not_finite, "finite"),
        (other_width, r"expected \(32, 16\), got \(32, 17\)"),
    ],
)
def test_another_file_is_refused_and_changes_nothing(change, message: str, tmp_path: Path) -> None:
    tensors = delta()
    change(tensors)
    projector, llm = parts()
    before = {
        name: value.clone() for name, value in [*projector.state_dict().items(), *llm.state_dict().items()]
    }
    with pytest.raises(ValueError, match=message):
        start_from_pandagpt(saved(tensors, tmp_path), projector, llm)
    after = dict([*projector.state_dict().items(), *llm.state_dict().items()])
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("settings", [{"rank": 4}, {"targets": ("q_proj", "v_proj")}])
def test_another_rank_or_other_layers_are_named(settings: dict, tmp_path: Path) -> None:
    projector, llm = parts(**settings)
    with pytest.raises(ValueError, match=r"rank 2 on k_proj, o_proj, q_proj, v_proj.*set rank"):
        start_from_pandagpt(saved(delta(), tmp_path), projector, llm)


def test_a_file_that_is_not_there_or_no_tensors_is_told(tmp_path: Path) -> None:
    projector, llm = parts()
    with pytest.raises(FileNotFoundError, match=r"pytorch_model\.pt"):
        start_from_pandagpt(tmp_path / "none.pt", projector, llm)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="state dict"):
        start_from_pandagpt(tmp_path / "list.pt", projector, llm)


def test_a_run_begins_with_it(folder: Path, tmp_path: Path, capsys) -> None:
    embed_dim = load_projector_width(folder, tmp_path)
    path = saved(tensors := delta(embed_dim), tmp_path)
    out = tmp_path / "out"
    words = flags(folder, out, start=path, lr=0, alpha=RANK, **{"soft-lr": 0, "align-steps": 0, "steps": 1})
    finetune.main([*words, "--targets", *ATTENTION])
    assert f"{len(tensors)} tensors of {path}" in capsys.readouterr().out
    weight = load_file(out / "projector" / "model.safetensors")["linear.weight"]
    assert torch.equal(weight, tensors["llama_proj.weight"].half().float())
    adapter = load_file(out / "adapter_model.safetensors")
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"
    assert torch.equal(adapter[name], tensors[f"llama_model.{name}"].half().float())


def load_projector_width(folder: Path, tmp_path: Path) -> int:
    """The width of embeddings of the tiny detector."""
    from kfd.detector import Detector

    return Detector.from_pretrained(str(folder / "kfd"))(torch.rand(1, 3, 64, 64)).embedding.shape[1]


def test_its_lora_counts_whole() -> None:
    from llm.training.config import FinetuneConfig

    with pytest.raises(ValueError, match="alpha 32, rank 32"):
        FinetuneConfig(llm="a", kfd="b", data="c", out="d", start="e", rank=32, alpha=16)
