"""python -m kfd.train: the files it writes, its learning rates, and the same weights after a kill."""

from __future__ import annotations

import json
import math
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from common.distributed import Processes
from common.storage import digest_of
from data_sim.dataset import FaceSet
from kfd import train
from kfd.checkpoint import load_kfd, trained_state
from kfd.encoders.base import EmbeddedConfig, EmbeddedEncoder
from kfd.training import sampler as sampler_module
from kfd.training.config import TrainConfig
from kfd.training.record import read_worlds
from kfd.training.sampler import PairSampler, balanced, choose_reals, known_masks
from kfd.training.step import update_average
from kfd.training.validation import Validation
from kfd.training.weights import LossWeights
from tests.tiny.faces import add_known_fakes, save_tiny_faces

STEPS = 6
MOUTH, LEFT_EYE, RIGHT_BROW = slice(48, 68), slice(42, 48), slice(17, 22)  # of the 68 landmarks


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Faces and easy fakes, with a test split that training must not open."""
    folder = save_tiny_faces(tmp_path_factory.mktemp("set"), 32, splits=("train", "val", "test"))
    return add_known_fakes(folder, 32)


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    """Random weights with true BatchNorm statistics, in place of ImageNet's.

    Without them six steps leave the running statistics so far off that every validation image looks alike.
    """
    torch.manual_seed(0)
    tower = EmbeddedEncoder(EmbeddedConfig(vocab_size=11)).image_tower.train()
    for module in tower.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        tower(2 * torch.rand(16, 3, 32, 32) - 1)
    folder = tmp_path_factory.mktemp("start")
    save_file(tower.state_dict(), folder / "model.safetensors")
    return folder


def words_for(data: Path, start: Path, out: Path) -> list[str]:
    values = {
        "data": data, "start": start, "out": out, "recipe": "all", "steps": STEPS, "batch": 2, "warmup": 2,
        "val-every": 3, "save-every": 1, "threads": 1,
    }  # fmt: skip
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def run(data: Path, start: Path, out: Path) -> None:
    """The command, in this process."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", ["kfd.train", *words_for(data, start, out)])
        train.main()


@pytest.fixture(scope="module")
def finished(data, start, tmp_path_factory) -> tuple[Path, str]:
    """The folder of an uninterrupted run and what it printed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    command = [sys.executable, "-m", "kfd.train", *words_for(data, start, out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_the_files_and_the_log(finished):
    out, printed = finished
    assert {path.name for path in out.iterdir()} == {
        "config.json", "decision.json", "model.safetensors", "tokenizer.json", "train.json", "state.pt",
        "trained_on.json",
    }  # fmt: skip
    assert re.search(r"[\d,]+ trainable and 0 frozen parameters; 8 faces to train on", printed)
    load_kfd(out)
    assert torch.load(out / "state.pt", weights_only=True)["step"] == STEPS


def test_the_checkpoint_is_chosen_on_validation(finished, data):
    """FIELD trap 2: the best mean AUC of the val split is kept; nothing of the test split is read."""
    out, printed = finished
    measured = [float(value) for value in re.findall(r"validation .* mean_auc (\S+)", printed)]
    assert len(measured) == 2
    assert torch.load(out / "state.pt", weights_only=True)["best"] == pytest.approx(max(measured), abs=1e-4)


def test_the_folder_says_what_was_trained_on(data, finished):
    assert read_worlds(finished[0]) == {("real", "drawn", ""): 4, ("fake", "drawn", "square"): 4}


def test_logged_learning_rates_follow_the_schedule(finished):
    """FIELD trap 10: a schedule stepped after the loop would log the first rate for ever."""
    out, printed = finished
    last = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * 3 / 4))  # step 5 of 6 after 2 of warm-up
    assert float(re.search(r"step 6 loss .* lr (\S+)", printed)[1]) == pytest.approx(5e-4 * last, rel=1e-2)
    state = torch.load(out / "state.pt", weights_only=True)
    assert state["schedule"]["last_epoch"] == STEPS
    rates = [group["lr"] for group in state["optimizer"]["param_groups"]]
    assert rates == pytest.approx([5e-4 * 0.01, 1e-3 * 0.01])


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(data, start, finished, tmp_path):
    """kill -9 at a random moment, then the same command: the weights are bitwise those of one run."""
    out = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "kfd.train", *words_for(data, start, out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[3],
    )
    while process.poll() is None and not (out / "state.pt").exists():
        time.sleep(0.01)
    time.sleep(random.random() * 0.5)
    process.kill()
    process.wait()
    run(data, start, out)
    assert digest_of(out / "model.safetensors") == digest_of(finished[0] / "model.safetensors")
    ours, theirs = (torch.load(path / "state.pt", weights_only=True) for path in (out, finished[0]))
    assert ours["best"] == theirs["best"]
    for part in ("model", "average"):
        assert all(torch.equal(ours[part][name], theirs[part][name]) for name in theirs[part])


def test_each_step_has_its_own_batch_and_the_seed_fixes_it(data):
    faces = FaceSet.open(data, "train")
    config = TrainConfig(data, Path("o"), recipe="all", batch=4)
    batches = [PairSampler(faces, config).batch(step) for step in (0, 0, 1)]
    assert torch.equal(batches[0].fake, batches[1].fake)
    assert not torch.equal(batches[0].fake, batches[2].fake)
    other = PairSampler(faces, TrainConfig(data, Path("o"), recipe="all", batch=4, seed=1)).batch(0)
    assert not torch.equal(batches[0].fake, other.fake)


def test_batches_made_ahead_are_the_same_ones(data):
    sampler = PairSampler(FaceSet.open(data, "train"), TrainConfig(data, Path("o"), recipe="all", batch=2))
    made = list(sampler.ahead([3, 0, 3], workers=2))
    assert len(made) == 3
    for batch, step in zip(made, (3, 0, 3), strict=True):
        expected = sampler.batch(step)
        assert torch.equal(batch.fake, expected.fake) and torch.equal(batch.masks, expected.masks)


def test_a_donor_is_another_person_of_the_same_source_and_the_nearest_in_pose(data):
    faces = FaceSet.open(data, "train")
    reals = faces.where(label="real")
    faces.landmarks[faces.index] += np.random.default_rng(0).normal(0, 2, (len(faces), 68, 2))
    sampler = PairSampler(faces, TrainConfig(data, Path("o"), donors=500))
    for real in reals:
        chosen = sampler._donor(real, torch.Generator().manual_seed(0))
        distance = (sampler.poses - sampler.poses[real]).norm(dim=1)
        others = [i for i in reals if faces.rows[i]["group"] != faces.rows[real]["group"]]
        assert chosen == min(others, key=lambda i: distance[i])


def row(source: str, group: str, kind: str = "") -> dict[str, str]:
    return {"source": source, "group": group, "kind": kind}


def test_a_much_photographed_person_does_not_drown_the_others():
    """Twelve people in 800 frames once stood in more batches than a thousand people with one picture each."""
    few = [row("webcam", str(i % 4)) for i in range(64)]
    many = [row("press", str(i)) for i in range(64)]
    weights = balanced([*few, *many], "source")
    shares = weights[:64].sum() / weights.sum(), weights[64:].sum() / weights.sum()
    assert float(shares[0] / shares[1]) == pytest.approx((64 * 4) ** 0.25 / (64 * 64) ** 0.25)
    uneven = [row("webcam", "often")] * 9 + [row("webcam", "once")]
    weights = balanced(uneven, "source")
    assert float(weights[:9].sum() / weights[9]) == pytest.approx(3.0, rel=1e-5)
    kinds = balanced([row("a", "1", "swap"), row("b", "2", "swap"), row("a", "3", "new")], "kind")
    assert float(kinds[:2].sum() / kinds[2]) == pytest.approx(2**0.5, rel=1e-5)
    evener = balanced([row("a", "1", "swap"), row("b", "2", "swap"), row("a", "3", "new")], "kind", 0.125)
    assert float(evener[:2].sum() / evener[2]) == pytest.approx(2**0.25, rel=1e-5)


def test_a_fake_without_real_photographs_of_its_source_stands_beside_one_as_sharp(data):
    """A source of sharp generated faces, beside any real face, once taught that sharp is fake."""
    faces = FaceSet.open(data, "train")
    fake = faces.where(label="fake")[0]
    faces.rows[fake].update(source="generator", pair="")
    sampler = PairSampler(faces, TrainConfig(data, Path("o"), recipe="all"))
    chosen = sampler._partner(fake, torch.Generator().manual_seed(0))
    gaps = {
        i: abs(np.log1p(sampler._sharpness(i)) - np.log1p(sampler._sharpness(fake))) for i in sampler.reals
    }
    assert len(set(gaps.values())) > 1 and gaps[chosen] == min(gaps.values())


def test_a_fake_that_names_its_regions_is_forged_there_only(data):
    faces = FaceSet.open(data, "train")
    fake = faces.where(label="fake")[0]
    landmarks = faces.read([fake])[1]
    still = torch.zeros(1, 2, dtype=torch.long)
    assert known_masks(faces, [fake], landmarks, still)[0].min() == 1
    faces.rows[fake].update(regions="left_eye|mouth")
    mask = known_masks(faces, [fake], landmarks, still)[0][0, 0]
    mouth, eye, brow = (landmarks[0, points].mean(0).long() for points in (MOUTH, LEFT_EYE, RIGHT_BROW))
    assert mask[mouth[1], mouth[0]] > 0.9 and mask[eye[1], eye[0]] > 0.9 and mask[brow[1], brow[0]] < 0.1


def test_a_fake_is_forged_where_the_data_set_shows_it(data):
    """Bug: of FF++ with its masks a KFD learnt that fakes without a pair are forged all over."""
    faces = FaceSet.open(data, "train")
    fakes = faces.where(label="fake")
    masks = np.zeros((2, *faces.crops.shape[1:3]), np.uint8)
    masks[:, :12, :12] = 255  # in a corner, where no fake differs from its real face
    faces = replace(faces, masks=masks)
    faces.rows[fakes[0]].update(mask="0")
    faces.rows[fakes[1]].update(mask="1", pair="", regions="mouth")
    shift = torch.tensor([[0, 0], [4, -4], [1, 1]])
    landmarks = faces.read(fakes[:3], shift)[1]
    found, compared = known_masks(faces, fakes[:3], landmarks, shift)
    assert found[0].sum() == 8 * 8 and found[1].sum() == 4 * 12 and found[1, 0, :12, :4].min() == 1
    assert found[2].min() == 1 and compared.tolist() == [False, False, True]

    config = TrainConfig(data, Path("o"), recipe="all", batch=6, strength=0.0)
    sampler = PairSampler(faces, config)
    sampler._known = lambda draw: fakes[:3]
    batch = sampler.batch(0)
    assert batch.aligned[:3].tolist() == [True, False, True], "a mask does not end the comparison of the pair"
    middle = batch.masks[:3, 0, 12:20, 12:20]  # where the fakes differ
    assert middle[:2].max() == 0 and batch.masks[:2].sum() > 0 and middle[2].mean() > 0.5


def test_a_set_without_masks_gives_the_batches_it_gave(data, monkeypatch):
    faces = FaceSet.open(data, "train")
    faces.rows[faces.where(label="fake")[0]].update(pair="", regions="mouth")
    sampler = PairSampler(faces, TrainConfig(data, Path("o"), recipe="all", batch=6, generated_share=0.5))
    real, seen = sampler_module.training_batch, []

    def watched(images, landmarks, generator, *rest):
        state = generator.get_state()
        seen.append(real(images, landmarks, generator, *rest[:-1]))  # as it was: compared where aligned
        return real(images, landmarks, generator.set_state(state), *rest)

    monkeypatch.setattr(sampler_module, "training_batch", watched)
    for step in range(4):
        batch = sampler.batch(step)
        assert all(torch.equal(getattr(batch, name), value) for name, value in vars(seen[-1]).items())
    assert {bool(flag) for batch in seen for flag in batch.aligned[:3]} == {True, False}


def test_validation_takes_its_real_faces_in_an_order_of_its_own(data):
    """Bug: a resumed run validated on other real faces and could keep another checkpoint."""
    faces = FaceSet.open(save_tiny_faces(data.parent / "worlds", 32, 24, ("val",)), "val")
    for place, row in enumerate(faces.rows):
        row.update(source=f"world {place // 2}", label=("real", "fake")[place % 2], kind="swap" * (place % 2))
    by_source = sorted(faces.where(label="real"), key=lambda i: faces.rows[i]["source"])
    assert Validation(faces, 12, known_fakes=True).sets["swap"][0] == by_source


def test_training_in_bf16_keeps_float32_weights_and_learns(data, start, tmp_path):
    words = [*words_for(data, start, tmp_path / "half"), "--dtype", "bf16", "--workers", "1"]
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", ["kfd.train", *words])
        train.main()
    model, _ = load_kfd(tmp_path / "half")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    before = load_file(start / "model.safetensors")["layer.5.convolution.weight"]
    assert not torch.equal(model.encoder.image_tower.layer[5].convolution.weight, before)


def test_fixed_norms_keep_their_statistics_while_all_weights_learn(data, start, tmp_path):
    with pytest.MonkeyPatch.context() as monkeypatch:
        words = words_for(data, start, tmp_path / "fixed")
        monkeypatch.setattr(sys, "argv", ["kfd.train", *words, "--fixed-norms"])
        train.main()
    tower = load_kfd(tmp_path / "fixed")[0].encoder.image_tower.state_dict()
    before = load_file(start / "model.safetensors")
    norms = "layer.5.normalization."
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(tower[norms + name], before[norms + name])
    for name in (norms + "weight", norms + "bias", "layer.5.convolution.weight"):
        assert not torch.equal(tower[name], before[name]), name


def test_another_image_tower_begins_with_the_rest_of_a_trained_detector(data, start, finished, tmp_path):
    """`--start` gives the tower, `--init-from` what reads it."""
    out, _ = finished
    config = TrainConfig(data, tmp_path, start=start, init_from=out, encoder_settings={"taps": (5, 9, 13)})
    model = train.build(config, 32, Processes())
    ours, trained = trained_state(model), load_file(out / "model.safetensors")
    for name in ("locator.fuse.1.weight", "alignment.context", "encoder.text_tower.head.proj.1.weight"):
        torch.testing.assert_close(ours[name], trained[name])
    kernel = "encoder.image_tower.conv_stem.convolution.weight"
    of_start = load_file(start / "model.safetensors")["conv_stem.convolution.weight"]
    torch.testing.assert_close(ours[kernel], of_start)
    assert not torch.equal(ours[kernel], trained[kernel])
    with pytest.raises(ValueError, match=r"does not fit the model: .*alignment\.projections\.0\.weight"):
        train.build(replace(config, start=None), 32, Processes())


def test_a_set_smaller_than_a_batch_can_be_learned_from(data):
    """Drawing without replacement once failed with fewer real faces than pairs in a batch."""
    config = TrainConfig(data, Path("o"), batch=6)
    assert PairSampler(FaceSet.open(data, "train"), config).batch(0).real.shape == (6, 3, 32, 32)


def test_the_real_recipe_reads_no_known_fake(data):
    faces = FaceSet.open(data, "train")
    sampler = PairSampler(faces, TrainConfig(data, Path("o"), recipe="real"))
    assert sampler.aligned == sampler.generated == []
    assert all(faces.rows[i]["label"] == "real" for i in sampler.reals)


def test_useless_input_is_one_sentence(data, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["kfd.train", "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match=r"error: .* holds no face set"):
        train.main()


def test_a_recipe_without_its_faces_is_said(tmp_path):
    faces = FaceSet.open(save_tiny_faces(tmp_path, 32), "train")
    with pytest.raises(ValueError, match="recipe 'all' needs real faces and fakes in split train"):
        PairSampler(faces, TrainConfig(tmp_path, Path("o"), recipe="all"))


def test_the_average_is_the_closed_form():
    """Weights move a share of the way; counters are copied, and BatchNorm statistics take part."""
    model = torch.nn.BatchNorm1d(2)
    average = {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    model.num_batches_tracked += 7
    update_average(average, model.state_dict(), 0.75)
    torch.testing.assert_close(average["weight"], torch.full((2,), 0.25))
    torch.testing.assert_close(average["running_var"], torch.full((2,), 0.25))
    assert average["num_batches_tracked"] == 7


def test_a_run_with_other_settings_is_not_continued(data, start, finished, capsys, monkeypatch):
    out, _ = finished
    words = [*words_for(data, start, out), "--seed", "5"]
    monkeypatch.setattr(sys, "argv", ["kfd.train", *words])
    with pytest.raises(SystemExit, match=r"other settings \(seed: expected '0', got '5'\)"):
        train.main()


def test_a_run_on_other_faces_is_not_continued(data, start, tmp_path):
    """Bug: a set that was built anew in the same place was trained on as if it were the old one.

    The state of a run that began before its content was noted is continued.
    """
    own, out = shutil.copytree(data, tmp_path / "set"), tmp_path / "out"
    run(own, start, out)
    state = torch.load(out / "state.pt", weights_only=True)
    np.save(own / "crops.npy", 255 - np.load(own / "crops.npy"))
    with pytest.raises(SystemExit, match=r"other settings \(data_digest: "):
        run(own, start, out)
    del state["settings"]["data_digest"]
    torch.save(state, out / "state.pt")
    run(own, start, out)


def test_settings_that_cannot_be_are_named_together(tmp_path):
    with pytest.raises(ValueError, match=r"batch must be at least 2 .*; known_share, .* must leave"):
        TrainConfig(tmp_path, tmp_path, batch=1, known_share=1.0)
    with pytest.raises(ValueError, match="takes them from start or init_from"):
        TrainConfig(tmp_path, tmp_path, fixed_norms=True)


def test_people_take_turns_when_few_photographs_are_learned_from(tmp_path):
    """50 images of FF++ were all frames of two people."""
    data = save_tiny_faces(tmp_path, 64, 12, ("train", "val"))
    faces = FaceSet.open(data, "train")
    for i, row in enumerate(faces.rows):
        row.update(identity=f"person {i % 3}", video=f"clip {i % 6}", source="drawn")
    for count, each in ((3, 1), (6, 2), (9, 3)):
        people = Counter(faces.rows[i]["identity"] for i in choose_reals(faces, count, seed=1))
        assert set(people.values()) == {each} and len(people) == 3
    assert len(choose_reals(faces, 0, 0)) == 12
    one_each = choose_reals(faces, 0, 0, frames=1)
    assert len(one_each) == 6 and len({faces.rows[i]["video"] for i in one_each}) == 6


def test_the_papers_optimiser_and_losses_are_fields(data, start, tmp_path, monkeypatch):
    """Adam at a constant rate, no averaging, Eq. 3 and 4 alone, one reading of a face, epochs for steps."""
    config = tmp_path / "paper.yaml"
    config.write_text(
        "optimizer: adam\nschedule: constant\nema: 0\nclip: 0\nmirror: false\nepochs: 2\nval_every: 100\n"
        "losses: {loc: 1.0, pixel: 0, align: 0}\n"
        "simulation: {whole_face: 0, swap: 0, poisson: 1, unaltered: 1, elastic: 0, seamless: true}\n"
    )
    seen = []
    real = train.global_loss

    def watched(model, encoded, weights, *rest):
        seen.append(weights)
        return real(model, encoded, weights, *rest)

    monkeypatch.setattr(train, "global_loss", watched)
    words = words_for(data, start, tmp_path / "out")
    monkeypatch.setattr(sys, "argv", ["kfd.train", *words, "--config", str(config)])
    train.main()
    assert (seen[0].loc, seen[0].pixel, seen[0].align) == (1.0, 0.0, 0.0)
    state = torch.load(tmp_path / "out/state.pt", weights_only=True)
    assert all(group["lr"] == group["initial_lr"] for group in state["optimizer"]["param_groups"])
    assert all(torch.equal(state["average"][name], tensor) for name, tensor in state["model"].items())
    decision = json.loads((tmp_path / "out/decision.json").read_text())
    assert decision["flip"] is False
    with pytest.raises(ValueError, match="must not be negative: loc"):
        LossWeights(loc=-1)
