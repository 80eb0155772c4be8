"""Batch size, learning rate, betas and weight decay as pure functions of what has been consumed."""

from bstheory.schedules.open_loop import Seesaw as Seesaw
from bstheory.schedules.open_loop import beta_from_batch_size as beta_from_batch_size
from bstheory.schedules.open_loop import curve as curve
from bstheory.schedules.open_loop import increments as increments
from bstheory.schedules.open_loop import late_switch as late_switch
from bstheory.schedules.open_loop import one_cycle as one_cycle
from bstheory.schedules.open_loop import scaled as scaled
from bstheory.schedules.open_loop import seesaw as seesaw
from bstheory.schedules.open_loop import sequence as sequence
from bstheory.schedules.open_loop import stage_table as stage_table
from bstheory.schedules.open_loop import warmup_cosine as warmup_cosine
from bstheory.schedules.open_loop import warmup_stable_decay as warmup_stable_decay
from bstheory.schedules.open_loop import weight_decay_timescale as weight_decay_timescale
from bstheory.schedules.parsing import parse as parse
from bstheory.schedules.schedule import Schedule as Schedule
from bstheory.schedules.walk import Position as Position
from bstheory.schedules.walk import batch_sizes as batch_sizes
from bstheory.schedules.walk import runs as runs
