"""The checkpoint of the paper's public code: the whole layout, read strictly, and scored with."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from baselines import import_released
from baselines.released.layout import RANK, load_released, released_shapes
from baselines.released.model import ReleasedConfig
from kfd import score
from kfd.detector import Detector
from kfd.encoders.imagebind import ImageBind
from tests.tiny.encoders import IMAGEBIND
from tests.tiny.imagebind import official_shapes

SETTINGS = IMAGEBIND | {"vocab_size": 49408}
CONFIG = ReleasedConfig(encoder_settings=SETTINGS)
# What else is in such a file: ImageBind's other modalities and the language model's part.
OTHERS = {
    "visual_encoder.modality_trunks.audio.blocks.0.mlp.fc1.lora_A": (RANK, 4),
    "visual_encoder.modality_preprocessors.imu.imu_stem.proj.weight": (4, 4),
    "prompt_learner.base_prompts": (9, 16), "llama_proj.weight": (16, 8),
    "llama_model.base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight": (RANK, 16),
}  # fmt: skip


def released_file(path: Path, **changes: Tensor | None) -> Path:
    """A random file of the layout; changes: tensors to put in place of others, None to leave one out."""
    draw = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}
    for name, shape in (released_shapes(CONFIG) | OTHERS).items():
        if name.endswith("text.mask"):
            state[name] = torch.full(shape, float("-inf")).triu(1)
        elif name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(5)
        elif name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(shape, generator=draw)
        else:
            state[name] = 0.2 * torch.randn(shape, generator=draw)
    state |= changes
    torch.save({name: tensor for name, tensor in state.items() if tensor is not None}, path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What the command makes of such a file."""
    place = tmp_path_factory.mktemp("released")
    released_file(place / "ckpt.pth")
    (place / "sizes.yaml").write_text(json.dumps({"encoder_settings": SETTINGS}))
    words = ["--config", str(place / "sizes.yaml"), str(place / "ckpt.pth"), "--out", str(place / "released")]
    import_released.main(words)
    return place / "released"


def test_the_layout_at_full_size_is_the_published_one():
    """Towers under ImageBind's own names, LoRA beside some, and the heads' shapes as the code has them."""
    shapes = released_shapes(ReleasedConfig())
    towers = {name.removeprefix("visual_encoder."): list(shape) for name, shape in shapes.items()
              if name.startswith("visual_encoder.") and ".lora_" not in name}  # fmt: skip
    assert towers == official_shapes()
    lora = [name for name in shapes if name.endswith(".lora_A")]
    assert len(lora) == 2 * 32 + 2 * 24 + 2
    assert shapes["visual_encoder.modality_trunks.vision.blocks.31.mlp.fc1.lora_B"] == (5120, RANK)
    assert shapes["visual_encoder.modality_heads.text.proj.1.lora_A"] == (RANK, 1024)
    heads = {
        "image_decoder.fc.2.weight": (1024, 1280), "locator.conv.0.weight": (128, 2, 3, 3),
        "locator.batchnorm.2.running_mean": (128,), "locator.finalconv.weight": (2, 384, 3, 3),
        "classifier.meta_net.0.0.weight": (16, 2, 3, 3), "classifier.meta_net.2.12.weight": (256, 128, 3, 3),
        "classifier.meta_net.2.15.running_var": (256,), "classifier.fc1.weight": (128, 768),
        "classifier.fc2.weight": (2, 128),
    }  # fmt: skip
    assert {name: shapes[name] for name in heads} == heads
    assert "ctx" not in shapes and not any("meta_net.0.16" in name for name in shapes)


def test_scores_are_those_of_the_published_recipe(folder: Path):
    """Written out once more from its description, on the tensors of the file, LoRA added by hand."""
    state = torch.load(folder.parent / "ckpt.pth")
    towers = ImageBind(CONFIG.towers)
    own = {name: tensor.clone() for name, tensor in
           ((name, state[f"visual_encoder.{name}"]) for name in towers.state_dict())}  # fmt: skip
    for name in list(state):
        stem = name.removesuffix("lora_A")
        if stem != name and ".audio." not in name and "llama" not in name:
            own[f"{stem.removeprefix('visual_encoder.')}weight"] += state[f"{stem}lora_B"] @ state[name] / 32
    towers.load_state_dict(own)
    crops = torch.rand(2, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    mean, std = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    pixels = (crops - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.no_grad():
        rows = [
            torch.cat([towers.encode_texts(torch.tensor([[49406, letter, 49407]]), torch.tensor([2]))
                       for letter in letters])
            for letters in ((337, 324, 320, 331), (325, 320, 330, 324))
        ]  # fmt: skip
        text = torch.stack([F.normalize(r.sum(0) / 20, dim=0) for r in rows])
        taps, _, _ = towers.vision_tower(pixels, taps=(1, 2, 3))
        located, judged = [], []
        for i, tokens in enumerate(taps):
            linear = F.linear(
                tokens, state[f"image_decoder.fc.{i}.weight"], state[f"image_decoder.fc.{i}.bias"]
            )
            small = (100 * F.normalize(linear, dim=-1) @ text.T).transpose(1, 2).reshape(2, 2, 4, 4)
            wide = F.interpolate(small, (56, 56), mode="bilinear", align_corners=True)
            part = F.conv2d(
                wide, state[f"locator.conv.{i}.weight"], state[f"locator.conv.{i}.bias"], padding=2
            )
            located.append(_norm(part.relu(), state, f"locator.batchnorm.{i}"))
            for at in (0, 4, 8, 12):
                name = f"classifier.meta_net.{i}.{at}"
                wide = F.conv2d(wide, state[f"{name}.weight"], state[f"{name}.bias"], padding=1).relu()
                wide = _norm(F.max_pool2d(wide, 2), state, f"classifier.meta_net.{i}.{at + 3}")
            judged.append(wide.mean(dim=(2, 3)))
        final = F.conv2d(
            torch.cat(located, 1), state["locator.finalconv.weight"], state["locator.finalconv.bias"]
        )
        hidden = F.linear(torch.cat(judged, 1), state["classifier.fc1.weight"], state["classifier.fc1.bias"])
        out = F.linear(hidden.relu(), state["classifier.fc2.weight"], state["classifier.fc2.bias"])
    found = Detector.from_pretrained(folder)(crops)
    torch.testing.assert_close(found.logit.sigmoid(), out.softmax(dim=1)[:, 1], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.heatmap, final.softmax(dim=1)[:, 1:], rtol=1e-3, atol=1e-4)


def _norm(values: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    parts = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(values, *(state[f"{name}.{part}"] for part in parts))


def test_a_photograph_is_scored_with_it(folder: Path, tmp_path: Path, monkeypatch):
    example = Path(__file__).parents[2] / "app" / "example.jpg"
    out = tmp_path / "scores.jsonl"
    words = ["kfd.score", str(example), "--checkpoint", str(folder), "--out", str(out), "--workers", "1"]
    monkeypatch.setattr("sys.argv", words)
    score.main()
    (line,) = map(json.loads, out.read_text().splitlines())
    assert 0 <= line["score"] <= 1 and line["verdict"] == "inconclusive", "not calibrated, so no verdict"


def test_what_the_detector_does_not_need_is_left_aside_and_its_context_is_taken(tmp_path: Path):
    found = load_released(released_file(tmp_path / "a.pth"), CONFIG)
    assert found.left_aside == {"audio": 1, "imu": 1, "llama_model": 1, "llama_proj": 1, "prompt_learner": 1}
    assert not found.model.ctx.any()
    context = torch.randn(16, 8, dtype=torch.bfloat16)
    again = load_released(released_file(tmp_path / "b.pth", ctx=context), CONFIG).model
    assert torch.equal(again.ctx, context.float()) and not again.ctx.requires_grad
    assert not torch.allclose(again.constants(), found.model.constants())


@pytest.mark.parametrize(("changes", "said"), [
    ({"locator.finalconv.bias": None}, "missing locator.finalconv.bias"),
    ({"visual_encoder.modality_heads.vision.2.lora_A": None}, "missing .*vision.2.lora_A"),
    ({"locator.conv.9.weight": torch.zeros(1)}, "unknown locator.conv.9.weight"),
    ({"optimizer": torch.zeros(1)}, "unknown optimizer"),
    ({"classifier.fc2.bias": torch.zeros(3)}, re.escape("classifier.fc2.bias: expected (2,), got (3,)")),
    ({"classifier.fc2.bias": torch.tensor([0.0, float("nan")])}, "fc2.bias holds a number that is not"),
])  # fmt: skip
def test_another_file_is_refused_in_one_sentence(tmp_path: Path, changes: dict, said: str):
    with pytest.raises(ValueError, match=said):
        load_released(released_file(tmp_path / "ckpt.pth", **changes), CONFIG)


def test_the_command_says_what_is_wrong(tmp_path: Path):
    torch.save({"model": {}}, tmp_path / "wrapped.pth")
    for name, said in (("none.pth", "none.pth is missing"), ("wrapped.pth", "expected one state dict")):
        with pytest.raises(SystemExit, match=said):
            import_released.main([str(tmp_path / name), "--out", str(tmp_path / "out")])
