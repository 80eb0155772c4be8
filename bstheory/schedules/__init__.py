"""Batch size, learning rate, betas and weight decay as pure functions of what has been consumed."""

from bstheory.schedules.parsing import parse as parse
from bstheory.schedules.schedule import Schedule as Schedule
from bstheory.schedules.walk import Position as Position
from bstheory.schedules.walk import batch_sizes as batch_sizes
from bstheory.schedules.walk import runs as runs
