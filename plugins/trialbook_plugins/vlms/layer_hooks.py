"""Reading what passes through modules in one forward pass, which ends where the last of them has run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn

from trialbook import TrialbookError
from trialbook_plugins.hub import first_line
from trialbook_plugins.vlms.architecture import Area


class LayerHook(NamedTuple):
    """A place that is read.

    Args:
        name: of the point.
        side: ``"in"`` or ``"out"``.
        path: of the module.
        area: that it belongs to; its ``path`` is one of the model.
        block: number of the block, from 1, whose input or output it is; 0 for anything else.
    """

    name: str
    side: str
    path: str
    area: Area
    block: int = 0

    @property
    def where(self) -> str:
        """``out:model.language_model.layers.7``."""
        return f"{self.side}:{self.path}"

    @property
    def state(self) -> int:
        """Number of the hidden state: that of a block for its output, the one before for its input."""
        return self.block if self.side == "out" else self.block - 1


class _Done(Exception):
    """Everything was read."""


def read(
    model: nn.Module,
    hooks: Sequence[LayerHook],
    arguments: Mapping[str, Any],
    change: tuple[str, Callable[[Tensor], Tensor]] | None = None,
) -> dict[str, Tensor]:
    """Return what passes at ``hooks`` while the model is called, by name; the call ends early.

    Args:
        model: called with ``arguments``.
        hooks: what to read.
        arguments: keyword arguments of the call.
        change: path of a module and what its output is replaced by.

    Raises:
        TrialbookError: a module did not run.
    """
    modules = dict(model.named_modules())
    found: dict[str, Tensor] = {}

    def note(hook: LayerHook, value: Any) -> None:
        if hook.name not in found:
            found[hook.name] = tensor_of(value, hook.where)
            if len(found) == len(hooks):
                raise _Done

    with ExitStack() as stack:
        if change is not None:
            stack.enter_context(_changed(modules[change[0]], change[1]))
        for hook in hooks:
            handle = _attach(modules[hook.path], hook, note)
            stack.callback(handle.remove)
        try:
            model(**arguments)
        except _Done:
            pass
        except (TypeError, ValueError) as error:
            raise TrialbookError(
                f"{type(model).__name__} refuses the inputs that were made for it: {first_line(error)}"
            ) from error
    if missing := [hook for hook in hooks if hook.name not in found]:
        raise TrialbookError(
            f"'{missing[0].path}' did not run when the model was called, so point '{missing[0].name}' has no tokens; a list "
            "of blocks is never called itself: name one of its blocks"
        )
    return found


def tensor_of(value: Any, where: str) -> Tensor:
    """The tensor of a module's output or input: itself, the first of a tuple, or ``last_hidden_state``."""
    if isinstance(value, Tensor):
        return value
    if (state := getattr(value, "last_hidden_state", None)) is not None:
        found: Tensor = state
        return found
    if isinstance(value, tuple | list) and value:
        return tensor_of(value[0], where)
    raise TrialbookError(f"'{where}' is a {type(value).__name__}, not tokens")


def _attach(module: nn.Module, hook: LayerHook, note: Callable[[LayerHook, Any], None]) -> Any:
    if hook.side == "out":
        return module.register_forward_hook(lambda _, __, output: note(hook, output))

    def before(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        note(hook, given[0] if given else next(v for v in named.values() if isinstance(v, Tensor)))

    return module.register_forward_pre_hook(before, with_kwargs=True)


@contextmanager
def _changed(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    def replace(_: nn.Module, __: Any, output: Any) -> Any:
        if isinstance(output, Tensor):
            return change(output)
        return type(output)((change(output[0]), *output[1:]))

    handle = module.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()
