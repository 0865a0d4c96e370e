"""`python -m reward.distil`: a sentence encoder for Tibetan script, taught by one for Chinese and English.

Importing `grpo` checks that nothing hides a package of this project.
"""

import grpo  # noqa: F401
