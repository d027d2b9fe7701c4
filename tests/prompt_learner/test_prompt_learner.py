"""The Forgery Prompt Learner and the visual projector."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors.torch import load_file, save_file

from prompt_learner import ForgeryPromptLearner, PromptLearnerConfig, VisualProjector
from prompt_learner.grid import GridTokens
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


def grid_learner(**changes: object) -> ForgeryPromptLearner:
    """The paper's networks, in eval mode, with the nine tokens that 224 pixels give."""
    torch.manual_seed(0)
    return ForgeryPromptLearner(learner_config(design="grid", **changes)).eval()


def test_the_grid_has_the_sizes_of_the_papers_code() -> None:
    with torch.device("meta"):
        config = PromptLearnerConfig(llm_dim=4096, image_embed_dim=1024, taps=3, design="grid")
        learner = ForgeryPromptLearner(config)
        maps, cons = (torch.zeros(2, channels, 224, 224) for channels in (1, 6))
        assert learner.map_tokens(maps).shape == learner.cons_tokens(cons).shape == (2, 9, 4096)
    assert learner.fuse.weight.shape == (9, 28, 3) and learner.base.shape == (9, 4096)
    convolutions = [m.weight.shape for m in learner.cons_tokens.modules() if isinstance(m, torch.nn.Conv2d)]
    assert convolutions == [
        (16, 6, 3, 3), (32, 16, 3, 3), (64, 32, 3, 3), (128, 64, 3, 3), (256, 128, 3, 3), (512, 256, 3, 3),
        (4096, 512, 5, 5),
    ]  # fmt: skip
    # The code's layer for the score has one input more, P(real) beside P(fake).
    assert sum(p.numel() for p in learner.parameters()) == 108_061_325


def test_a_token_of_the_grid_is_a_place() -> None:
    """Tokens come row by row: a mark in a corner changes the token there most, the opposite one least."""
    torch.manual_seed(0)
    network = GridTokens(1, 16).eval()
    plain, marked = torch.zeros(1, 1, 224, 224), torch.zeros(1, 1, 224, 224)
    marked[..., 200:, :24] = 1.0
    change = (network(marked) - network(plain)).detach().abs().sum(dim=2)[0]
    assert int(change.argmax()) == 6 and int(change.argmin()) == 2


@pytest.mark.parametrize("side", [32, 160, 224])
def test_the_grid_reads_any_detector_and_starts_at_the_size_of_words(side: int) -> None:
    prompts = grid_learner(token_rms=0.05)(detection(faces=4, side=side)).detach()
    assert prompts.shape == (4, 3, 32)
    assert 0.2 * 0.05 < float(prompts.pow(2).mean().sqrt()) < 2 * 0.05


def test_the_grid_trains_is_saved_and_reads_a_face_alone_as_among_others(tmp_path) -> None:
    learner, found = grid_learner(), detection(faces=4)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    optimizer = torch.optim.Adam(learner.train().parameters(), lr=0.01)
    learner(found).pow(3).mean().mul(1e6).backward()
    optimizer.step()
    unchanged = {name for name, value in learner.state_dict().items() if torch.equal(value, before[name])}
    assert unchanged == set(), "weights and running statistics all learn"
    together = learner.eval()(found)
    torch.testing.assert_close(learner(found[1]), together[1:2])
    learner.save_pretrained(tmp_path)
    again = ForgeryPromptLearner.from_pretrained(tmp_path)
    assert again.config == learner.config and again.config.design == "grid"
    torch.testing.assert_close(again(found), together, rtol=0, atol=0)
    for change in ({"heatmap": 1 - found.heatmap}, {"score": 1 - found.score}):
        assert not torch.equal(learner(dataclasses.replace(found, **change)), together)


def test_what_the_grid_cannot_be_is_said() -> None:
    with pytest.raises(ValueError, match=r"num_map = 4 \(the grid of map_side = 224 has 9 places\)"):
        learner_config(design="grid", num_map=4)
    with pytest.raises(ValueError, match="cons_side = 128 has 0 places"):
        learner_config(design="grid", cons_side=128)
    with pytest.raises(ValueError, match="design must be one of"):
        learner_config(design="tokens")


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
