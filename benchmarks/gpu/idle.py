"""The share of a while in which a device has nothing to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch.profiler import ProfilerActivity, profile, supported_activities


class Idle:
    """From ``start`` to ``stop``; where there is no GPU to be looked at, operations of the CPU are."""

    def __init__(self) -> None:
        gpu = ProfilerActivity.CUDA in supported_activities()
        self._profile = profile(activities=[ProfilerActivity.CUDA if gpu else ProfilerActivity.CPU])
        self._on_device = gpu

    def start(self) -> None:
        """Begin."""
        self._profile.start()

    def stop(self) -> float:
        """Share of the time, from the first thing that the device did to the last, in which it did nothing."""
        self._profile.stop()
        events = [event for event in self._profile.events() or () if _is_of(event, self._on_device)]
        return idle_share([(event.time_range.start, event.time_range.end) for event in events])


def _is_of(event: object, device: bool) -> bool:
    """Return whether an event is of a GPU, or else of the CPU."""
    return (getattr(event, "device_type", None) is not None) and (
        event.device_type.name == ("CUDA" if device else "CPU")
    )  # type: ignore[attr-defined]


def idle_share(spans: Sequence[tuple[float, float]]) -> float:
    """Return what share of the time that the spans lie in is covered by none of them; 1 if there are none."""
    if not spans:
        return 1.0
    begin, end = min(start for start, _ in spans), max(stop for _, stop in spans)
    return 1 - _covered(sorted(spans)) / (end - begin) if end > begin else 0.0


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    covered, reached = 0.0, float("-inf")
    for start, stop in spans:
        covered += max(0.0, stop - max(start, reached))
        reached = max(reached, stop)
    return covered
