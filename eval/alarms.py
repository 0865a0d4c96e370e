"""What goes wrong in training without ending it, as rules over the logged rows of a stage, one sentence each.

A rule is a function of the rows so far (docs/metrics.md says what they hold). It is silent where they lack
its metric, so one table serves every stage. It judges the last ALARM_WINDOW rows, or all there are. Nothing
is stopped. The run folder keeps no alarms: they follow from metrics.jsonl.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from reward.panel import ALARM_WINDOW, CLEAR_ERRORS, change, gaming_alarm

Rows = Sequence[Mapping[str, Any]]
EARLY = (1, 3)  # numbers of rows after which the rules are asked before the first window is full
MOST = 0.5  # a share that is beyond a habit
NEARLY_ALL = 0.9  # of the groups; the gradient then comes from a few of them
NEARLY_0 = 1e-3  # of a reward
FAR = 2.0  # nats per token from the warm start; a run that had lost its language was measured at 4.5
CERTAIN = 0.02  # nats of entropy a token
LOW = 0.05  # of a term of the reward that lies in [0, 1]
FALLEN = 0.1  # of the reward at the start
RISE = 0.2  # of the loss at the start; batches differ by less
PATIENCE = 5  # windows in which the loss of a warm start must have fallen
# terms of the reward by which all of it can be 0
CAUSES = {
    "script": "hardly a completion is in the target script",
    "cosine": "hardly a completion is nearer its reference text than reward.threshold",
    "length_fit": "hardly a completion is as long as its reference text",
    "unrepeated": "the completions repeat themselves",
    "uncopied": "the completions copy their source",
    "nonempty": "hardly a completion says anything",
}
GENTLER = "lower train.optim.lr or raise loss.kl_coef"


@dataclass(frozen=True)
class Alarm:
    """A rule that rang, its first and its last step (from 1), and its last sentence; `over`: it is silent at the
    end.
    """

    rule: str
    first: int
    last: int
    sentence: str
    over: bool

    @property
    def place(self) -> str:
        return step_words(self.first, self.last)

    def line(self) -> str:
        """The alarm for a reader after the run."""
        return f"ALARM {self.place}: {self.sentence}{'; no longer so at the end' if self.over else ''}"


def is_look(count: int, end: int) -> bool:
    """Whether the rules are asked after `count` of `end` steps."""
    return count in EARLY or count % ALARM_WINDOW == 0 or count == end


def current_alarms(rows: Rows) -> dict[str, str]:
    """Every rule that rings after the last of the rows, with its sentence."""
    return {name: sentence for name, rule in RULES.items() if (sentence := rule(rows))} if rows else {}


def all_alarms(rows: Rows) -> list[Alarm]:
    """Every rule that rang at one of the looks at a whole stage, in order of the table."""
    alarms: dict[str, Alarm] = {}
    for count in (count for count in range(1, len(rows) + 1) if is_look(count, len(rows))):
        step = number(rows[count - 1])
        for name, sentence in current_alarms(rows[:count]).items():
            first = alarms[name].first if name in alarms else step
            alarms[name] = Alarm(name, first, step, sentence, over=count < len(rows))
    return [alarms[name] for name in RULES if name in alarms]


def of_reward(rows: Rows, reward: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows without the terms of CAUSES that do not count: those with neither a weight nor a gate in
    `reward`, section [reward].

    A term that is only shown may be 0 and is no cause of anything.
    """
    weights = reward.get("weights", {})
    gates = reward.get("gates", ())
    idle = {f"{name}_mean" for name in CAUSES if not weights.get(name) and name not in gates}
    return [{key: value for key, value in row.items() if key not in idle} for row in rows]


def summary(alarms: Sequence[Alarm]) -> str:
    """One line for the end of a stage.

    >>> summary([Alarm("cut", 1, 3, "...", over=True), Alarm("no_spread", 1, 40, "...", over=False)])
    'ALARMS in this stage: cut (steps 1 to 3, no longer at the end), no_spread (steps 1 to 40)'
    """
    ends = {True: ", no longer at the end", False: ""}
    return f"ALARMS in this stage: {', '.join(f'{one.rule} ({one.place}{ends[one.over]})' for one in alarms)}"


def recent(rows: Rows) -> Rows:
    """The rows that a rule judges."""
    return rows[-ALARM_WINDOW:]


def values(rows: Rows, name: str) -> list[float]:
    """The finite values of a metric."""
    return [row[name] for row in rows if name in row and math.isfinite(row[name])]


def average(rows: Rows, name: str) -> float:
    """Mean of the finite values of a metric; NaN, which is beyond no limit, where there are none."""
    numbers = values(rows, name)
    return fmean(numbers) if numbers else math.nan


def number(row: Mapping[str, Any]) -> int:
    """The number of a row's step as the console counts, from 1; metrics.jsonl counts from 0."""
    return int(row["step"]) + 1


def step_words(first: int, last: int) -> str:
    """'step 3', or 'steps 3 to 12'."""
    return f"step {first}" if first == last else f"steps {first} to {last}"


def steps(rows: Rows) -> str:
    return step_words(number(rows[0]), number(rows[-1]))


def no_spread(rows: Rows) -> str:
    """No group has rewards that differ, and what may be the cause."""
    window = recent(rows)
    if any(row.get("zero_std_share") != 1 for row in window):
        return ""
    return f"nothing is learned: in every group of {steps(window)} all rewards are equal; {cause_of_no_spread(window)}"


def little_spread(rows: Rows) -> str:
    """Hardly a group has rewards that differ, over a whole window, and what may be the cause."""
    window = recent(rows)
    share = average(window, "zero_std_share")
    if len(window) < ALARM_WINDOW or not NEARLY_ALL < share < 1:
        return ""
    return (
        f"hardly anything is learned: in {share:.1%} of the groups of {steps(window)} all rewards are equal; "
        f"{cause_of_no_spread(window)}"
    )


def cause_of_no_spread(rows: Rows) -> str:
    """Why the rewards of groups are equal, as far as the other metrics tell."""
    reward = average(rows, "reward_mean")
    if abs(reward) < NEARLY_0:
        low = [(average(rows, f"{name}_mean"), name, cause) for name, cause in CAUSES.items()]
        low += [
            (average(rows, key), key.removesuffix("_mean"), "a term of your own")
            for key in rows[-1]
            if ".py:" in key
        ]
        lowest = sorted(one for one in low if one[0] < LOW)  # NaN, of a term that is not there, has no order
        parts = [f"{name} is {value:.2g} ({cause})" for value, name, cause in lowest]
        parts = ["the completions are empty"] if average(rows, "length_mean") <= 1 else parts
        return f"they are {'nearly ' if reward else ''}0: {', '.join(parts) or 'no term is 0 alone, see the groups in rollouts.jsonl'}"
    if average(rows, "distinct_share") <= MOST:
        return "their completions hardly differ: raise rollout.temperature"
    if average(rows, "reward_std") == 0:
        return "the reward pays all completions of a prompt the same, though they differ"
    return "they spread no more than the floor advantage.std_floor, which the encoder's noise may have raised"


def same_text(rows: Rows) -> str:
    """One completion is given to most prompts."""
    return most_completions(rows, "commonest_share", "are one and the same text")


def cut(rows: Rows) -> str:
    """Most completions have no end."""
    return most_completions(
        rows,
        "cut_share",
        "were cut at rollout.max_new_tokens: raise it, or let the warm start teach the end (sft.num_steps; the "
        "tokenizer's end token must be the one the model writes)",
    )


def missing_rewards(rows: Rows) -> str:
    """Most completions have no reward."""
    return most_completions(rows, "missing_reward_share", "have no reward and teach nothing")


def most_completions(rows: Rows, metric: str, sentence: str) -> str:
    """The sentence about the share `metric` of the completions, "" where it is at most MOST."""
    share = average(recent(rows), metric)
    return f"{share:.0%} of the completions of {steps(recent(rows))} {sentence}" if share > MOST else ""


def far(rows: Rows) -> str:
    """The policy has left its warm start. The median, for the mean of k3 follows single tokens."""
    numbers = values(recent(rows), "kl_mean")
    if not numbers or median(numbers) <= FAR:
        return ""
    return f"the policy is {median(numbers):.1f} nats per token from the warm start, its language is probably lost: {GENTLER}"


def certain(rows: Rows) -> str:
    """The policy has stopped choosing, and the reward is not better for it."""
    first = rows[:ALARM_WINDOW]
    last = recent(rows)
    entropy = average(recent(rows), "entropy_mean")
    low = len(rows) >= 2 * ALARM_WINDOW and entropy < CERTAIN
    if not low or average(last, "reward_mean") > average(first, "reward_mean"):
        return ""
    return (
        f"the entropy is {entropy:.1g} nats per token and the reward no higher than at the start: {GENTLER}"
    )


def reward_fall(rows: Rows) -> str:
    """The reward is a small part of what it was."""
    start = average(rows[:ALARM_WINDOW], "reward_mean")
    end = average(recent(rows), "reward_mean")
    if len(rows) < 2 * ALARM_WINDOW or not start > LOW / 5 or not end < FALLEN * start:
        return ""
    return f"the reward fell from {start:.3f} to {end:.3f}: {GENTLER}"


def skipped_updates(rows: Rows) -> str:
    """Updates were left out."""
    window = recent(rows)
    before = values(rows[: -len(window)], "skipped_updates")[-1:] or [0.0]
    count = sum(values(rows[-1:], "skipped_updates")) - before[0]
    return (
        f"{count:.0f} updates in {steps(window)} were skipped: their gradient was not finite"
        if count > 0
        else ""
    )


def loss_rises(rows: Rows) -> str:
    """The loss is no number, or clearly higher than at the start."""
    losses = [row["loss"] for row in rows if "loss" in row]
    if not all(map(math.isfinite, losses[-ALARM_WINDOW:])):
        return f"the loss is not a finite number in some of {steps(recent(rows))}: lower the learning rate"
    start, end, clear = loss_change(losses)
    rose = clear >= CLEAR_ERRORS and end > (1 + RISE) * start
    return f"the loss rose from {start:.3f} to {end:.3f}: lower the learning rate" if rose else ""


def loss_stays(rows: Rows) -> str:
    """A warm start that learns nothing."""
    losses = values(rows, "loss")
    if len(losses) < PATIENCE * ALARM_WINDOW or rows[-1]["stage"] != "sft":
        return ""
    start, end, clear = loss_change(losses)
    if clear <= -CLEAR_ERRORS:
        return ""
    return (
        f"the loss does not fall ({start:.3f} at the start, {end:.3f} now): see sft.optim.lr and the corpus"
    )


def loss_change(losses: Sequence[float]) -> tuple[float, float, float]:
    """Mean of the first and of the last window, and their difference in standard errors; zeros before there are two."""
    finite = [loss for loss in losses if math.isfinite(loss)]
    if len(finite) < 2 * ALARM_WINDOW:
        return 0.0, 0.0, 0.0
    return fmean(finite[:ALARM_WINDOW]), fmean(finite[-ALARM_WINDOW:]), change(finite, ALARM_WINDOW)[1]


RULES: dict[str, Callable[[Rows], str]] = {
    "gamed": lambda rows: gaming_alarm(rows, ALARM_WINDOW),
    "no_spread": no_spread,
    "little_spread": little_spread,
    "same_text": same_text,
    "cut": cut,
    "missing": missing_rewards,
    "far": far,
    "certain": certain,
    "fallen": reward_fall,
    "skipped": skipped_updates,
    "loss_rises": loss_rises,
    "loss_stays": loss_stays,
}
