"""Where a model comes from: its kind and its place. Loads nothing."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ModelSource:
    """A transformers folder, or a model on the hub by its name "owner/name". Exactly one of the two is given."""

    folder: Path | None = None
    hub: str = ""

    def __str__(self) -> str:
        """What transformers loads the model by."""
        return self.hub or str(self.folder)

    def files(self) -> Path:
        """The folder with the files; a hub model's is where transformers has put them. Asks no network."""
        if self.folder is not None:
            return self.folder
        from huggingface_hub import snapshot_download  # reads its settings when it is imported

        return Path(snapshot_download(self.hub, local_files_only=True))
