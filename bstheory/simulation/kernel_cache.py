"""Keeps compiled kernels in step with their sources.

numba's on-disk cache notices a change of a function's own file, not of the functions that it calls in other
files: after an edit of one module the kernels of another would keep running the old code, silently. So all
compiled kernels of this package are discarded whenever any of their sources has changed.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

SOURCES = (
    "generator.py",
    "gradients.py",
    "kernels.py",
    "laws.py",
    "matrix_updates.py",
    "moments.py",
    "optimizers.py",
)
STAMP = "kernel_sources.sha256"


def discard_stale(folder: Path) -> bool:
    """Delete numba's cache files in ``folder/__pycache__`` when a source has changed; True if it did.

    Does nothing where ``NUMBA_CACHE_DIR`` puts the cache elsewhere (delete that folder after editing a
    kernel), nor where the folder cannot be written (an installed package does not change).
    """
    if os.environ.get("NUMBA_CACHE_DIR"):
        return False
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update(name.encode() + b"\0" + (folder / name).read_bytes())
    cache, now = folder / "__pycache__", digest.hexdigest()
    stamp = cache / STAMP
    try:
        if stamp.exists() and stamp.read_text() == now:
            return False
        cache.mkdir(exist_ok=True)
        for name in SOURCES:
            for index in cache.glob(f"{Path(name).stem}.*.nbi"):
                index.unlink(missing_ok=True)
        temporary = cache / f"{STAMP}.{os.getpid()}"
        temporary.write_text(now)
        os.replace(temporary, stamp)
    except OSError:
        return False
    return True
