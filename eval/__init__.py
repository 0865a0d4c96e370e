"""Evaluation: metrics, what training cost elsewhere, preference, reports; importing `grpo` checks that
nothing hides our packages.
"""

import grpo  # noqa: F401
