"""Many runs from one warm start, evaluated and compared: `python -m grpo.study`."""
