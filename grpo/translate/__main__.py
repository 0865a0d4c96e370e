"""`python -m grpo.translate FILE --model RUN_OR_FOLDER [--output FILE]`: as many lines out as lines in.

The policy is asked and decoded as the run that made it did. With --output, the same command goes on after a stop.
"""

import argparse
import os
import sys
from contextlib import nullcontext
from typing import Any

from data.arguments import ArgumentParser
from data.cache import cache_dir
from data.checksums import sha256_of
from data.console import number_of
from data.documents import user_path
from data.errors import RESUMES, InputError, run_command
from data.saved_prompt import kind_facts
from grpo.engine.greedy import DecodeSettings
from grpo.engine.self_check import positions_of
from grpo.runtime.device import Compute
from grpo.translate.choice import TERMS
from grpo.translate.decoding import Decoding
from grpo.translate.output import Output, Stream, check_place, open_output
from grpo.translate.policy import Policy, check_options, load_model, open_policy
from grpo.translate.source import JSONL, STDIN, Source, open_source
from grpo.translate.translator import Translator, tell, translate


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(
        prog="python -m grpo.translate", description="Translate a file with a policy, line by line."
    )
    parser.add_argument(
        "file", nargs="?", default=STDIN, help="a text file, a .jsonl file, or - for standard input (default)"
    )
    parser.add_argument(
        "--model", required=True, help="a run folder, which stands for its best policy, or a model folder"
    )
    parser.add_argument("--output", help="a file, JSONL where it ends in .jsonl (default: standard output)")
    parser.add_argument("--jsonl", action="store_true", help="standard input and standard output are JSONL")
    parser.add_argument(
        "--field",
        default="source",
        help="of JSONL the field with the text, such as translation.bo (default: source)",
    )
    parser.add_argument("--source-language", default="", help="of a policy that was trained on several")
    parser.add_argument("--target-language", default="", help="likewise")
    parser.add_argument(
        "--sample", action="store_true", help="draw outputs instead of taking the likeliest tokens"
    )
    parser.add_argument("--temperature", type=float, help="of the draws (default: the run's)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the draws; a line's draw follows from seed and line"
    )
    parser.add_argument(
        "--best-of", type=int, default=1, metavar="N", help="draw N outputs and keep the best"
    )
    parser.add_argument("--choose-by", choices=TERMS, help="what the best is (default: logprob)")
    parser.add_argument(
        "--max-prompt-tokens",
        type=int,
        help="longer prompts are left out (default: the run's; 2048 for a folder outside of a run)",
    )
    parser.add_argument(
        "--max-new-tokens",
        type=int,
        help="of an output (default: the run's; 256 for a folder outside of a run)",
    )
    parser.add_argument("--batch-size", type=int, help="lines in one pass (default: the run's)")
    parser.add_argument("--device", help="auto or cpu (default: the run's)")
    return parser.parse_args(argv)


def check(options: argparse.Namespace) -> None:
    """InputError for an option that cannot be."""
    counts = ("best_of", "max_prompt_tokens", "max_new_tokens", "batch_size")
    alone = "translate runs in one process; start it without torchrun, on a part of the file each"
    check_options(options, alone, counts)
    if options.temperature is not None and not 0 < options.temperature < 100:
        raise InputError(
            f"--temperature {options.temperature}: a number above 0 is needed; greedy is the default"
        )
    if options.choose_by and options.best_of == 1:
        raise InputError(
            f"--choose-by {options.choose_by}: there is one output a line; write --best-of N too"
        )
    if options.seed < 0:
        raise InputError(f"--seed {options.seed}: a number from 0 is needed")


def decoding_of(options: argparse.Namespace, policy: Policy) -> Decoding:
    """By the settings of the run, where no option says otherwise."""
    settings = policy.settings
    decode = DecodeSettings(
        options.max_new_tokens or settings["eval.max_new_tokens"],
        policy.prompt.stops,
        options.batch_size or settings["eval.batch_size"],
        settings["engine.fast_decode"],
    )
    if not (options.sample or options.temperature or options.best_of > 1):
        return Decoding(decode)
    temperature = options.temperature or settings["rollout.temperature"]
    return Decoding(decode, temperature, options.best_of, options.seed)


def made_by(options: argparse.Namespace, translator: Translator, source: Source) -> dict[str, Any]:
    """What the lines of an output depend on."""
    policy = translator.policy
    decoding = translator.decoding
    tokenizer = policy.folder / "tokenizer.json"
    weights = sorted(policy.folder.glob("*.safetensors"))
    facts = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in weights]
    return {
        "model": str(policy.folder.resolve()),
        "weights": facts,
        "languages": list(policy.kind),
        "prompt": kind_facts(policy.prompt, policy.kind)["prompt"],
        "stops": list(policy.prompt.stops),
        "normalise": list(policy.settings["data.normalise"]),
        "tokenizer": sha256_of(tokenizer) if tokenizer.exists() else "",
        "device": translator.compute.device.type,
        "number_format": translator.compute.format.name,
        "field": source.field,
        "temperature": decoding.temperature,
        "seed": decoding.seed,
        "best_of": decoding.samples,
        "choose_by": chosen_by(options),
        "max_prompt_tokens": translator.max_prompt_tokens,
        "max_new_tokens": decoding.settings.max_new_tokens,
        "batch_size": decoding.settings.batch_size,
    }


def chosen_by(options: argparse.Namespace) -> str:
    """The name of the term that chooses; "" where there is nothing to choose."""
    return (options.choose_by or "logprob") if options.best_of > 1 else ""


def prompt_limit(options: argparse.Namespace, policy: Policy, model: Any, max_new_tokens: int) -> int:
    """The most tokens of a prompt: the run's limit, and what the model has positions for. Raises InputError where it has
    none for a prompt.
    """
    limit = int(options.max_prompt_tokens or policy.settings["model.max_prompt_tokens"])
    positions = positions_of(model)
    if positions and max_new_tokens >= positions:
        raise InputError(
            f"--max-new-tokens {max_new_tokens}: the model has {positions:,} positions for a prompt and its output; "
            "write fewer"
        )
    return min(limit, positions - max_new_tokens) if positions else limit


def load(options: argparse.Namespace, source: Source) -> Translator:
    """The policy of --model, ready. Raises InputError."""
    policy = open_policy(user_path(options.model), options.source_language, options.target_language)
    if len(policy.kinds) > 1 and not options.source_language:
        others = ", ".join(one for one, _, _ in policy.kinds if one != policy.kind[0])
        tell(f"NOTE: lines are read as {policy.kind[0]}; the policy also knows {others} (--source-language)")
    decoding = decoding_of(options, policy)
    model, compute = load_model(policy, options.device)
    name = chosen_by(options)
    term = TERMS[name](policy, cache_dir(), compute.device) if name else None
    limit = prompt_limit(options, policy, model, decoding.settings.max_new_tokens)
    is_jsonl = options.output.lower().endswith(JSONL) if options.output else bool(source.field)
    tell(first_sentence(options, policy, decoding, compute, len(source)))
    return Translator(policy, model, compute, decoding, term, limit, is_jsonl)


def first_sentence(
    options: argparse.Namespace, policy: Policy, decoding: Decoding, compute: Compute, count: int
) -> str:
    """What will be done."""
    source, target, _ = policy.kind
    how = "greedy"
    if decoding.temperature:
        how = f"sampled at temperature {decoding.temperature:g}, seed {decoding.seed}"
    if decoding.samples > 1:
        how = f"the best of {decoding.samples} by {chosen_by(options)}, {how}"
    return (
        f"{policy.folder}: {number_of(count, 'line')}, {source} to {target}, {how}, on {compute.device.type}"
    )


def last_sentence(output: Output | Stream, place: str) -> str:
    """How many lines were translated, and why the others are empty."""
    counts = output.counts
    reasons = [f"{count:,} {reason} (line {line})" for reason, (count, line) in counts.problems.items()]
    reasons += [f"{counts.without_text:,} without an answer of the model"] if counts.without_text else []
    empty = sum(count for count, _ in counts.problems.values()) + counts.without_text
    parts = [f"{number_of(output.lines, 'line')} in, {number_of(output.lines, 'line')} out{place}"]
    parts += [f"{empty:,} of them left empty: {', '.join(reasons)}"] if empty else []
    parts += [f"{counts.cut:,} cut at the length limit (--max-new-tokens)"] if counts.cut else []
    return "; ".join(parts)


def work(options: argparse.Namespace) -> None:
    check(options)
    source = open_source(options.file, options.field, options.jsonl)
    path = user_path(options.output) if options.output else None
    if path:
        check_place(path, options.file)
    translator = load(options, source)
    facts = made_by(options, translator, source)
    with open_output(path, source, facts) if path else nullcontext(Stream()) as output:
        if output.lines:
            tell(f"{path}: {output.lines:,} of {len(source):,} lines are finished and as they were written")
        translate(source, translator, output)
        tell(last_sentence(output, f" in {path}" if path else ""))


def main(argv: list[str] | None = None) -> int:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    options = arguments(argv)
    return run_command(lambda: work(options), RESUMES if options.output else "")


if __name__ == "__main__":
    sys.exit(main())
