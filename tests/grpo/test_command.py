"""The commands of an installed package: one console script for all, and folders that have a `data` or an
`eval.py` of their own.
"""

import ast
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

import grpo
from data.cache import default_cache
from data.errors import RESUMES, InputError, Interrupted, TrainingFailure, run_command
from grpo.command import COMMANDS
from grpo.config_file import load_config
from grpo.runtime import run_folder
from grpo.study.children import Job, run_child
from grpo.study.config import load_study
from grpo.study.files import keep_files

ROOT = Path(grpo.__file__).resolve().parent.parent
SCRIPT = "import sys; from grpo.command import main; sys.argv[0] = 'semantic-grpo'; sys.exit(main())"


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in `folder`, with this package where an installation would have it: behind the working folder,
    if that is searched.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def script(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The console script: as `python -m`, but the working folder is not searched."""
    return python(folder, "-P", "-c", SCRIPT, *arguments)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """The folder of another project, which has files named like our packages."""
    (tmp_path / "data").mkdir()
    for name in ("data/__init__.py", "eval.py", "reward.py"):
        (tmp_path / name).write_text("raise SystemExit('not ours')\n", encoding="utf-8")
    return tmp_path


def test_help_names_every_command_and_imports_none(tmp_path: Path) -> None:
    code = SCRIPT.replace(
        "sys.exit(main())", "main(); print(sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = python(tmp_path, "-P", "-c", code, "--help")
    *shown, modules = done.stdout.splitlines()
    assert done.returncode == 0 and done.stderr == ""
    rows = shown[shown.index("commands:") + 1 :][: len(COMMANDS)]
    assert [row.split()[0] for row in rows] == list(COMMANDS) and all(len(row.split()) > 5 for row in rows)
    heavy = {"torch", "transformers", "numpy", "data", "reward", "eval"}
    assert not heavy & set(ast.literal_eval(modules)) and "grpo" in ast.literal_eval(modules)


@pytest.mark.parametrize("config", ["mt", "mt.toml", "configs/mt.toml", "./mt.toml"])
def test_a_configuration_of_the_package_is_found_by_name_where_the_working_folder_has_none(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config(config) == load_config(ROOT / "configs" / "mt.toml")
    (tmp_path / "configs").mkdir()
    for own in ("mt.toml", "configs/mt.toml"):
        Path(own).write_text("seed = 7\n", encoding="utf-8")
    assert load_config(config).seed == 7


def test_an_own_file_without_its_ending_comes_before_that_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mt").mkdir()  # a folder is no configuration
    assert load_config("mt") == load_config(ROOT / "configs" / "mt.toml")
    for seed, own in ((7, "mt.toml"), (8, "other.toml")):
        Path(own).write_text(f"seed = {seed}\n", encoding="utf-8")
    assert [load_config(name).seed for name in ("mt", "other", str(tmp_path / "other"))] == [7, 8, 8]
    Path("mt").rmdir()
    Path("mt").write_text("seed = 9\n", encoding="utf-8")
    assert load_config("mt").seed == 9


@pytest.mark.parametrize("config", ["none.toml", "other/mt.toml", "../mt.toml", "configs", ""])
def test_no_other_path_leads_to_a_configuration_of_the_package(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        load_config(config)


def test_a_study_of_the_package_is_found_with_its_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = load_study("study_cpu.toml")
    arguments = keep_files(study, "study_cpu.toml", [])
    assert (study.folder / "base.toml").read_bytes() == (ROOT / study.config).read_bytes()
    assert load_study(arguments[1], arguments[2:]).arms == study.arms


def test_version_is_that_of_the_package(tmp_path: Path) -> None:
    done = script(tmp_path, "--version")
    assert (done.returncode, done.stdout) == (0, f"semantic-grpo {grpo.__version__}\n")


def test_python_m_runs_the_same_command(tmp_path: Path) -> None:
    """Past bug: it printed nothing."""
    done = python(tmp_path, "-m", "grpo.command", "--version")
    assert (done.returncode, done.stdout) == (0, f"semantic-grpo {grpo.__version__}\n")
    done = python(tmp_path, "-m", "grpo.command", "run", "--config", "nowhere.toml")
    assert done.returncode == 2 and done.stderr.startswith("error: nowhere.toml: cannot be read")


@pytest.mark.parametrize(("arguments", "said"), [((), "no command: "), (("grop",), "grop: ")])
def test_no_such_command_is_one_sentence(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = script(tmp_path, *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"error: {said}") and all(name in done.stderr for name in COMMANDS)


def test_every_command_is_a_module_that_runs() -> None:
    for module, _ in COMMANDS.values():
        spec = find_spec(module)
        assert spec is not None
        runs = find_spec(f"{module}.__main__") if spec.submodule_search_locations else spec
        assert runs is not None and runs.origin is not None
        assert '__name__ == "__main__"' in Path(runs.origin).read_text(encoding="utf-8"), module


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("run", ["--config", "nowhere.toml"]), ("study", []), ("readme-table", ["nowhere.json", "README.md"])],
)
def test_the_script_does_what_python_m_does_also_beside_foreign_files(
    name: str, arguments: list[str], foreign: Path
) -> None:
    (expected := foreign / "empty").mkdir()
    module, _ = COMMANDS[name]
    done = script(foreign, name, *arguments)
    wanted = python(expected, "-m", module, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (wanted.returncode, wanted.stdout, wanted.stderr)
    assert done.stdout + done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("module", ["grpo.run", "grpo.study", "eval.judge", "reward.distil"])
def test_python_m_beside_a_foreign_data_says_one_sentence(module: str, foreign: Path) -> None:
    """Past bug: an ImportError's traceback, or one of a missing data.documents."""
    for name in ("eval.py", "reward.py"):
        (foreign / name).unlink()
    done = python(foreign, "-m", module, "--help")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"error: {foreign}/data/__init__.py hides a package of this project; ")


def test_another_program_gets_an_import_error(foreign: Path) -> None:
    (foreign / "app.py").write_text(
        "try:\n    import grpo\nexcept ImportError as error:\n    print(error)\n", encoding="utf-8"
    )
    done = python(foreign, "app.py")
    assert done.returncode == 0 and done.stdout.startswith(
        f"{foreign}/reward.py hides a package of this project; "
    )


def test_a_child_of_a_study_does_not_look_into_the_working_folder(
    foreign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(foreign)
    assert run_child(Job(["grpo.run", "--config", "nowhere.toml"], "arm", foreign / "log")) == 2
    assert (
        (foreign / "log" / "log.txt")
        .read_text(encoding="utf-8")
        .startswith("error: nowhere.toml: cannot be read")
    )


def test_a_module_that_runs_has_all_its_definitions_before_it_runs() -> None:
    """Past bug: grpo.study.points ran before its last function was defined, so a child could not
    interpolate.
    """
    seen = 0
    for top in ("grpo", "eval", "reward", "data", "benchmarks"):
        for path in (ROOT / top).rglob("*.py"):
            body = ast.parse(path.read_text(encoding="utf-8")).body
            guards = [
                place
                for place, node in enumerate(body)
                if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)
            ]
            seen += len(guards)
            assert guards in ([], [len(body) - 1]), path
    assert seen >= 10


def test_cache_of_a_checkout_and_of_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert default_cache(ROOT) == ROOT / ".cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache(tmp_path) == tmp_path / "xdg" / "semantic-grpo"
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert default_cache(tmp_path).expanduser() == tmp_path / ".cache" / "semantic-grpo"


def test_an_installed_package_does_not_record_the_commit_it_happens_to_lie_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past bug: an environment inside a user's repository gave that repository's commit as ours."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.com"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run([*git, *command], check=True)
    place = tmp_path / "site-packages" / "grpo" / "runtime" / "run_folder.py"
    place.parent.mkdir(parents=True)
    monkeypatch.setattr(run_folder, "__file__", str(place))
    assert run_folder.commit() == ""
    (tmp_path / "site-packages").rename(tmp_path / "inner")
    monkeypatch.setattr(run_folder, "__file__", str(tmp_path / "grpo" / "runtime" / "run_folder.py"))
    (tmp_path / "inner" / "grpo").rename(tmp_path / "grpo")
    head = subprocess.run(
        [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert run_folder.commit().startswith(head)


def raising(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "again", "code", "said"),
    [
        (InputError("seed = x: write a number"), RESUMES, 2, "error: seed = x: write a number"),
        (FileNotFoundError(2, "No such file", "a.txt"), "", 2, "error: a.txt: No such file; put that right and run the same command"),
        (
            OSError(28, "No space", "a"), RESUMES, 2,
            "error: a: No space; put that right and run the same command, which goes on from what was last saved",
        ),
        (BrokenPipeError(32, "Broken pipe"), "", 2, "error: whoever read the output has closed the pipe before its end"),
        (TrainingFailure("loss is nan"), RESUMES, 1, "error: loss is nan"),
        (Interrupted(signal.SIGTERM), RESUMES, 143, "stopped and saved; the same command goes on from there"),
        (
            Interrupted(signal.SIGINT, "run folder r"), RESUMES, 130,
            "stopped and saved; the same command goes on from there (run folder r)",
        ),
        (KeyboardInterrupt(), RESUMES, 130, "stopped at once; the same command goes on from what was last saved"),
        (KeyboardInterrupt(), "", 130, "stopped at once"),
    ],
)  # fmt: skip
def test_last_words_and_exit_code_of_a_command(
    error: BaseException, again: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(raising(error), again) == code
    assert capsys.readouterr() == ("", f"{said}\n")


def test_a_command_that_ends_well_has_its_own_code() -> None:
    assert [run_command(lambda code=code: code) for code in (None, 0, 1)] == [0, 0, 1]
