"""A distilled encoder for one script: hashed features -> table -> small dense head -> unit vector in the
teacher's space.

The teacher (the multilingual USE unless another is named) knows other languages. `reward.distil` trains this
student to give a text the vector of its translation (multilingual knowledge distillation, Reimers & Gurevych,
EMNLP 2020). Both share one space, so `encode` sends each text to the one that knows its script, and cosines
across languages need nothing more.

As in `reward.encoders.use`, a text's vector must not depend on its batch: sums run within one text and every
matrix product has one shape.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from data.checksums import sha256_of
from data.documents import read_object
from data.errors import InputError
from data.model_folder import tensor_shapes
from data.script import SCRIPT_NAMES, is_han, known_code, script_share, tibetan_syllables
from reward.encoders.features import BAGS, BUCKETS, SETTINGS, bags, units_of
from reward.encoders.folder import read_weights
from reward.encoders.pooling import BLOCK_ROWS, in_blocks
from reward.encoders.use import load_use

if TYPE_CHECKING:
    from reward.encoder import Encoder

FORMAT = 1
WEIGHTS_FILE = "student.safetensors"
FACTS_FILE = "student.json"
COMMAND = "python -m reward.distil --config configs/encoder_bo.toml"
REMAKE = "type: python -m reward.distil, with the arguments that made it"
TIBETAN = "Tibt"  # script and teacher of a student whose facts name none
USE = "use"
DIM = 512  # of USE
MIN_SHARE = 0.3  # of a text's characters in the student's script; product names may be the rest
CHUNK_TEXTS = 1024  # worked on at once: bounds memory
ARITHMETIC = f"student, blocks of {BLOCK_ROWS} rows"
# load_student checks the teacher's vectors of them
PROBE_TEXTS = ("保存文件", "Save the file", "窗口未打开。", "Three new messages")
PROBE_TOLERANCE = 1e-3


class Student(nn.Module):
    """Features of n texts (`reward.encoders.features.Bags`) in `script` -> unit rows (n, dim)."""

    def __init__(
        self,
        width: int,
        hidden: int,
        generator: torch.Generator | None = None,
        *,
        script: str = TIBETAN,
        dim: int = DIM,
    ) -> None:
        super().__init__()
        self.width = width
        self.hidden = hidden
        self.script = script
        self.dim = dim
        self.units = units_of(script)
        self.table = nn.Parameter(0.1 * torch.randn(BUCKETS, width, generator=generator))
        self.norm = nn.LayerNorm(BAGS * width)
        self.inner = nn.Linear(BAGS * width, hidden)
        self.outer = nn.Linear(hidden, dim)
        for layer in (self.inner, self.outer):
            nn.init.trunc_normal_(layer.weight, std=layer.in_features**-0.5, generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Flat table rows (T,) and bag sizes (2n,) -> unit rows (n, dim); for training, any batch."""
        return F.normalize(self.head(self.pool_bags(ids, lengths)), dim=1)

    def pool_bags(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Mean of each bag, the bags of a text side by side: (T,), (2n,) -> (n, 2 * width)."""
        means = F.embedding_bag(
            ids, self.table, lengths.cumsum(0) - lengths, mode="mean", sparse=self.training
        )
        return means.view(-1, BAGS * self.width)

    def head(self, means: Tensor) -> Tensor:
        """(n, 2 * width) -> (n, dim), not yet of unit length."""
        return self.outer(F.gelu(self.inner(self.norm(means))))

    @torch.inference_mode()
    def rows(self, texts: Sequence[str]) -> Tensor:
        """Unit rows (n, dim) of texts, bit-equal in every batch."""
        chunks = (texts[start : start + CHUNK_TEXTS] for start in range(0, len(texts), CHUNK_TEXTS))
        means = [self.pool_bags(*bags([self.units(text) for text in chunk]).tensors()) for chunk in chunks]
        return (
            F.normalize(in_blocks(self.head, torch.cat(means)), dim=1) if means else torch.empty(0, self.dim)
        )


def is_for_student(text: str, script: str = TIBETAN) -> bool:
    """Whether a text goes to the student of `script`: enough of it is in that script, and in Tibetan it has
    no more Han characters than syllables.

    >>> [is_for_student(text) for text in ("\u0f56\u0f7c\u0f51\u0f0b\u0f61\u0f72\u0f42 PDF", "\u6253\u5f00", "open")]
    [True, False, False]
    >>> is_for_student("open", "Latn")
    True
    """
    enough = script_share(text, script) >= MIN_SHARE
    return enough and (script != TIBETAN or tibetan_syllables(text) >= sum(map(is_han, text)))


class StudentEncoder:
    """Encodes texts of the student's script by the student and all others by its teacher; an `Encoder`."""

    def __init__(self, student: Student, teacher: "Encoder", facts: dict[str, Any]) -> None:
        self.student = student.eval()
        self.teacher = teacher
        self.facts = facts
        self.dim = student.dim
        identity = [
            ARITHMETIC,
            facts["weights_sha256"],
            facts["features"],
            student.script,
            MIN_SHARE,
            teacher.fingerprint,
        ]
        self.fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Unit rows (n, dim), fp32, on the CPU; row i depends on texts[i] alone."""
        for_student = torch.tensor(
            [is_for_student(text, self.student.script) for text in texts], dtype=torch.bool
        )
        rows = torch.empty(len(texts), self.dim)
        with torch.autocast("cpu", enabled=False):
            rows[for_student] = self.student.rows(
                [text for text, is_student in zip(texts, for_student.tolist(), strict=True) if is_student]
            )
        rows[~for_student] = self.teacher.encode(
            [text for text, is_student in zip(texts, for_student.tolist(), strict=True) if not is_student]
        )
        return rows


def save_student(student: Student, teacher: "Encoder", facts: dict[str, Any], folder: Path) -> None:
    """Write weights and facts into an existing folder; `facts` record how the student was made."""
    weights = {name: tensor.detach().contiguous() for name, tensor in student.state_dict().items()}
    save_file(weights | {"compass": teacher.encode(PROBE_TEXTS)}, folder / WEIGHTS_FILE)
    shape = {
        "format": FORMAT,
        "width": student.width,
        "hidden": student.hidden,
        "dim": student.dim,
        "script": student.script,
    }
    facts = (
        shape
        | {
            "features": SETTINGS,
            "weights_sha256": sha256_of(folder / WEIGHTS_FILE),
            "teacher": teacher.fingerprint,
        }
        | facts
    )
    (folder / FACTS_FILE).write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def teacher_of(folder: Path) -> str:
    """The name of the teacher of the student in a folder. Raises InputError."""
    name = _facts(folder).get("teacher_name", USE)
    if not isinstance(name, str):
        raise InputError(
            f"{folder / FACTS_FILE}: teacher_name = {name!r}: must be the name of an encoder; restore the file"
        )
    return name


def load_student(folder: Path, teacher: "Encoder | None" = None) -> StudentEncoder:
    """Load a student from a folder of `save_student`, with its teacher (None: USE on the CPU). Raises
    InputError for files that cannot be used.
    """
    facts, weights = _read_folder(folder)
    teacher = teacher or load_use(torch.device("cpu"))
    compass = weights.pop("compass")
    vectors = teacher.encode(PROBE_TEXTS)
    if vectors.shape != compass.shape or (vectors - compass).abs().max() > PROBE_TOLERANCE:
        raise InputError(
            f"{folder}: this student was distilled from another version of its teacher; delete it and {REMAKE}"
        )
    student = Student(facts["width"], facts["hidden"], script=facts["script"], dim=facts["dim"])
    student.load_state_dict(weights)
    return StudentEncoder(student, teacher, facts)


def find_student(cache: Path, setting: str = "reward.encoder") -> Path:
    """The folder of the newest finished student in the cache. Raises InputError with the command that makes one."""
    students = sorted(
        cache.glob(f"encoders/bo-*/{FACTS_FILE}"), key=lambda path: (path.stat().st_mtime, path)
    )
    if not students:
        raise InputError(f"{setting}: no Tibetan encoder yet; type: {COMMAND}")
    return students[-1].parent


def _facts(folder: Path) -> dict[str, Any]:
    try:
        return read_object(folder / FACTS_FILE)
    except InputError as error:
        raise InputError(f"{folder} holds no readable student ({error}); delete it and {REMAKE}") from error


def _read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read facts and weights of a student's folder and check them against each other."""
    facts = {"script": TIBETAN, **_facts(folder)}
    if facts.get("format") != FORMAT or facts.get("features") != SETTINGS:
        raise InputError(
            f"{folder} holds a student of another version (format {facts.get('format')}); delete it and {REMAKE}"
        )
    if not isinstance(facts["script"], str) or known_code(facts["script"]) != facts["script"]:
        raise InputError(
            f"{folder / FACTS_FILE}: script = {facts['script']!r}: known scripts are {', '.join(SCRIPT_NAMES)}"
        )
    try:
        digest = sha256_of(folder / WEIGHTS_FILE)
    except OSError as error:
        raise InputError(
            f"{folder / WEIGHTS_FILE} cannot be read ({error.strerror}); delete {folder} and {REMAKE}"
        ) from error
    if digest != facts.get("weights_sha256"):
        raise InputError(
            f"{folder / WEIGHTS_FILE} was changed or damaged after it was made; delete {folder} and {REMAKE}"
        )
    width, hidden, dim = sizes = [facts.get(name, 0) for name in ("width", "hidden", "dim")]
    shapes = tensor_shapes(folder / WEIGHTS_FILE)
    whole = all(type(size) is int for size in sizes)
    stored_shapes = [shapes.get("table"), shapes.get("inner.weight"), shapes.get("outer.weight")]
    if not whole or stored_shapes != [[BUCKETS, width], [hidden, BAGS * width], [dim, hidden]]:
        raise InputError(
            f"{folder / FACTS_FILE}: width = {width}, hidden = {hidden}, dim = {dim} are not those of its weights; restore the file"
        )
    return facts, read_weights(
        folder / WEIGHTS_FILE, {"compass": (len(PROBE_TEXTS), dim), **_shapes(width, hidden, dim)}
    )


def _shapes(width: int, hidden: int, dim: int) -> dict[str, tuple[int, ...]]:
    """The tensors of a student, by name."""
    with torch.device("meta"):
        return {
            name: tuple(tensor.shape) for name, tensor in Student(width, hidden, dim=dim).state_dict().items()
        }
