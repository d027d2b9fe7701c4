"""Whatever stands in a manifest, a config, a score file or a report: it is read as it was written, or refused
by an error with a name. Never another error, and never another meaning."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.report.__main__ import main as report
from app.report.data import SCHEMA
from app.report.sealed import Report, seal_of
from common.storage import read_config, save_config, write_rows
from common.strict_json import fits, parse_json, to_json
from common.terminal import printable
from data_sim.manifests import LABELS, SPLITS, ManifestError, read_manifest
from kfd.calibration.decision import decide
from kfd.config import Decision, KFDConfig
from kfd.encoders.base import EmbeddedConfig
from kfd.encoders.imagebind import ImageBindConfig
from kfd.scoring.results import SCALES, read_lines, resume
from prompt_learner.config import PromptLearnerConfig

FAST = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # the fixture is an empty folder, in which each example writes the same file
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
FINITE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip

OTHER_NUMBERS = st.recursive(
    st.sampled_from([math.nan, math.inf, -math.inf]),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3) | st.dictionaries(st.text(max_size=4), inner, min_size=1)
    ),
    max_leaves=4,
)


OTHER_CONFIGS = [
    EmbeddedConfig(vocab_size=99),
    PromptLearnerConfig(llm_dim=8, image_embed_dim=8, taps=2),
    ImageBindConfig(),
]


def has_other_numbers(value: object) -> bool:
    """Whether a NaN or an infinity stands anywhere in a value."""
    if isinstance(value, float):
        return not math.isfinite(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(has_other_numbers, inner))


class TestJson:
    @FAST
    @given(FINITE)
    def test_what_is_written_is_read(self, value):
        assert parse_json(to_json(value), "a file") == value

    @FAST
    @given(OTHER_NUMBERS)
    def test_what_is_not_finite_is_neither_written_nor_read(self, value):
        with pytest.raises(ValueError, match="not finite"):
            to_json(value)
        with pytest.raises(ValueError, match="a file is not JSON"):
            parse_json(json.dumps(value), "a file")

    @FAST
    @given(st.binary(max_size=60) | st.text(max_size=60) | st.text('{}[]",:0eE+-.NaI', max_size=40))
    def test_anything_is_read_or_refused_by_name(self, text):
        try:
            parse_json(text, "that file")
        except ValueError as error:
            assert "that file" in str(error)

    @FAST
    @given(st.dictionaries(st.text(max_size=3), FINITE, min_size=1, max_size=3), st.data())
    def test_a_key_that_stands_twice_is_refused(self, values, data):
        name = data.draw(st.sampled_from(sorted(values)))
        text = to_json(values)[:-1] + f", {json.dumps(name)}: 1}}"
        with pytest.raises(ValueError, match="stands twice"):
            parse_json(text, "a file")


class TestConfigs:
    @FAST
    @given(st.sampled_from(sorted(f.name for f in fields(Decision))), VALUES)
    def test_a_decision_is_what_was_written_or_refused(self, tmp_path, name, value):
        """A NaN among the thresholds read as `real`."""
        path = tmp_path / "decision.json"
        path.write_text(json.dumps({**asdict(Decision(fitted_on="a test")), name: value}))
        try:
            decision = read_config(Decision, path)
        except ValueError as error:
            assert "decision.json" in str(error)
            return
        held = getattr(decision, name)
        assert (list(held) if isinstance(held, tuple) else held) == value
        for score in (0.0, 0.5, 1.0):
            verdict, reasons = decide(decision, score)
            assert (verdict == "inconclusive") == bool(reasons)

    @FAST
    @given(st.dictionaries(st.sampled_from(sorted(f.name for f in fields(KFDConfig))), VALUES, max_size=4))
    def test_a_detector_config_is_what_was_written_or_refused(self, tmp_path, changes):
        path = tmp_path / "config.json"
        path.write_text(json.dumps({**asdict(KFDConfig()), **changes}))
        try:
            config = read_config(KFDConfig, path)
        except ValueError as error:
            assert "config.json" in str(error)
            return
        assert not has_other_numbers(asdict(config))

    @FAST
    @given(st.sampled_from(OTHER_CONFIGS), st.data())
    def test_any_config_is_what_was_written_or_refused(self, tmp_path, config, data):
        path = tmp_path / "that.json"
        name = data.draw(st.sampled_from(sorted(f.name for f in fields(config))))
        value = data.draw(VALUES)
        path.write_text(json.dumps({**asdict(config), name: value}))
        try:
            held = getattr(read_config(type(config), path), name)
        except ValueError as error:
            assert "that.json" in str(error)
            return
        default = getattr(config, name)  # a value may stand for it, as no taps stand for those of the tower
        assert held == default or (list(held) if isinstance(held, tuple) else held) == value
        assert not has_other_numbers(held)

    @FAST
    @given(st.floats())
    def test_a_score_is_a_probability_or_nothing(self, score):
        decision = Decision(fitted_on="a test")
        if 0 <= score <= 1:
            decide(decision, score)
        else:
            with pytest.raises(FloatingPointError):
                decide(decision, score)

    @FAST
    @given(st.floats())
    def test_no_number_that_is_none_is_saved(self, tmp_path, value):
        @dataclass(frozen=True)
        class Held:
            value: float

        path = tmp_path / "held.json"
        path.unlink(missing_ok=True)
        if math.isfinite(value):
            save_config(Held(value), path)
            assert parse_json(path.read_bytes(), path)["value"] == value
        else:
            with pytest.raises(ValueError, match="not finite"):
                save_config(Held(value), path)
            assert not path.exists()


CELLS = st.text(max_size=6) | st.sampled_from([
    "a.jpg", "sub/b.png", "../x.jpg", "/etc/passwd", "C:\\x", "a/../../b", "real", "fake", "train", "",
    '"', "'", "a\nb", "\0", "…", " ",
])  # fmt: skip


WORDS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=8)
PATHS = WORDS.filter(lambda name: Path(name).name and "\\" not in name and ":" not in name and "/" not in name
                     and name not in (".", ".."))  # fmt: skip


class TestManifests:
    @FAST
    @given(st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=5), st.booleans())
    def test_rows_are_whole_and_stay_in_their_folder(self, tmp_path, rows, headed):
        path = tmp_path / "manifest.csv"
        lines = [["path", "label", "split"][: max(map(len, rows), default=2)]] * headed + rows
        text = "\n".join(",".join(row) for row in lines)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            found = read_manifest(path)
        except ManifestError as error:
            assert str(path) in str(error)
            return
        for row in found:
            assert row["label"] in ("real", "fake") and row["path"]
            assert (tmp_path / row["path"]).resolve().is_relative_to(tmp_path.resolve())

    @FAST
    @given(st.dictionaries(PATHS, st.tuples(st.sampled_from(LABELS), st.sampled_from(SPLITS), WORDS)))
    def test_what_is_written_is_read(self, tmp_path, files):
        path = tmp_path / "manifest.csv"
        rows = [
            {"path": name, "label": label, "split": split, "source": source}
            for name, (label, split, source) in files.items()
        ]
        write_rows(path, ("path", "label", "split", "source"), rows)
        assert read_manifest(path) == rows

    @FAST
    @given(PATHS, st.sampled_from(("../", "a/../../", "/", "C:\\", "..\\", "\\\\host\\")))
    def test_no_row_leads_out_of_its_folder(self, tmp_path, name, way_out):
        path = tmp_path / "manifest.csv"
        for column in ("path", "mask"):
            row = {"path": "a.jpg", "label": "real", "mask": "", column: way_out + name}
            write_rows(path, tuple(row), [row])
            with pytest.raises(ManifestError, match="leads out of the folder"):
                read_manifest(path)

    @FAST
    @given(st.binary(max_size=200))
    def test_any_bytes_are_read_or_refused(self, tmp_path, data):
        path = tmp_path / "manifest.csv"
        path.write_bytes(data)
        try:
            read_manifest(path)
        except ManifestError as error:
            assert str(path) in str(error)


LINE = {"path": "a.jpg", "checkpoint": "0", "decision": "0", "face": None, "reasons": ["no_face"]}


class TestScoreLines:
    @FAST
    @given(st.lists(FINITE, max_size=3), st.integers(0, 200))
    def test_lines_are_read_as_written_and_a_torn_one_is_left_out(self, tmp_path, extras, torn):
        path = tmp_path / "s.jsonl"
        lines = [{**LINE, "extra": extra} for extra in extras]
        path.write_text("".join(to_json(line) + "\n" for line in lines) + to_json(LINE)[:torn])
        assert [line for line, _ in read_lines(path)] == lines

    @FAST
    @given(st.lists(st.integers(1, 3), min_size=1, max_size=5), st.data())
    def test_a_run_that_was_killed_goes_on_where_it_was(self, tmp_path, faces, data):
        """Whatever byte it was killed at: each line once in the end, none lost, none twice."""
        path = tmp_path / "s.jsonl"
        files = {
            f"{number}.jpg": [
                to_json({**LINE, "path": f"{number}.jpg", "face": face}) + "\n" for face in range(count)
            ]
            for number, count in enumerate(faces)
        }
        whole = "".join(line for lines in files.values() for line in lines)
        path.write_text(whole[: data.draw(st.integers(0, len(whole)))])
        done = resume(path, LINE)
        with path.open("a") as file:
            file.writelines(line for name, lines in files.items() if name not in done for line in lines)
        assert path.read_text() == whole

    @FAST
    @given(st.sampled_from(sorted(SCALES)), WORDS)
    def test_lines_of_two_scales_never_stand_in_one_file(self, tmp_path, name, value):
        path = tmp_path / "s.jsonl"
        path.write_text(to_json(LINE) + "\n")
        other = {**LINE, name: value}
        if other == LINE:
            assert resume(path, other) == {}  # the last file is examined again
            return
        with pytest.raises(ValueError, match="choose another --out"):
            resume(path, other)
        assert path.read_text() == to_json(LINE) + "\n", "what was there is left as it was"

    @FAST
    @given(st.sampled_from(sorted(LINE)), VALUES)
    def test_another_field_is_held_or_refused(self, tmp_path, name, value):
        path = tmp_path / "s.jsonl"
        path.write_text(json.dumps({**LINE, name: value}) + "\n")
        try:
            ((line, _),) = read_lines(path)
        except ValueError as error:
            assert "is no file of kfd.score" in str(error)
            return
        assert line[name] == value and isinstance(line["path"], str)

    @FAST
    @given(st.binary(max_size=100))
    def test_any_bytes_are_read_or_refused(self, tmp_path, data):
        path = tmp_path / "s.jsonl"
        path.write_bytes(data + b"\n")
        try:
            list(read_lines(path))
        except ValueError as error:
            assert "is no file of kfd.score" in str(error)


TOLD = {
    "created": "2026-01-01T00:00:00Z", "verdict": "real", "finding": "None.",
    "file": {"name": "a.jpg", "sha256": "0" * 64},
}  # fmt: skip
REPORT = {"schema": SCHEMA, "created": TOLD["created"], "finding": "None.", "files": [TOLD]}


class TestReports:
    @FAST
    @given(FINITE, FINITE)
    def test_a_checksum_shows_any_accident(self, before, after):
        data = {**REPORT, "extra": before}
        sealed = Report({**data, "seal": seal_of(data)})
        assert Report.from_json(sealed.to_json()).intact
        changed = Report({**sealed.data, "extra": after})
        assert changed.intact == (to_json(before, sort_keys=True) == to_json(after, sort_keys=True))

    @settings(FAST, max_examples=60)
    @given(
        st.sampled_from([*sorted(REPORT), "seal"]),
        VALUES
        | st.lists(st.fixed_dictionaries({name: VALUES for name in TOLD}), max_size=2)
        | st.fixed_dictionaries({"name": VALUES, "sha256": VALUES}).map(
            lambda file: [{**TOLD, "file": file}]
        ),
    )
    def test_verify_compares_or_refuses(self, tmp_path, capsys, name, value):
        """Malformed reports ended in tracebacks, with the exit status of a change."""
        data = {**REPORT, "seal": seal_of(REPORT), name: value}
        path = tmp_path / "r.json"
        path.write_text(json.dumps(data))
        with pytest.MonkeyPatch.context() as monkeypatch, pytest.raises(SystemExit) as caught:
            monkeypatch.setattr("sys.argv", ["app.report", "--verify", str(path)])
            report()
        said = capsys.readouterr()
        same = json.dumps(data, sort_keys=True) == json.dumps(
            {**REPORT, "seal": seal_of(REPORT)}, sort_keys=True
        )
        assert caught.value.code in ((0,) if same else (1, 2))
        assert all(char.isprintable() or char == "\n" for char in said.out + said.err)


@FAST
@given(st.text())
def test_a_terminal_is_given_no_orders(text):
    shown = printable(text)
    assert shown.isprintable() and (shown == text or not text.isprintable())


def test_the_folder_of_examples_is_not_left_behind():
    """hypothesis keeps failing examples in a folder of the working directory; it must not enter git."""
    ignored = (Path(__file__).parents[2] / ".gitignore").read_text(encoding="utf-8")
    assert ".hypothesis/" in ignored


def test_a_whole_number_beyond_every_float_fits_nothing() -> None:
    """Bug: it raised OverflowError, which no reader of a file expects."""
    assert not fits(10**400, int) and not fits(10**400, float) and fits(10**300, int)
