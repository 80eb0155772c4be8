"""Writing files so that a reader, or a killed process, never sees half of one."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from bstheory.errors import input_error


def atomic_write(path: Path | str, data: bytes | str) -> Path:
    """Write ``data`` to ``path`` through a temporary file in the same folder, fsync, then rename.

    Raises:
        InputError: the folder cannot be created or written; whatever was at ``path`` is untouched.
    """
    path = Path(path)
    payload = data.encode() if isinstance(data, str) else data
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as stream:
            stream.write(payload)
            stream.flush()
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise input_error(
            got=f"output path {str(path)!r}",
            rule=f"it cannot be written ({error.strerror or error})",
            do="choose a writable folder",
        ) from error
    return path


def write_json(path: Path | str, document: Any) -> Path:
    """Write a JSON document atomically; NaN and infinities are refused because JSON has no such numbers."""
    return atomic_write(path, json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON document.

    Raises:
        InputError: the file is missing, unreadable or not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise input_error(
            got=f"file {str(path)!r}", rule=f"it cannot be read ({error.strerror})", do="check the path"
        ) from error
    except (ValueError, RecursionError) as error:
        raise input_error(
            got=f"file {str(path)!r}",
            rule=f"it is not valid JSON ({error})",
            do="restore it from where it came; it may have been truncated",
        ) from error
