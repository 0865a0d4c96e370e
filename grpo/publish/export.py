"""`python -m grpo.publish.export RUN_OR_FOLDER --to FOLDER`: the model in another form, by transformers, safetensors
and gguf.

Tokenizer, chat template, prompt.json, card and licence texts go along as they are. The result is loaded again and
must give the log-probabilities of the model that was meant, on the prompt of training; else nothing is left of it.
"""

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from data.arguments import ArgumentParser
from data.cache import atomic_folder, name_disk_errors, scratch_folder
from data.console import say
from data.ends import text_ids
from data.errors import InputError, run_command
from data.extras import check_extra
from data.model_folder import PICKLES, input_errors, quiet
from grpo.engine.licences import NOTICE_FILE
from grpo.engine.model import load_tokenizer
from grpo.engine.weight_files import FILE_BYTES
from grpo.publish.source import model_folder
from grpo.publish.trial import largest_gap, load, log_probabilities, trial_ids, trial_text

WEIGHTS = ("*.safetensors", "*.safetensors.index.json", *PICKLES)
WRITTEN = ("config.json", "generation_config.json", "cost.json")  # anew, or of a study
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
EXACT = 1e-4  # nats; what the order of additions may change
ONE_FILE = 1 << 62  # bytes
SPELLINGS = (
    "  two  spaces ",
    "line\nend",
    "1,234.5 %",
    "\u0f40\u0f0b\u0f41\u0f0b \u5929\u5730",
    "\U0001f600",
)


def export(source: Path, target: Path, form: str, most: int, say: Callable[[str], None]) -> Path:
    """Write the model of `source` in files of up to `most` bytes, in the number format `form` ("" = as it is). Raises
    InputError where that cannot be, or the result is not what was meant.
    """
    if target.exists():
        raise InputError(f"{target}: is there already; name another folder")
    tokenizer = load_tokenizer(source)
    ids = trial_ids(source, tokenizer)
    model = load(source, torch.float32)
    before = log_probabilities(model, ids)
    if form:
        round_to(model, DTYPES[form])
    target_scores = log_probabilities(model, ids)
    with atomic_folder(target) as work:
        copy_others(source, work)
        with quiet():
            nn.Module.to(model, DTYPES.get(form, torch.float32))
            model.save_pretrained(work, max_shard_size=most)
        if form and (work / NOTICE_FILE).exists():
            with (work / NOTICE_FILE).open("a", encoding="utf-8") as notice:
                notice.write(f"The weights were rounded to {form}.\n")
        check_like(load(work, torch.float32), ids, target_scores, target)
    if form:
        say(
            f"rounding to {form} moves a log-probability of the prompt by up to {largest_gap(before, target_scores):.3g} nats"
        )
    return target


def export_gguf(source: Path, path: Path, form: str) -> Path:
    """Write the model of `source` as one GGUF file; matrices in `form`, "" = fp32. Raises InputError as `export`."""
    if path.exists():
        raise InputError(f"{path}: is there already; name another file")
    check_extra("gguf", "--gguf", "gguf", "accelerate")
    from grpo.publish.gguf_file import check_gguf, write_gguf

    tokenizer = load_tokenizer(source)
    model = load(source, torch.float32)
    check_gguf(source, model, tokenizer)
    if form:
        round_to(model, DTYPES[form])
    ids = trial_ids(source, tokenizer)
    target_scores = log_probabilities(model, ids)
    with name_disk_errors(path), scratch_folder(path.parent) as work:
        write_gguf(model, tokenizer, source, work / path.name, form)
        read = load(work, torch.float32, gguf_file=path.name, config=model.config)
        check_like(read, ids, target_scores, path)
        check_pieces(work, path.name, tokenizer, source)
        (work / path.name).replace(path)
    return path


def check_pieces(folder: Path, name: str, tokenizer: PreTrainedTokenizerBase, source: Path) -> None:
    """Raises InputError where the tokenizer of a GGUF file cuts the prompt into other pieces."""
    from grpo.publish.gguf_file import CONVERTER

    with input_errors(folder / name, "no tokenizer that transformers can read"):
        other = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    for text in (trial_text(source), *SPELLINGS):
        if text_ids(other, text) != text_ids(tokenizer, text):
            raise InputError(
                f"--gguf: the file's tokenizer would cut {text!r} otherwise, so it was not kept; {CONVERTER}"
            )


def copy_others(source: Path, work: Path) -> None:
    """Copy what is neither weights nor written anew: tokenizer, template, prompt.json, card, licence texts."""
    left_out = {path for pattern in (*WEIGHTS, *WRITTEN) for path in source.glob(pattern)}
    for path in sorted(source.iterdir()):
        if path.is_file() and path not in left_out:
            shutil.copyfile(path, work / path.name)


@torch.no_grad()
def round_to(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Round all weights to the values that `dtype` has. Raises InputError where one is beyond its range."""
    for name, parameter in model.named_parameters():
        values = parameter.to(dtype).float()
        if not values.isfinite().all():
            raise InputError(f"{name} has a weight that fp16 cannot hold; write --bf16")
        parameter.copy_(values)


def check_like(model: PreTrainedModel, ids: list[int], target_scores: Tensor, place: Path) -> None:
    """Raises InputError where a model that was read back is not the one that was written."""
    gap = largest_gap(target_scores, log_probabilities(model, ids))
    if not gap <= EXACT:
        raise InputError(
            f"{place}: read back, it differs by {gap:.3g} nats on the prompt, so it was not kept; please report this"
        )


def bytes_of(text: str) -> int:
    """A number of bytes, written like 500MB or 5GB."""
    units = {"KB": 10**3, "MB": 10**6, "GB": 10**9}
    number = text[:-2]
    if text[-2:].upper() not in units or not number.isdigit() or int(number) == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: write a size such as 500MB or 5GB")
    return int(number) * units[text[-2:].upper()]


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="python -m grpo.publish.export", description="Write a model in another form."
    )
    parser.add_argument(
        "source", type=Path, metavar="RUN_OR_FOLDER", help="a finished run, or the folder of a model"
    )
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="a new folder for transformers")
    parser.add_argument("--gguf", type=Path, metavar="FILE", help="a new file for llama.cpp")
    number = parser.add_mutually_exclusive_group()
    for form in DTYPES:
        number.add_argument(
            f"--{form}", action="store_const", const=form, dest="form", help=f"round the weights to {form}"
        )
    files = parser.add_mutually_exclusive_group()
    files.add_argument(
        "--merge-shards", action="store_const", const=ONE_FILE, dest="most", help="all weights in one file"
    )
    files.add_argument(
        "--max-shard-size", type=bytes_of, dest="most", help="files of at most so much (default: 5GB)"
    )
    return parser.parse_args(argv)


def command(options: argparse.Namespace) -> None:
    if not (options.to or options.gguf):
        raise InputError("export: name what to write: --to FOLDER, --gguf FILE, or both")
    source = model_folder(options.source)
    form = options.form or ""
    if options.to:
        say(f"written: {export(source, options.to, form, options.most or FILE_BYTES, say)}")
    if options.gguf:
        say(f"written: {export_gguf(source, options.gguf, form)}")


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    return run_command(lambda: command(options))


if __name__ == "__main__":
    sys.exit(main())
