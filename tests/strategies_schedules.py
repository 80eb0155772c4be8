"""Hypothesis strategies for schedules: every curve, with valid parameters."""

from __future__ import annotations

from hypothesis import strategies as st

from bstheory.schedules import Schedule

clocks = st.integers(min_value=0, max_value=10**6)
lengths = st.integers(min_value=1, max_value=10**6)
sizes = st.integers(min_value=1, max_value=4096)


def make(name: str, quantity: str = "batch_size", **params: object) -> Schedule:
    return Schedule(name=name, quantity=quantity, unit="tokens", params=params)


@st.composite
def stage_schedules(draw: st.DrawFn) -> Schedule:
    gaps = draw(st.lists(st.integers(min_value=1, max_value=5000), max_size=5))
    thresholds = [0]
    for gap in gaps:
        thresholds.append(thresholds[-1] + gap)
    values = draw(st.lists(sizes, min_size=len(thresholds), max_size=len(thresholds)))
    return make("stages", thresholds=tuple(thresholds), values=tuple(values))


@st.composite
def ramps(draw: st.DrawFn) -> Schedule:
    name = draw(st.sampled_from(["linear", "geometric", "cosine", "polynomial", "staircase", "exponential"]))
    start, begin, over = draw(sizes), draw(clocks), draw(lengths)
    if name == "staircase":
        increment, count = draw(sizes), draw(st.integers(min_value=1, max_value=50))
        end = start + increment * count
        return make(name, start=start, end=end, increment=increment, begin=begin, over=over)
    if name == "exponential":
        interval = draw(st.integers(min_value=max(1, over // 8), max_value=10**6))
        return make(
            name,
            start=start,
            factor=draw(st.sampled_from([1.05, 1.5, 2, 3])),
            interval=interval,
            over=over,
            begin=begin,
            staircase=draw(st.booleans()),
        )
    extra = {}
    if name == "polynomial":
        extra = {"power": draw(st.sampled_from([0.5, 1, 2, 3.5])), "mirror": draw(st.booleans())}
    return make(name, start=start, end=draw(sizes), begin=begin, over=over, **extra)


smooth = ramps() | stage_schedules() | sizes.map(lambda value: make("constant", value=value))
integer_schedules = st.builds(
    lambda s, multiple: s.rounded(multiple=multiple, mode="up"),
    smooth,
    st.integers(min_value=1, max_value=64),
)


@st.composite
def joined(draw: st.DrawFn) -> Schedule:
    parts = draw(st.lists(smooth, min_size=1, max_size=3))
    gaps = draw(st.lists(lengths, min_size=len(parts) - 1, max_size=len(parts) - 1))
    thresholds = [0]
    for gap in gaps:
        thresholds.append(thresholds[-1] + gap)
    return make("join", thresholds=tuple(thresholds), schedules=tuple(parts))


any_schedule = smooth | integer_schedules | joined()
