"""The files that `pip install` puts somewhere: what is in them, and the commands in an environment that has nothing
else of this project, in a folder whose own modules are called like our packages.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from repository import CONFIGS, ROOT
from tiny_run import arguments, quick
from tiny_study import write_study

import grpo
from grpo.command import COMMANDS

SOURCES = ("grpo", "data", "reward", "eval", "configs", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
BUILD = "from setuptools import build_meta; build_meta.build_{}({!r})"
FOREIGN = ("eval.py", "reward.py", "data/__init__.py")  # in the folder of a user
Run = subprocess.CompletedProcess[str]


def python(folder: Path, *command: str) -> None:
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist of a copy of the checkout, and the wheel of the unpacked sdist."""
    folder = tmp_path_factory.mktemp("build")
    unread = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / "copy" / name, symlinks=True, ignore=unread)
        else:
            shutil.copy2(ROOT / name, folder / "copy" / name)
    python(folder / "copy", "-c", BUILD.format("sdist", str(folder)))
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    python(folder / sdist.name.removesuffix(".tar.gz"), "-c", BUILD.format("wheel", str(folder)))
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


def test_the_wheel_has_the_packages_their_files_and_nothing_else(files: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(files[1]) as wheel:
        names = wheel.namelist()
        shipped = {name: wheel.read(name) for name in names if name.endswith(".toml")}
        dist_info = f"{files[1].name.split('-py3')[0]}.dist-info"
        script = wheel.read(f"{dist_info}/entry_points.txt").decode()
    assert dist_info == f"semantic_grpo-{grpo.__version__}.dist-info"
    assert script.split("\n")[:2] == ["[console_scripts]", "semantic-grpo = grpo.command:main"]
    packages = ("grpo", "data", "reward", "eval")
    code = {str(path.relative_to(ROOT)) for one in packages for path in (ROOT / one).rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == code and len(code) > 250
    assert shipped == {f"grpo/configs/{path.name}": path.read_bytes() for path in CONFIGS.glob("*.toml")}
    others = {name for name in names if not name.endswith((".py", ".toml"))}
    typed = {f"{name}/py.typed" for name in packages}
    facts = {
        f"{dist_info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "top_level.txt")
    }
    pages = {f"eval/report/page.{ending}" for ending in ("css", "js")}
    pages |= {f"grpo/serve/page.{ending}" for ending in ("css", "js", "html")}
    assert others == typed | facts | pages | {f"{dist_info}/licenses/LICENSE"}
    assert 10**5 < files[1].stat().st_size < 2 * 10**6


def test_the_sdist_has_no_tests(files: tuple[Path, Path]) -> None:
    with tarfile.open(files[0]) as sdist:
        tops = {name.split("/")[1] for name in sdist.getnames() if "/" in name}
    assert tops == {*SOURCES, "PKG-INFO", "semantic_grpo.egg-info"} - {
        "configs"
    }  # which is grpo/configs there


class Installation:
    """An environment with the wheel, and behind it the packages of this one; commands run in a user's folder."""

    def __init__(self, wheel: Path, folder: Path) -> None:
        self.folder = folder / "project"
        self.bin = folder / "env" / "bin"
        self.cache = folder / "cache"
        self.folder.mkdir()
        for name in FOREIGN:
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_text("raise SystemExit('not ours')\n", encoding="utf-8")
        python(folder, "-m", "venv", "--without-pip", "env")
        pip = (
            "-m",
            "pip",
            "--python",
            str(self.bin / "python"),
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
        )
        python(folder, *pip, str(wheel))
        (self.packages,) = folder.glob("env/lib/python*/site-packages")
        paths = sysconfig.get_paths()
        behind = dict.fromkeys((paths["purelib"], paths["platlib"]))
        (self.packages / "behind.pth").write_text("\n".join(behind) + "\n", encoding="utf-8")

    def run(self, *command: str) -> Run:
        """A command of the environment."""
        unset = ("PYTHONPATH", "SEMANTIC_GRPO_CACHE", "PYTHONSAFEPATH")
        kept = {name: value for name, value in os.environ.items() if name not in unset}
        return subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=self.folder,
            env=kept | {"XDG_CACHE_HOME": str(self.cache), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    def script(self, *command: str) -> str:
        """What the console script prints; it must end well."""
        done = self.run("semantic-grpo", *command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout


@pytest.fixture(scope="module")
def installed(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation(files[1], tmp_path_factory.mktemp("installed"))


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_starts_beside_foreign_modules(command: str, installed: Installation) -> None:
    assert installed.script(command, "--help").startswith("usage: ")


@pytest.mark.slow
def test_a_project_from_the_first_configuration_to_a_translation(
    installed: Installation, corpus: Path, tiny_folder: Path
) -> None:
    folder = installed.folder
    place = installed.run("python", "-P", "-c", "import grpo; print(grpo.__file__)").stdout
    assert place.startswith(str(installed.packages))
    assert all(name in installed.script("--help") for name in COMMANDS)
    init = ["--model", str(tiny_folder), "--from", "bo", "--to", "zh", "--out", "first.toml"]
    installed.script("init", str(corpus), *init)
    assert "[data]" in (folder / "first.toml").read_text(encoding="utf-8")
    assert '"run_dir": "runs/mt"' in installed.script("run", "--config", "mt", "--json")
    start = arguments(corpus, tiny_folder, folder / "run")
    installed.script("run", *start, *quick(tiny_folder))
    assert (installed.cache / "semantic-grpo" / "corpus").is_dir() and not (folder / ".cache").exists()
    (folder / "in.txt").write_text("ཀ་ཁ\nང་ག\n", encoding="utf-8")
    installed.script("translate", "in.txt", "--model", "run", "--output", "out.txt")
    assert len((folder / "out.txt").read_text(encoding="utf-8").splitlines()) == 2


@pytest.mark.slow
def test_the_processes_of_a_study_and_of_torchrun_do_not_look_into_the_working_folder(
    installed: Installation, corpus: Path, tiny_folder: Path
) -> None:
    study = write_study(installed.folder / "study", corpus, tiny_folder)
    installed.script("study", *study, "--only", "train")
    arms = list((installed.folder / "study").rglob("policy/config.json"))
    assert len(arms) == 2
    start = arguments(corpus, tiny_folder, installed.folder / "several" / "run")
    torchrun = ("python", "-P", "-m", "torch.distributed.run", "--nproc-per-node", "2", "--no-python")
    done = installed.run(*torchrun, str(installed.bin / "semantic-grpo"), "run", *start, *quick(tiny_folder))
    assert done.returncode == 0, done.stderr
    assert (installed.folder / "several" / "run" / "policy" / "config.json").is_file()
