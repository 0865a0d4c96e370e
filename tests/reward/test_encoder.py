"""The setting `reward.encoder`: every form of it leads to its encoder, every mistake to one sentence; and the
check of what comes out.
"""

from pathlib import Path

import pytest
import torch
from tiny_encoders import body_folder, pooled_folder, static_folder, write_json

from data.errors import InputError
from reward import encoder as module
from reward.encoder import check_encoder, check_unit_rows, load_encoder
from reward.encoders.modules import ModulesEncoder
from reward.encoders.pooled import PooledEncoder
from reward.encoders.static import StaticEncoder

CPU = torch.device("cpu")
UNIT = torch.eye(3)
TEXTS = ["一", "二", "三"]


def test_files_in_the_folder_say_what_it_is(tmp_path: Path) -> None:
    body = body_folder(tmp_path / "body")
    folder = pooled_folder(tmp_path / "st")
    static = static_folder(tmp_path / "static")
    assert isinstance(load_encoder(str(body), tmp_path, CPU), PooledEncoder)
    assert isinstance(load_encoder(str(folder), tmp_path, CPU), ModulesEncoder)
    assert isinstance(load_encoder(f"static:{static}", tmp_path, CPU), StaticEncoder)


def test_folder_of_a_student_goes_to_its_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "student.json", {})
    write_json(tmp_path / "config.json", {})
    folders: list[Path] = []
    monkeypatch.setitem(module.BY_FILE, "student.json", lambda folder, device: folders.append(folder))
    load_encoder(str(tmp_path), tmp_path, CPU)
    assert folders == [tmp_path]


def test_relative_and_home_folders_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body_folder(tmp_path / "models" / "body")
    monkeypatch.chdir(tmp_path / "models")
    monkeypatch.setenv("HOME", str(tmp_path))
    names = ["body", "./body", "~/models/body", str(tmp_path / "models" / "body")]
    assert len({load_encoder(name, tmp_path, CPU).fingerprint for name in names}) == 1


def test_checking_loads_nothing(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"model_type": "no such model"})
    check_encoder(str(tmp_path), tmp_path)
    check_encoder("use", tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("uze", r"reward\.encoder: unknown encoder 'uze'; known encoders: use, bo, a folder, static:FOLDER$"),
        ("models/none", r"reward\.encoder: 'models/none': there is no folder models/none"),
        ("", r"reward\.encoder = '' names no encoder; write one of "),
        ("static:", r"reward\.encoder = 'static:' names no encoder"),
        ("static:none", r"reward\.encoder: 'static:none': there is no folder none"),
    ],
)
def test_unknown_names_are_refused(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for refuse in (
        lambda name: check_encoder(name, tmp_path),
        lambda name: load_encoder(name, tmp_path, CPU),
    ):
        with pytest.raises(InputError, match=message):
            refuse(name)


def test_folders_without_the_needed_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"is no encoder folder: it has no student\.json and no modules\.json and no config\.json",
    ):
        check_encoder(str(tmp_path), tmp_path)
    with pytest.raises(InputError, match=r"no weights \(\*\.safetensors\)"):
        check_encoder(f"static:{tmp_path}", tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InputError, match=r"is no encoder folder: it has no tokenizer\.json"):
        check_encoder(f"static:{tmp_path}", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"there is no folder"):
        check_encoder(str(tmp_path / "file"), tmp_path)


def test_good_rows_pass_unchanged_as_fp32() -> None:
    assert torch.equal(check_unit_rows(UNIT, TEXTS, 3, "x"), UNIT)
    assert check_unit_rows(UNIT.double(), TEXTS, 3, "x").dtype == torch.float32
    assert check_unit_rows(torch.empty(0, 3), [], 3, "x").shape == (0, 3)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_rows_that_are_not_finite_name_the_text(value: float) -> None:
    rows = UNIT.clone()
    rows[1, 2] = value
    with pytest.raises(
        InputError, match=r"encoder own: the vector of '二' has length (nan|inf) instead of 1"
    ):
        check_unit_rows(rows, TEXTS, 3, "own")


@pytest.mark.parametrize(("factor", "length"), [(0.0, "0"), (2.0, "2"), (0.998, "0.998")])
def test_rows_that_are_not_of_unit_length_name_the_text(factor: float, length: str) -> None:
    rows = UNIT * torch.tensor([1.0, 1.0005, factor])[:, None]
    with pytest.raises(InputError, match=rf"the vector of '三' has length {length} instead of 1"):
        check_unit_rows(rows, TEXTS, 3, "own")


def test_wrong_shape_names_both_numbers() -> None:
    with pytest.raises(
        InputError, match=r"encoder own: gave rows of shape \(3, 3\) for 2 texts of 3 numbers each"
    ):
        check_unit_rows(UNIT, TEXTS[:2], 3, "own")
    with pytest.raises(InputError, match=r"gave rows of shape \(3, 3\) for 3 texts of 4 numbers each"):
        check_unit_rows(UNIT, TEXTS, 4, "own")
    with pytest.raises(InputError, match=r"gave rows of shape \(9,\)"):
        check_unit_rows(UNIT.flatten(), TEXTS, 3, "own")


def test_long_texts_are_cut_in_the_message() -> None:
    with pytest.raises(InputError) as caught:
        check_unit_rows(torch.zeros(1, 3), ["字" * 5000], 3, "own")
    assert len(str(caught.value)) < 300
