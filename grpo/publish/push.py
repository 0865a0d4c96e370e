"""`python -m grpo.publish.push FOLDER OWNER/NAME`: shows what would go to a model hub; with `--yes` it goes there, by
huggingface_hub.

Without `--yes` nothing is sent and no network is asked. Nothing here stores or prints a token: huggingface_hub finds
the one of `hf auth login` or of HF_TOKEN itself.
"""

import argparse
import sys
from pathlib import Path

from huggingface_hub import HfApi, metadata_load
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id

from data.arguments import ArgumentParser
from data.console import say
from data.errors import InputError, run_command
from grpo.engine.licences import GEMMA, licence_files, licence_of
from grpo.publish.source import model_folder

CARD = "README.md"
# the hub's own errors, and those of the HTTP library that it uses, which are no OSError where nothing answers
NO_ANSWER: tuple[type[Exception], ...] = (
    OSError,
    HfHubHTTPError,
    *(kind for kind in HfHubHTTPError.__bases__ if kind.__name__ == "HTTPError"),
)
STAYS = ("cost.json",)  # of a study
HIDDEN = "."
SHOWN_LINES = 12  # of the card


def files_of(folder: Path) -> list[Path]:
    """The files that go: those directly in the folder, but for hidden ones."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.name not in STAYS and path.name[0] != HIDDEN
    )


def check(folder: Path, repo: str) -> None:
    """Raises InputError for a name that a hub would refuse, a folder without a card, and a Gemma without its notice."""
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise InputError(f"{repo}: no name of a repository; write OWNER/NAME ({error})") from error
    if repo.count("/") != 1:
        raise InputError(f"{repo}: no name of a repository; write OWNER/NAME")
    if not (folder / CARD).is_file() or not metadata_load(folder / CARD):
        raise InputError(
            f"{folder}: has no card; write one first: semantic-grpo card RUN, then push or export that folder"
        )
    if licence_of(folder) == GEMMA and not licence_files(folder):
        raise InputError(f"{folder}: a Gemma must go with its Notice file; semantic-grpo card RUN writes it")


def preview(folder: Path, repo: str, is_private: bool) -> str:
    """What goes where: files with sizes, and the beginning of the card."""
    files = files_of(folder)
    total = sum(path.stat().st_size for path in files)
    rows = [f"  {size_text(path.stat().st_size):>9}  {path.name}" for path in files]
    card = (folder / CARD).read_text(encoding="utf-8").splitlines()
    more = [f"  ... {len(card) - SHOWN_LINES} more lines"] if len(card) > SHOWN_LINES else []
    kind = "private" if is_private else "public"
    return "\n".join(
        [
            f"{folder} -> {repo} ({kind}): {len(files)} files, {size_text(total)}",
            *rows,
            f"{CARD}:",
            *(f"  {line}" for line in card[:SHOWN_LINES]),
            *more,
        ]
    )


def size_text(size: int) -> str:
    """A number of bytes in words."""
    return next(
        (
            f"{size / unit:.1f} {name}"
            for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
            if size >= unit
        ),
        f"{size} B",
    )


def push(folder: Path, repo: str, is_private: bool) -> str:
    """Make the repository where it is missing, and send the files in one commit. Its address."""
    api = HfApi()
    try:
        api.create_repo(repo, private=is_private, exist_ok=True)
        names = [path.name for path in files_of(folder)]
        commit = api.upload_folder(repo_id=repo, folder_path=folder, allow_patterns=names)
    except NO_ANSWER as error:
        raise InputError(
            f"{repo}: the hub did not take it ({error}); see hf auth login, and run the same command"
        ) from error
    return str(commit)


def command(options: argparse.Namespace) -> None:
    folder = model_folder(options.folder)
    check(folder, options.repo)
    say(preview(folder, options.repo, options.private))
    if options.yes:
        say(f"sent: {push(folder, options.repo, options.private)}")
    else:
        say("dry run: nothing was sent; --yes sends it")


def main(argv: list[str] | None = None) -> int:
    parser = ArgumentParser(prog="python -m grpo.publish.push", description="Put a model on a model hub.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="an exported folder, or a finished run")
    parser.add_argument("repo", metavar="OWNER/NAME", help="the repository on the hub")
    parser.add_argument("--yes", action="store_true", help="send it; without this nothing is sent")
    parser.add_argument("--private", action="store_true", help="make a private repository")
    options = parser.parse_args(argv)
    return run_command(lambda: command(options))


if __name__ == "__main__":
    sys.exit(main())
