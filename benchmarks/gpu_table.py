"""Lines of the table of `make bench-gpu`: one for each row, printed when it has been measured."""

from collections.abc import Mapping

from benchmarks.gpu_rows import Result


def line_of(result: Result, bill: Mapping[str, float]) -> str:
    """A result in words and numbers; `bill`: the bytes and seconds that the bill had said."""
    name = f"{result.model:>6} {result.kind:10} {result.shape:28}"
    line = f"{name} {LINES[result.kind](result)}, peak {result.peak_bytes / 1e9:.2f} GB"
    return line + (f" (bill {bill['seconds']:.4f} s, {bill['bytes'] / 1e9:.2f} GB)" if bill["bytes"] else "")


def step_line(result: Result) -> str:
    seconds = result.seconds
    shares = result.shares
    facts = result.facts
    return (
        f"step {seconds['step']:.3f} s = rollout {seconds['rollout']:.3f} + score {seconds['score']:.3f} "
        f"({shares['score']:.0%} of product) + update {seconds['update']:.3f} ({shares['update']:.0%}); "
        f"gap mean {facts['gap_mean']:.1e} max {facts['gap_max']:.1e} nats, effective {facts['effective_share']:.5f}"
    )


def decode_line(result: Result) -> str:
    return (
        f"{1000 * result.seconds['token']:.3f} ms a token; bytes alone {1000 * result.seconds['bound']:.3f} ms "
        f"({result.shares['bytes']:.0%}); {result.facts['tokens_per_second']:,.0f} tokens/s"
    )


def warm_start_line(result: Result) -> str:
    return (
        f"{result.seconds['update']:.3f} s an update, {result.facts['anchor_ratio']:.2f} x that without anchor; "
        f"{result.facts['tokens_per_second']:,.0f} tokens/s"
    )


def peer_line(result: Result) -> str:
    ratio = f", {result.facts['ratio']:.1f} x ours" if "ratio" in result.facts else ""
    return f"step {result.seconds['step']:.3f} s{ratio}"


LINES = {"step": step_line, "decode": decode_line, "warm start": warm_start_line, "TRL": peer_line}
