"""Evaluation: metrics, forgetting, preference, reports.

Importing `grpo` checks that no other module hides our packages.
"""

import grpo  # noqa: F401
