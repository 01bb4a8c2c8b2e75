"""Files that are written whole or not at all.

Not concerned with what stands in them.
"""

import os
import secrets
from pathlib import Path


def write_atomic(path: Path, content: str | bytes) -> None:
    """Puts `content` (text as UTF-8) at `path` in one step: a reader sees the old file or the new one, never a part.

    The mode of an existing file is kept, and a link goes on pointing to its file. Raises OSError, and then leaves
    what was there.
    """
    place = Path(path).resolve()
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = place.with_name(f".writing-{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if place.exists():
            temporary.chmod(place.stat().st_mode & 0o7777)
        temporary.replace(place)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(place.parent)


def _sync_folder(folder: Path) -> None:
    """The new name itself outlives a power cut only when its folder is on the disk too."""
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
