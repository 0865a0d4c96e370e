"""The tax budget's controller: which KL coefficient follows a measurement of the tax, and from which state
training goes on. Pure functions.

The tax is what training has cost on general text, in nats per token; a budget is its limit. Within it the
coefficient moves in log space, up where the tax that the next measurement would find on the present slope
passes SET_POINT of the budget, down to the configured coefficient where it does not: that one is the trade
the user has chosen, and a budget is a limit, not a goal. So a run that stays below the set point is, bit for
bit, the run without a budget. Beyond the budget the last state within it is taken up again, under a
coefficient GO_BACK times as large, up to HIGHEST, and at half the learning rate from then on: near the
reference the KL term has no gradient, and Adam's steps are as long under any coefficient, so the length is
what can be counted on.
"""

from dataclasses import dataclass, replace

SET_POINT = 0.7  # share of the budget that is aimed at: the rest is for what a measurement finds too late
# largest factors up and down after one measurement; careful to relax, as going back costs steps
TIGHTEN = 3.0
RELAX = 1.25
GO_BACK = 4.0
HIGHEST = 10.0
SLOWER = 0.5
STRIKES = 3  # times gone back in a row after which training ends


@dataclass(frozen=True)
class SafeState:
    """The last state within the budget.

    step     after which it was measured
    tax      of it
    strikes  how often in a row training has gone back to it
    pace     the factor on the learning rate
    """

    step: int
    tax: float
    strikes: int = 0
    pace: float = 1.0

    @property
    def is_final(self) -> bool:
        return self.strikes >= STRIKES


def after_measurement(safe: SafeState, step: int, tax: float, budget: float) -> SafeState:
    """The last state within the budget after `tax` was measured at `step`. A tax that is not a number is
    beyond every budget.

    >>> after_measurement(SafeState(5, 0.01, strikes=2), 10, 0.02, budget=0.02)
    SafeState(step=10, tax=0.02, strikes=0, pace=1.0)
    >>> after_measurement(SafeState(5, 0.01), 10, 0.021, budget=0.02)
    SafeState(step=5, tax=0.01, strikes=1, pace=0.5)
    """
    if tax <= budget:
        return SafeState(step, tax, pace=safe.pace)
    return replace(safe, strikes=safe.strikes + 1, pace=safe.pace * SLOWER)


def next_coefficient(kl_coef: float, tax: float, before: float, budget: float, lowest: float) -> float:
    """The KL coefficient until the next measurement; `before` is the tax of the state that the steps just
    measured began from.

    On the slope of (0.004, 0.009) the next tax would be 0.014 = SET_POINT x 0.02, and the coefficient stays;
    0.013 would become 0.022.

    >>> [round(next_coefficient(0.1, tax, 0.004, budget=0.02, lowest=0.05), 4) for tax in (0.009, 0.013, 0.02, 0.021, 0.0)]
    [0.1, 0.1873, 0.3, 0.4, 0.08]
    """
    highest = max(HIGHEST, lowest)
    if not tax <= budget:
        return min(kl_coef * GO_BACK, highest)
    error = max(-1.0, min(1.0, (tax + (tax - before)) / (SET_POINT * budget) - 1))
    return max(lowest, min(highest, kl_coef * (TIGHTEN if error > 0 else RELAX) ** error))
