"""The Forgery Prompt Learner and the visual projector."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors.torch import load_file, save_file

from prompt_learner import ForgeryPromptLearner, PromptLearnerConfig, VisualProjector
from tests.tiny.llm import detection, learner_config


@pytest.mark.parametrize("side", [32, 40, 160, 224])
def test_any_heatmap_side_gives_the_configured_tokens(side: int) -> None:
    learner = ForgeryPromptLearner(learner_config(24))
    assert learner(detection(faces=2, side=side)).shape == (2, 3, 24)


def test_projector_gives_one_token() -> None:
    assert VisualProjector(learner_config())(detection(faces=2).embedding).shape == (2, 1, 32)


def test_every_part_of_figure_4_reaches_the_prompts() -> None:
    learner = ForgeryPromptLearner(learner_config())
    found = detection()
    before = learner(found)
    for change in (
        {"heatmap": 1 - found.heatmap},
        {"score": 1 - found.score},
        {"consistency_maps": tuple(-maps for maps in found.consistency_maps)},
    ):
        assert not torch.allclose(learner(dataclasses.replace(found, **change)), before, atol=1e-5)


def test_place_in_the_heatmap_matters() -> None:
    """A prompt that only knew how much is forged could never name a region."""
    learner = ForgeryPromptLearner(learner_config())
    found = detection()
    left, right = torch.zeros_like(found.heatmap), torch.zeros_like(found.heatmap)
    left[..., 8:16, 4:12], right[..., 8:16, 28:36] = 1.0, 1.0
    prompts = [learner(dataclasses.replace(found, heatmap=heatmap)) for heatmap in (left, right)]
    assert not torch.allclose(*prompts, atol=1e-5)


def test_every_parameter_is_saved_and_trains(tmp_path) -> None:
    """LVLM-DFD cast its learnable prompt, which unregistered it: it neither trained nor was saved."""
    learner = ForgeryPromptLearner(learner_config())
    assert {name for name, _ in learner.named_parameters()} == set(learner.state_dict())
    before = {name: p.detach().clone() for name, p in learner.named_parameters()}
    optimizer = torch.optim.Adam(learner.parameters(), lr=0.01)
    learner(detection(faces=4)).pow(3).sum().backward()
    optimizer.step()
    assert [name for name, p in learner.named_parameters() if torch.equal(p, before[name])] == []
    learner.save_pretrained(tmp_path)
    again = ForgeryPromptLearner.from_pretrained(tmp_path)
    assert again.config == learner.config
    torch.testing.assert_close(again(detection()), learner(detection()), rtol=0, atol=0)


def test_prompts_start_at_the_size_of_words() -> None:
    config = learner_config(64, token_rms=0.05)
    prompts = ForgeryPromptLearner(config)(detection(faces=8))
    word = VisualProjector(config)(detection(faces=8).embedding)
    assert float(prompts.detach().pow(2).mean().sqrt()) == pytest.approx(0.05, rel=0.05)
    assert float(word.detach().pow(2).mean().sqrt()) == pytest.approx(0.05, rel=0.5)


def test_embedded_size_is_small() -> None:
    config = PromptLearnerConfig(llm_dim=256, image_embed_dim=512, taps=3)
    modules = (ForgeryPromptLearner(config), VisualProjector(config))
    assert sum(p.numel() for module in modules for p in module.parameters()) < 1_500_000


def test_full_width_is_affordable() -> None:
    with torch.device("meta"):
        learner = ForgeryPromptLearner(PromptLearnerConfig(llm_dim=4096, image_embed_dim=1024, taps=3))
    assert sum(p.numel() for p in learner.parameters()) < 2_000_000


@pytest.mark.parametrize("change", ["missing", "unexpected key"])
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, change: str) -> None:
    learner = ForgeryPromptLearner(learner_config())
    learner.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    if change == "missing":
        del state["base"]
    else:
        state["base2"] = torch.zeros(1)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=rf"{change} base"):
        ForgeryPromptLearner.from_pretrained(tmp_path)


def test_a_detector_with_other_taps_or_width_is_refused() -> None:
    found = detection()
    learner = ForgeryPromptLearner(learner_config())
    with pytest.raises(ValueError, match="expects 2 consistency maps, got 1"):
        learner(dataclasses.replace(found, consistency_maps=found.consistency_maps[:1]))
    with pytest.raises(ValueError, match="width 16, got 8"):
        VisualProjector(learner_config())(found.embedding[:, :8])


def test_config_names_every_bad_size() -> None:
    with pytest.raises(ValueError, match=r"taps = 0.*width = 12"):
        learner_config(taps=0, width=12)


def test_findings_come_to_the_module() -> None:
    """A detector answers on the CPU whatever it computes on: a chat on a GPU broke at its first question."""
    found = detection()
    with torch.device("meta"):
        learner, projector = ForgeryPromptLearner(learner_config()), VisualProjector(learner_config())
    assert learner(found).device.type == projector(found.embedding).device.type == "meta"
