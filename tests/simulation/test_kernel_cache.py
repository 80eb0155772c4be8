"""Compiled kernels are discarded when, and only when, a source changes."""

from __future__ import annotations

from bstheory.simulation import kernel_cache


def test_an_edit_of_any_source_discards_all_kernels(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    for name in kernel_cache.SOURCES:
        (tmp_path / name).write_text("1\n")
    assert kernel_cache.discard_stale(tmp_path)  # first time: nothing is known about what was compiled
    kept = tmp_path / "__pycache__" / "other.function-1.py311.nbi"
    kernels = [tmp_path / "__pycache__" / f"{n}.advance-1.py311.nbi" for n in ("kernels", "laws")]
    for path in (kept, *kernels):
        path.write_text("compiled")
    assert not kernel_cache.discard_stale(tmp_path)
    assert all(path.exists() for path in kernels)
    (tmp_path / "gradients.py").write_text("2\n")
    assert kernel_cache.discard_stale(tmp_path)
    assert not any(path.exists() for path in kernels) and kept.exists()
    assert not kernel_cache.discard_stale(tmp_path)
    (tmp_path / "gradients.py").write_text("3\n")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "elsewhere"))
    assert not kernel_cache.discard_stale(tmp_path)


def test_the_sources_exist() -> None:
    from pathlib import Path

    folder = Path(kernel_cache.__file__).parent
    compiled = {path.name for path in folder.glob("*.py") if "@numba.njit" in path.read_text()}
    assert compiled <= set(kernel_cache.SOURCES)
