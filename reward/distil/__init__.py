"""`python -m reward.distil` trains a sentence encoder for Tibetan script; its teacher knows Chinese and
English.

Importing `grpo` checks that no other package hides one of this project.
"""

import grpo  # noqa: F401
