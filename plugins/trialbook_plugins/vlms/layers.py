"""Does a point give the layer that it is said to give?

Hidden states are counted in more ways than one: number k is the output of block k where blocks count from 1, the first one is
what enters block 1, and the last one is often behind the final norm. So what a hook gives is held against what goes in and
comes out of each block, in the order in which the model runs them, and against the hidden states that the model returns. In
half precision a block may change less than rounding does when it is computed twice: then the nearest counts.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trialbook.contracts import to_device
from trialbook_plugins.vlms.architecture import Architecture
from trialbook_plugins.vlms.layer_hooks import LayerHook, tensor_of
from trialbook_plugins.vlms.layer_names import block_lists
from trialbook_plugins.vlms.layer_reader import LayerReader
from trialbook_plugins.vlms.module_paths import Paths
from trialbook_plugins.vlms.rounding import alike, distance_between

_SHARE = re.compile(r"\{(\d+)(?:/(\d+))?\}")


@dataclass
class _Passed:
    """The tensors that passed in one call of the whole model.

    Args:
        inputs: what entered each block, by path, in the order in which they ran.
        outputs: what came out.
        states: the hidden states that the model returned, by path of an area.
    """

    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    states: dict[str, Sequence[Tensor | None]] = field(default_factory=dict)


def check_layers(reader: LayerReader, device: torch.device) -> dict[str, str]:
    """Find what is wrong with the layers that hooks read, by name."""
    paths = Paths(reader.model, reader.architecture.aliases)
    raw = np.random.default_rng(0).integers(0, 256, (1, 3, *reader.family.size), dtype=np.uint8)
    prepared = to_device(reader.prepare(raw), device)
    blocks = [hook for hook in reader.hooks if hook.block]
    wrong = {}
    if blocks:
        with torch.no_grad():
            passed = _passed(reader, prepared, blocks, paths)
            given = reader.outputs(prepared, blocks)
            found = {hook.name: _fault(hook, given[hook.name], passed, paths) for hook in blocks}
        wrong = {name: fault for name, fault in found.items() if fault}
    for hook in reader.hooks:
        said = _said(hook, reader.architecture, paths)
        if hook.name not in wrong and said != hook.where:
            wrong[hook.name] = f"'{hook.where}' is read, but the point stands for '{said}'"
    return wrong


def _fault(hook: LayerHook, given: Tensor, passed: _Passed, paths: Paths) -> str:
    """Say why ``given`` is not what the hook's block takes or gives; empty if it is."""
    own = next((all_of for all_of in block_lists(hook.area, paths) if hook.path in all_of), None)
    ran = [path for path in passed.outputs if own is None or path in own]
    if hook.block > len(ran):
        return f"'{hook.where}' is said to be block {hook.block}, but only {len(ran)} ran"
    side, passed_there = ("input", passed.inputs) if hook.side == "in" else ("output", passed.outputs)
    known, states = [passed_there[path] for path in ran], passed.states.get(hook.area.path, ())
    if _is(given, known, hook.block - 1) and own is not None and own[hook.block - 1] == ran[hook.block - 1]:
        return _not_the_state(hook, given, states, paths)
    return f"'{hook.where}' is not the {side} of block {hook.block}{_is_it(given, known, states)}"


def _is_it(given: Tensor, outputs: Sequence[Tensor], states: Sequence[Tensor | None]) -> str:
    """Say which layer it is instead, as far as that shows."""
    fitting = [number for number in range(1, len(outputs) + 1) if _is(given, outputs, number - 1)]
    fitting += [number for number in range(len(states)) if _is(given, states, number)]
    if not fitting:
        return ""
    behind = len(states) - 1 == fitting[0] and not (outputs and _is(given, outputs, len(outputs) - 1))
    return f"; it is hidden state {fitting[0]}" + (", behind the final norm" if behind else "")


def _not_the_state(hook: LayerHook, given: Tensor, states: Sequence[Tensor | None], paths: Paths) -> str:
    """Say why it is not the hidden state of its number; nothing where the model returns none."""
    number, last = hook.state, len(states) - 1
    if number > last or (state := states[number]) is None or _is(given, states, number):
        return ""
    if number == last:
        path = paths.look_up(f"{hook.area.path}.{hook.area.norm}".strip(".")) if hook.area.norm else None
        if path is None or alike(
            tensor_of(paths.modules[path](given), hook.where), state, times=2
        ):  # before and behind it
            return ""
    return f"'{hook.where}' is not the hidden state {number} that the model returns{_is_it(given, (), states)}"


def _passed(reader: LayerReader, prepared: Mapping[str, Tensor], hooks: Sequence[LayerHook], paths: Paths) -> _Passed:
    passed = _Passed()
    modules = dict(reader.model.named_modules())
    areas = {hook.area.path: hook.area for hook in hooks}
    blocks = {path for area in areas.values() for all_of in block_lists(area, paths) for path in all_of}
    with ExitStack() as stack:
        for path in blocks:
            stack.enter_context(_noted(modules[path], path, passed))
        for path, area in areas.items():
            holders = {path, path.rpartition(".")[0]} if area.rows == "sequence" else {path}
            for holder in holders:
                stack.enter_context(_states_noted(modules[holder], path, passed))
        takes = inspect.signature(reader.model.forward).parameters
        asked = "output_hidden_states" in takes or any(p.kind is p.VAR_KEYWORD for p in takes.values())
        reader.model(**reader.arguments(prepared), **({"output_hidden_states": True} if asked else {}))
    return passed


@contextmanager
def _noted(module: nn.Module, path: str, passed: _Passed) -> Iterator[None]:
    def note(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        if path not in passed.outputs:
            entered = given[0] if given else next(value for value in named.values() if isinstance(value, Tensor))
            passed.inputs[path], passed.outputs[path] = entered, tensor_of(output, path)

    handle = module.register_forward_hook(note, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _states_noted(module: nn.Module, path: str, passed: _Passed) -> Iterator[None]:
    def note(_: nn.Module, __: Any, output: Any) -> None:
        if states := getattr(output, "hidden_states", None):
            passed.states.setdefault(path, states)

    handle = module.register_forward_hook(note)
    try:
        yield
    finally:
        handle.remove()


def _said(hook: LayerHook, architecture: Architecture, paths: Paths) -> str:
    """The side and path that the point's name stands for, counted again."""
    side, _, path = architecture.points.get(hook.name, hook.name).partition(":")
    while share := _SHARE.search(path):
        holder = paths.find(path[: share.start()].rstrip("."))
        depth = len(list(paths.modules[holder].children()))
        number = max(-(-depth * int(share[1]) // int(share[2] or 1)), 1)
        path = f"{holder}.{number - 1}{path[share.end() :]}"
    return f"{side}:{paths.find(path)}"


def _is(given: Tensor, candidates: Sequence[Tensor | None], number: int) -> bool:
    """Return whether it is this one of the candidates, but for rounding, and none of the others rather."""
    wanted = candidates[number]
    if wanted is None or not alike(given, wanted):
        return False
    distance = distance_between(given, wanted)
    return not distance or not any(
        distance_between(given, other) < distance
        for other in candidates
        if other is not None and other.numel() == given.numel()
    )
