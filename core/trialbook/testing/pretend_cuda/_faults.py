"""Errors of the pretend device: of the types that CUDA raises, with the operation and its place in the message."""

from __future__ import annotations


class DeviceFault(Exception):
    """Something was done to tensors that a CUDA device does not allow.

    Args:
        message: what torch would say.
        operation: name of the operation.
        place: ``file:line function`` of first-party or plugin code.
    """

    def __init__(self, message: str, operation: str, place: str) -> None:
        super().__init__(f"{message} (pretend CUDA device; {operation} at {place or 'an unknown place'})")
        self.operation, self.place = operation, place


class MixedDevices(DeviceFault, RuntimeError):
    """An operation on tensors of two devices."""


class NotOnHost(DeviceFault, TypeError):
    """A tensor on the device was read as an array of the host."""
