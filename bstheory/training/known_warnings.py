"""Warnings of transformers, peft and torchao that are known and harmless for fine-tuning: these alone, each
by its logger and words, are kept from the terminal. Any other still shows.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

# torchao is imported by peft and transformers; its compiled kernels, which are not used here, may be built
# for another Python or GPU, and its enumerations are registered in a way that a later PyTorch will refuse.
LOGGED = {
    "torchao": ("Failed to load ",),
    "torch.utils._pytree": ("%s is an Enum subclass and is now natively supported",),
}
# peft asks transformers by the attribute's old name.
WARNED = ("`is_gradient_checkpointing` is deprecated",)


def _other(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(LOGGED[record.name])


@contextlib.contextmanager
def without_known_warnings() -> Iterator[None]:
    """While inside, the warnings of this module are not shown."""
    loggers = [logging.getLogger(name) for name in LOGGED]
    with warnings.catch_warnings():
        for words in WARNED:
            warnings.filterwarnings("ignore", message=words, category=FutureWarning)
        for logger in loggers:
            logger.addFilter(_other)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeFilter(_other)
