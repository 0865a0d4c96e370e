"""The distilled Tibetan-script encoder: hashed features -> table -> small dense head -> unit vector in the teacher's space.

The teacher is the multilingual USE (`use`), which knows Chinese and English and no Tibetan; `reward.distil` trains this student
to give a Tibetan-script text the vector of its translation (multilingual knowledge distillation, Reimers & Gurevych, EMNLP 2020). Both
live in one space, so `encode` sends every text to the one that can read it, and cosines across languages come free.

As in `reward.encoders.use`, a text's vector must not depend on its batch: sums run inside one text and every matrix product has one shape.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from data.documents import read_object
from data.errors import InputError
from data.manifest import sha256_of
from data.script import is_han, script_share, tibetan_syllables
from reward.encoders.features import BAGS, BUCKETS, SETTINGS, bags, units
from reward.encoders.folder import read_weights, tensor_shapes
from reward.encoders.use import UniversalSentenceEncoder, load_use

FORMAT = 1
WEIGHTS_FILE, FACTS_FILE = "student.safetensors", "student.json"
COMMAND = "python -m reward.distil --config configs/encoder_bo.toml"
DIM = 512
MIN_TIBETAN_SHARE = 0.3  # of a text's characters, from which the student may read it; product names may take the rest
BLOCK_ROWS = 64  # rows of every matrix product
CHUNK_TEXTS = 1024  # worked on at once: bounds memory
ARITHMETIC = f"student, blocks of {BLOCK_ROWS} rows"
COMPASS = ("保存文件", "Save the file", "窗口未打开。", "Three new messages")  # by its vectors of these a teacher is known again
COMPASS_TOLERANCE = 1e-3


class Student(nn.Module):
    """Features of n texts (`reward.encoders.features.Bags`) -> unit rows (n, 512)."""

    def __init__(self, width: int, hidden: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.width, self.hidden = width, hidden
        self.table = nn.Parameter(0.1 * torch.randn(BUCKETS, width, generator=generator))
        self.norm = nn.LayerNorm(BAGS * width)
        self.inner, self.outer = nn.Linear(BAGS * width, hidden), nn.Linear(hidden, DIM)
        for layer in (self.inner, self.outer):
            nn.init.trunc_normal_(layer.weight, std=layer.in_features**-0.5, generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Flat table rows (T,) and bag sizes (2n,) -> unit rows (n, 512); for training, any batch."""
        return F.normalize(self.head(self.pooled(ids, lengths)), dim=1)

    def pooled(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Mean of each bag, the bags of a text side by side: (T,), (2n,) -> (n, 2 * width)."""
        means = F.embedding_bag(ids, self.table, lengths.cumsum(0) - lengths, mode="mean", sparse=self.training)
        return means.view(-1, BAGS * self.width)

    def head(self, pooled: Tensor) -> Tensor:
        """(n, 2 * width) -> (n, 512), not yet of unit length."""
        return self.outer(F.gelu(self.inner(self.norm(pooled))))

    @torch.inference_mode()
    def rows(self, texts: Sequence[str]) -> Tensor:
        """Unit rows (n, 512) of texts, bit-equal in every batch."""
        chunks = (texts[start : start + CHUNK_TEXTS] for start in range(0, len(texts), CHUNK_TEXTS))
        pooled = [self.pooled(*bags([units(text) for text in chunk]).tensors()) for chunk in chunks]
        return F.normalize(self._in_blocks(torch.cat(pooled)), dim=1) if pooled else torch.empty(0, DIM)

    def _in_blocks(self, pooled: Tensor) -> Tensor:
        filled = F.pad(pooled, (0, 0, 0, -len(pooled) % BLOCK_ROWS))
        return torch.cat([self.head(block) for block in filled.split(BLOCK_ROWS)])[: len(pooled)]


def reads(text: str) -> bool:
    """True for a text that the student reads: Tibetan script, and no more Han characters in it than syllables.

    >>> reads("\u0f56\u0f7c\u0f51\u0f0b\u0f61\u0f72\u0f42 PDF"), reads("\u6253\u5f00"), reads("open"), reads("")
    (True, False, False, False)
    """
    return script_share(text, "Tibt") >= MIN_TIBETAN_SHARE and tibetan_syllables(text) >= sum(map(is_han, text))


class StudentEncoder:
    """The student for Tibetan script and its teacher for everything else; an `Encoder`."""

    dim = DIM

    def __init__(self, student: Student, teacher: UniversalSentenceEncoder, facts: dict[str, Any]) -> None:
        self.student, self.teacher, self.facts = student.eval(), teacher, facts
        identity = [ARITHMETIC, facts["weights_sha256"], facts["features"], MIN_TIBETAN_SHARE, teacher.fingerprint]
        self.fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Unit rows (n, 512), fp32, on the CPU; row i depends on texts[i] alone."""
        ours = torch.tensor([reads(text) for text in texts], dtype=torch.bool)
        rows = torch.empty(len(texts), DIM)
        with torch.autocast("cpu", enabled=False):
            rows[ours] = self.student.rows([text for text, mine in zip(texts, ours.tolist(), strict=True) if mine])
        rows[~ours] = self.teacher.encode([text for text, mine in zip(texts, ours.tolist(), strict=True) if not mine])
        return rows


def save_student(student: Student, teacher: UniversalSentenceEncoder, facts: dict[str, Any], folder: Path) -> None:
    """Write weights and facts into an existing folder; `facts` say how the student came to be."""
    weights = {name: tensor.detach().contiguous() for name, tensor in student.state_dict().items()}
    save_file(weights | {"compass": teacher.encode(COMPASS)}, folder / WEIGHTS_FILE)
    shape = {"format": FORMAT, "width": student.width, "hidden": student.hidden, "dim": DIM, "features": SETTINGS}
    facts = shape | {"weights_sha256": sha256_of(folder / WEIGHTS_FILE), "teacher": teacher.fingerprint} | facts
    (folder / FACTS_FILE).write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def load_student(folder: Path, device: torch.device | None = None) -> StudentEncoder:
    """The encoder in a folder of `save_student`, its teacher on `device` (None: the CPU). InputError for files that cannot be used."""
    facts, weights = _read(folder)
    teacher = load_use(device or torch.device("cpu"))
    if (teacher.encode(COMPASS) - weights.pop("compass")).abs().max() > COMPASS_TOLERANCE:
        raise InputError(f"{folder}: this student was distilled from another version of its teacher; delete it and type: {COMMAND}")
    student = Student(facts["width"], facts["hidden"])
    student.load_state_dict(weights)
    return StudentEncoder(student, teacher, facts)


def find_student(cache: Path) -> Path:
    """The folder of the newest finished student in the cache; InputError with the command that makes one."""
    finished = sorted(cache.glob(f"encoders/bo-*/{FACTS_FILE}"), key=lambda path: (path.stat().st_mtime, path))
    if not finished:
        raise InputError(f"reward.encoder: no Tibetan encoder yet; type: {COMMAND}")
    return finished[-1].parent


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Facts and weights of a student's folder, checked against each other."""
    try:
        facts = read_object(folder / FACTS_FILE)
    except InputError as error:
        raise InputError(f"{folder} holds no readable student ({error}); delete it and type: {COMMAND}") from error
    if facts.get("format") != FORMAT or facts.get("features") != SETTINGS:
        raise InputError(f"{folder} holds a student of another version (format {facts.get('format')}); delete it and type: {COMMAND}")
    try:
        digest = sha256_of(folder / WEIGHTS_FILE)
    except OSError as error:
        raise InputError(f"{folder / WEIGHTS_FILE} cannot be read ({error.strerror}); delete {folder} and type: {COMMAND}") from error
    if digest != facts.get("weights_sha256"):
        raise InputError(f"{folder / WEIGHTS_FILE} was changed or damaged after it was made; delete {folder} and type: {COMMAND}")
    width, hidden, shapes = facts.get("width", 0), facts.get("hidden", 0), tensor_shapes(folder / WEIGHTS_FILE)
    whole = type(width) is int and type(hidden) is int
    if not whole or [shapes.get("table"), shapes.get("inner.weight")] != [[BUCKETS, width], [hidden, BAGS * width]]:
        raise InputError(f"{folder / FACTS_FILE}: width = {width}, hidden = {hidden} are not those of its weights; restore the file")
    return facts, read_weights(folder / WEIGHTS_FILE, {"compass": (len(COMPASS), DIM), **_shapes(width, hidden)})


def _shapes(width: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """The tensors of a student, by name."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in Student(width, hidden).state_dict().items()}
