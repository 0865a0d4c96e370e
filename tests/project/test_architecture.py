"""Who may import whom, what only one file may say, and how long things may get."""

import ast
from collections.abc import Iterator
from pathlib import Path

from repository import ROOT, python_files

PACKAGES = {
    "grpo": 50,
    "reward": 40,
    "data": 45,
    "eval": 50,
    "benchmarks": 15,
}  # and how many files each has at least
LAYERS = (  # lowest first; a module belongs to the first row that names it or a package of it
    ("data",),
    ("reward",),
    ("grpo.advantage", "grpo.loss", "grpo.kl", "grpo.records"),
    ("grpo.engine",),
    (
        "grpo.config",
        "grpo.config_check",
        "grpo.config_file",
        "grpo.old_names",
        "grpo.optim",
        "grpo.updates",
        "grpo.parameter_steps",
        "grpo.layer_rates",
        "grpo.eight_bit",
    ),
    ("grpo.runtime",),
    (
        "grpo.loop",
        "grpo.sft",
        "grpo.distillation",
        "grpo.training",
        "grpo.samples",
        "grpo.redraw",
        "grpo.anchor",
        "grpo.shield",
        "grpo.pull",
        "grpo.replay",
        "grpo.token_loss",
        "grpo.minibatch",
        "grpo.guide",
        "grpo.step_metrics",
    ),
    ("eval",),
    ("grpo.stages",),
    ("grpo.run", "grpo.evaluate", "grpo.translate", "grpo.serve"),
    ("grpo.study", "grpo.publish", "grpo.init", "grpo.settings", "grpo.command"),
    ("benchmarks",),
)


def layer(module: str) -> int:
    """The row of LAYERS that a module belongs to; StopIteration for a new file that has to be thought
    about.
    """
    return next(
        row
        for row, names in enumerate(LAYERS)
        if any(module == name or module.startswith(f"{name}.") for name in names)
    )


def sources() -> Iterator[tuple[str, Path]]:
    for package, at_least in PACKAGES.items():
        for path in python_files(package, at_least):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            if module != "grpo":  # what every module of it imports
                yield module, path


def imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
            yield node.lineno, node.module


def breaches() -> list[str]:
    known = {name for name, _ in sources()}
    found = []
    for module, path in sources():
        for line, target in imports(path):
            if target in known and layer(target) > layer(module):
                found.append(
                    f"{path.relative_to(ROOT)}:{line} imports {target} (layer {layer(module)} -> {layer(target)})"
                )
    return found


def test_imports_point_down() -> None:
    assert breaches() == []


def test_only_device_names_a_device() -> None:
    naming = [path.name for _, path in sources() if "cuda" in path.read_text(encoding="utf-8")]
    assert naming == ["device.py"]


def test_only_one_file_uses_private_names_of_others() -> None:
    """Every other attribute with an underscore is an object's own."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.attr}"
        for module, path in sources()
        if layer(module) < layer("benchmarks")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and ast.unparse(node.value) not in ("self", "cls", "super()")
    ]
    assert len(found) == 2 and all(line.startswith("grpo/engine/private_apis.py:") for line in found), found


NOT_EVERYWHERE = {
    "fcntl", "resource", "msvcrt", "pread", "pwrite", "fork", "forkpty", "sched_getaffinity", "waitid", "sysconf", "getuid",
    "geteuid", "killpg", "setsid", "getpgid", "symlink", "symlink_to", "SIGHUP", "SIGKILL", "SIGALRM", "alarm", "setitimer",
}  # fmt: skip


def test_only_system_calls_what_not_every_operating_system_has() -> None:
    """Past bug: data/clusters.py asked for the cores that a process may use, which macOS does not tell."""
    calling = {
        module
        for module, path in sources()
        if layer(module) < layer("benchmarks")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in NOT_EVERYWHERE)
        or (isinstance(node, ast.Import) and {one.name for one in node.names} & NOT_EVERYWHERE)
        or (isinstance(node, ast.keyword) and node.arg in ("process_group", "pass_fds", "preexec_fn"))
    }
    assert calling == {"data.system"}


def test_no_peer_is_used_inside() -> None:
    peers = {"trl", "verl", "peft", "sentence_transformers"}
    used = {
        target.split(".")[0]
        for module, path in sources()
        if layer(module) < layer("benchmarks")
        for _, target in imports(path)
    }
    assert not used & peers


def test_files_stay_under_400_lines_and_the_loop_on_a_screen() -> None:
    for path in [*(path for _, path in sources()), *python_files("tests", at_least=150)]:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 400, f"{path.name}: {lines} lines"
    tree = ast.parse((ROOT / "grpo" / "loop.py").read_text(encoding="utf-8"))
    loop = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "train_grpo")
    assert loop.end_lineno is not None and loop.end_lineno - loop.lineno < 75


def test_functions_stay_short() -> None:
    for module, path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
                assert node.end_lineno - node.lineno < 75, (
                    f"{module}.{node.name}: {node.end_lineno - node.lineno} lines"
                )


def test_no_source_names_a_registry_host_or_downloads_on_its_own() -> None:
    for _, path in sources():
        text = path.read_text(encoding="utf-8")
        assert "pickle.load" not in text.replace("pickle.loads(", ""), path.name
        assert "trust_remote_code=True" not in text, path.name
        assert ".org/simple" not in text, path.name
