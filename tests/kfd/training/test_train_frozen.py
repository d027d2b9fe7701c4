"""python -m kfd.train on public encoders: end to end, from cached features, and in several processes."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from common.distributed import Processes
from data_sim.dataset import FaceSet
from evaluation import detector as evaluate
from kfd import score, train
from kfd.checkpoint import load_kfd
from kfd.training.config import TrainConfig
from kfd.training.sampler import PairSampler, choose_reals
from tests.tiny.encoders import CLIP, IMAGEBIND, SIZE, save_clip, save_imagebind
from tests.tiny.faces import add_known_fakes, save_tiny_faces

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "app" / "example.jpg"
STEPS = 4
SIZES = {"imagebind-huge": IMAGEBIND, "clip-vit-l14": CLIP}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a face set, the weights of both encoders and their YAML settings."""
    folder = tmp_path_factory.mktemp("frozen")
    add_known_fakes(save_tiny_faces(folder / "set", SIZE, faces=6), SIZE)
    save_imagebind(folder / "imagebind-huge")
    save_clip(folder / "clip-vit-l14")
    for name, settings in SIZES.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"encoder": name, "encoder_settings": settings}))
    return folder


def words_for(place: Path, out: Path, name: str = "clip-vit-l14", **changes: object) -> list[str]:
    values = {
        "config": place / f"{name}.yaml", "encoder_weights": place / name, "data": place / "set", "out": out,
        "recipe": "all", "steps": STEPS, "batch": 3, "warmup": 1, "val_every": 2, "save_every": 1,
        "val_images": 4, "num_context": 2, "threads": 1,
    } | changes  # fmt: skip
    return [w for key, value in values.items() for w in (f"--{key.replace('_', '-')}", str(value))]


def run(place: Path, out: Path, name: str = "clip-vit-l14", **changes: object) -> None:
    """The command, in this process."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", ["kfd.train", *words_for(place, out, name, **changes)])
        train.main()


def weights_of(out: Path) -> dict[str, torch.Tensor]:
    """The averaged weights after the last step."""
    return torch.load(out / "state.pt", weights_only=True)["average"]


@pytest.fixture(scope="module")
def whole(place) -> Path:
    """An uninterrupted run in one process, four steps over two batches."""
    run(place, place / "whole", cache_steps=2)
    return place / "whole"


@pytest.mark.parametrize("name", SIZES)
def test_train_then_score_then_evaluate(place, name, monkeypatch, capsys):
    """The whole way of the paper's encoder: train, save heads, load both, score a photograph, measure."""
    out = place / f"run-{name}"
    run(place, out, name)
    printed = capsys.readouterr().out
    licence = {"imagebind-huge": "CC BY-NC 4.0", "clip-vit-l14": "MIT"}[name]
    assert f"Licence: {licence}" in printed and re.search(r"[\d,]+ trainable and [\d,]+ frozen", printed)
    assert {path.name for path in out.iterdir()} == {
        "config.json", "decision.json", "model.safetensors", "tokenizer.json", "train.json", "state.pt",
        "trained_on.json",
    }  # fmt: skip
    assert not any(key.startswith("encoder.") for key in load_file(out / "model.safetensors"))
    state = torch.load(out / "state.pt", weights_only=True)
    assert not any(key.startswith("encoder.") for part in ("model", "average") for key in state[part])
    assert state["model"]["alignment.context"].abs().sum() > 0
    model, _ = load_kfd(out, place / name)
    assert len(state["optimizer"]["state"]) == sum(p.requires_grad for p in model.parameters())

    common = ["--checkpoint", str(out), "--encoder", str(place / name)]
    monkeypatch.setattr(sys, "argv", ["kfd.score", str(EXAMPLE), *common])
    score.main()
    line = json.loads(capsys.readouterr().out)
    assert 0 <= line["score"] <= 1 and len(line["checkpoint"]) == 64
    words = ["--data", str(place / "set"), "--split", "val", "--out", str(out / "figures.json"), *common]
    monkeypatch.setattr(
        sys, "argv", ["evaluation.detector", *words, "--num-resamples", "20", "--allow-leaks"]
    )
    evaluate.main()
    assert line["checkpoint"] in (out / "figures.json").read_text()


def test_without_the_weights_nothing_is_written(place, tmp_path, monkeypatch):
    words = words_for(place, tmp_path / "out", encoder_weights=tmp_path / "nowhere")
    monkeypatch.setattr(sys, "argv", ["kfd.train", *words])
    with pytest.raises(SystemExit, match=r"error: found no weights of clip-vit-l14 .*hf download.*MIT"):
        train.main()
    assert not list((tmp_path / "out").glob("*.[js]*")), "at most the lock"


def test_a_set_of_another_size_is_refused(place, tmp_path, monkeypatch):
    """Resizing would hide the traces of an image's making; the set must be built at the encoder's size."""
    add_known_fakes(save_tiny_faces(tmp_path / "set", 64), 64)
    monkeypatch.setattr(sys, "argv", ["kfd.train", *words_for(place, tmp_path / "o", data=tmp_path / "set")])
    with pytest.raises(SystemExit, match=r"sees crops of 56 pixels, .* have 64; .*data_sim.build --size 56"):
        train.main()


def test_a_run_does_not_go_on_with_other_weights(place, whole):
    other = save_clip(place / "other", seed=9)
    with pytest.raises(SystemExit, match=r"state\.pt belongs to a run with other settings \(encoder_digest"):
        run(place, whole, cache_steps=2, encoder_weights=other)


def test_a_loss_that_is_not_finite_ends_the_run(place, tmp_path):
    """In 16 bits a tower can overflow; the weights that would follow must not reach the saved state."""
    broken = save_clip(tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["vision_model.encoder.layers.0.layer_norm1.weight"][:] = 1e30
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SystemExit, match="step 1 has no finite loss"):
        run(place, tmp_path / "out", encoder_weights=broken)
    assert not (tmp_path / "out" / "state.pt").exists()


def test_settings_that_cannot_be_are_told():
    with pytest.raises(ValueError, match=r"cache needs cache_steps.*cache is for frozen encoders"):
        TrainConfig(Path("d"), Path("o"), cache=Path("c"))
    with pytest.raises(ValueError, match="must not be negative"):
        TrainConfig(Path("d"), Path("o"), train_images=-1)


# ---------------------------------------------------------------- the cache


def test_cached_features_give_the_same_weights(place, whole, tmp_path, capsys):
    """Exactly in fp32; and the batch of step s is that of step s % cache_steps."""
    run(place, tmp_path / "out", cache_steps=2, cache=tmp_path / "cache")
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [
        "cache.json", "step_000000.safetensors", "step_000001.safetensors",
    ]  # fmt: skip
    assert re.search(r"features of 2 steps, 2 of them new, in .*: \S+ GB", capsys.readouterr().out)
    expected = weights_of(whole)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights_of(tmp_path / "out").items())


def test_a_cache_is_read_and_not_made_again(place, tmp_path, capsys):
    """A killed filling goes on: what is there stays as it is, what is missing is made."""
    cache = tmp_path / "cache"
    run(place, tmp_path / "a", cache_steps=2, cache=cache, dtype="bf16")
    stored = load_file(cache / "step_000000.safetensors")
    assert stored["patches_0"].dtype == torch.bfloat16 and stored["patches_0"].shape == (6, 16, 16)
    before = (cache / "step_000000.safetensors").stat().st_mtime_ns
    (cache / "step_000001.safetensors").unlink()
    (cache / ".step_000001.safetensors.part").write_bytes(b"half")
    run(place, tmp_path / "b", cache_steps=2, cache=cache, dtype="bf16")
    assert "2 steps, 1 of them new" in capsys.readouterr().out
    assert (cache / "step_000000.safetensors").stat().st_mtime_ns == before
    ours, theirs = weights_of(tmp_path / "a"), weights_of(tmp_path / "b")
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_a_foreign_or_damaged_cache_is_refused(place, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    run(place, tmp_path / "a", cache_steps=1, cache=cache)
    other = save_clip(tmp_path / "other", seed=5)
    crops = np.load(place / "set" / "crops.npy")
    changed = tmp_path / "set"
    changed.mkdir()
    for path in (place / "set").iterdir():
        (changed / path.name).write_bytes(path.read_bytes())
    np.save(changed / "crops.npy", 255 - crops)
    for change, told in (
        ({"seed": 3}, "seed: expected '0', got '3'"),
        ({"encoder_weights": other}, "encoder_digest"),
        ({"data": changed}, "faces"),
        ({"dtype": "bf16"}, "dtype: expected 'fp32', got 'bf16'"),
    ):
        words = words_for(place, tmp_path / "b", cache_steps=1, cache=cache, **change)
        monkeypatch.setattr(sys, "argv", ["kfd.train", *words])
        with pytest.raises(
            SystemExit, match=rf"error: .*cache\.json belongs to a run with other settings .*{told}"
        ):
            train.main()
    shard = cache / "step_000000.safetensors"
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(SystemExit, match=r"cannot be read .*delete it"):
        run(place, tmp_path / "c", cache_steps=1, cache=cache)


# ---------------------------------------------------------------- several processes


def two_processes(launcher: str, place: Path, out: Path, **changes: object) -> subprocess.Popen:
    """The command in two real processes that talk over gloo."""
    command = {
        "accelerate": ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines",
                       "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"],
        "torchrun": ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
    }[launcher]  # fmt: skip
    words = [sys.executable, "-m", *command, "-m", "kfd.train", *words_for(place, out, **changes)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env=environment)


@pytest.mark.slow
def test_two_processes_give_the_loss_of_one(place, capsys, tmp_path):
    """Three pairs make parts of one and two; half the fakes have no C_ref, so that a part can be without."""
    changes = {"data": place / "unpaired", "generated_share": 0.5, "known_share": 0.7, "batch": 3}
    with (place / "set" / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    (place / "unpaired").mkdir()
    for name in ("crops.npy", "landmarks.npy", "set.json"):
        (place / "unpaired" / name).write_bytes((place / "set" / name).read_bytes())
    with (place / "unpaired" / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(row | {"pair": row["pair"] if i % 2 else ""} for i, row in enumerate(rows))
    config = TrainConfig(place / "unpaired", Path("o"), recipe="all", **{
        name: value for name, value in changes.items() if name != "data"})  # fmt: skip
    sampler = PairSampler(FaceSet.open(place / "unpaired", "train"), config)
    firsts = [bool(sampler.batch(step).aligned[0]) for step in range(STEPS)]
    assert len(set(firsts)) == 2, "in some step the first process must be without a reference"

    process = two_processes("accelerate", place, tmp_path / "two", **changes)
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    run(place, tmp_path / "one", **changes)
    (alone,), (together,) = (
        re.findall(r"step 4 loss .* lr", text) for text in (capsys.readouterr().out, printed)
    )
    ours, theirs = (dict(re.findall(r"(\w+) (\d\.\d+)", line)) for line in (alone, together))
    assert ours.keys() == theirs.keys() >= {"loss", "reference"}
    for name, value in ours.items():
        assert float(theirs[name]) == pytest.approx(float(value), abs=1.1e-3), name
    expected, got = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    for name, tensor in got.items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-4, rtol=1e-3)
    assert printed.count("kept checkpoint") == 1  # only one process prints and writes


@pytest.mark.slow
def test_one_process_goes_on_with_what_two_began(place, tmp_path, capsys):
    """The state and the cache are those of the run, not of a process; the loss curve goes on."""
    changes = {"steps": 30, "val_every": 30, "cache_steps": 3}
    process = two_processes("torchrun", place, tmp_path / "run", cache=tmp_path / "cache", **changes)
    deadline = time.time() + 120
    while process.poll() is None and time.time() < deadline and not (tmp_path / "run" / "state.pt").exists():
        time.sleep(0.01)
    process.terminate()
    process.communicate()
    begun = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["step"]
    assert 1 <= begun < 30
    assert len(list((tmp_path / "cache").glob("step_*.safetensors"))) == 3
    run(place, tmp_path / "run", cache=tmp_path / "cache", **changes)
    resumed = capsys.readouterr().out
    assert f"resuming after step {begun}" in resumed
    run(place, tmp_path / "one", **changes)
    (ours,), (theirs,) = (
        re.findall(r"step 30 loss (\S+)", text) for text in (resumed, capsys.readouterr().out)
    )
    assert float(ours) == pytest.approx(float(theirs), abs=2e-3)


def test_batch_norm_and_empty_parts_are_refused(place, tmp_path):
    """Parts of a batch would give BatchNorm other statistics, and the result would depend on their number."""
    config = TrainConfig(place / "set", tmp_path, encoder="embedded")
    with pytest.raises(ValueError, match="expected 1 process for the embedded encoder, got 2: its BatchNorm"):
        train.run(config, Processes(count=2))
    config = TrainConfig(place / "set", tmp_path, encoder="clip-vit-l14", batch=2)
    with pytest.raises(ValueError, match="got 2 rows for 3 processes"):
        train.run(config, Processes(count=3))


# ---------------------------------------------------------------- the number of training images


def test_a_subset_takes_one_of_each_person_before_the_next_and_the_seed_fixes_it(tmp_path):
    folder = add_known_fakes(save_tiny_faces(tmp_path, SIZE, faces=8), SIZE)
    faces = FaceSet.open(folder, "train")
    for row in faces.rows:
        row["group"] = str(int(row["group"]) // 2)  # two pictures of each person
    subsets = [choose_reals(faces, 2, seed) for seed in (0, 0, 1, 2, 3)]
    assert subsets[0] == subsets[1] and subsets[2:] != [subsets[0]] * 3
    people = [faces.rows[i]["group"] for i in subsets[0]]
    assert len(people) == len(set(people)) == 2
    sampler = PairSampler(faces, TrainConfig(folder, Path("o"), recipe="all", train_images=4))
    assert set(map(faces.pair_of, sampler.aligned)) == set(sampler.reals) and not sampler.generated
    with pytest.raises(ValueError, match=r"train_images up to 8, .* got 9"):
        choose_reals(faces, 9, 0)
