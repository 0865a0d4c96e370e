"""Names of all settings, and values of every kind of badness for them."""

import json

from hypothesis import strategies as st

from data.settings import names_below
from grpo.config import Config

KEYS = [*names_below(Config)]
numbers = (
    st.integers(-3, 3000).map(str)
    | st.floats(-2, 2000).map(repr)
    | st.sampled_from(["1e308", "-1e308", "1e-320", "-0.0", "0x10"])
)
MONSTERS = [
    "nan",
    "-inf",
    "+inf",
    "9" * 40,
    "9" * 5000,
    "-" + "9" * 5000,
    "0x" + "f" * 9000,
    "0b1",
    "1_0",
    "true",
]
MONSTERS += [
    "1979-05-27",
    "07:32:00",
    "1979-05-27T07:32:00Z",
    "{cosine = {a = 1979-05-27}}",
    "1\n[data]\nx=1",
]
MONSTERS += [
    "[]",
    "{}",
    "[[]]",
    "[" * 60 + "]" * 60,
    "[" * 5000,
    "{a=" * 2000,
    '["script", 3]',
    "{cosine = nan}",
    "{script = -inf}",
]
MONSTERS += ["''", '"' + "x" * 4000 + '"', '"\\u0000"', '"~no.such.user/x"', "'../..'", '{"" = 1}']
MONSTERS += ['{"~no.such.user/x.py:f" = 1.0}', '{"x\\u0000.py:f" = 1.0}', '{"' + "d" * 300 + '.py:f" = 1.0}']
strings = (
    st.text(max_size=12).map(json.dumps)
    | st.text(max_size=12)
    | st.sampled_from(["auto", "cpu", "none", "std", "k3", "use", "zh"])
)
lists = st.lists(strings, max_size=3).map(lambda items: f"[{', '.join(items)}]")
toml_values = st.one_of(numbers, st.sampled_from(MONSTERS), strings, lists)
