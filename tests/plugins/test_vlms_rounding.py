"""Self-tests of vision-language models in half precision: what differs by rounding passes, what is another layer or order does
not; and on a GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers")

from trialbook.errors import TrialbookError
from trialbook.testing import pretend_cuda
from trialbook_plugins.encoders.hf_vlm import HFVLM
from trialbook_plugins.vlms import architectures as tables
from trialbook_plugins.vlms.architecture import Architecture
from trialbook_plugins.vlms.layers import check_layers
from trialbook_plugins.vlms.order import ORDERS
from trialbook_plugins.vlms.position_code_check import check_by_position_codes
from trialbook_plugins.vlms.rounding import alike, rounding, tolerances

CPU = torch.device("cpu")
KNOWN = {one.name: one for one in vars(tables).values() if isinstance(one, Architecture) and one.tiny}
QUICK = ("llava-next", "internvl", "qwen2.5-vl", "cogvlm2")
FAMILIES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in KNOWN]


def tiny(name: str) -> HFVLM:
    return HFVLM(tiny=name, layers=list(KNOWN[name].points), dtype="bfloat16").eval()


def disturb_by_rounding(encoder: HFVLM, path: str) -> None:
    """Let a module round some of its results, others in each call, to the next number."""
    generator = torch.Generator().manual_seed(0)

    def other(value: Tensor) -> Tensor:
        up = torch.randint(0, 2, value.shape, generator=generator)
        return (value.float() * (1 + up * 2.0**-8)).to(value.dtype)

    def hook(_: Any, __: Any, output: Any) -> Any:
        return (other(output[0]), *output[1:]) if isinstance(output, tuple) else other(output)

    encoder.tapped.model.get_submodule(path).register_forward_hook(hook)


@pytest.mark.parametrize("name", FAMILIES)
def test_layers_that_are_rounded_apart_pass_and_the_ones_beside_them_do_not(name: str) -> None:
    encoder = tiny(name)
    encoder.verify()
    last = next(hook for hook in reversed(encoder.tapped.hooks) if hook.block > 1)
    before = last.path.rpartition(".")[0] + f".{last.block - 2}"
    encoder.tapped.hooks = [last]
    disturb_by_rounding(encoder, last.path)
    assert check_layers(encoder.tapped, CPU) == {}
    encoder.tapped.hooks = [last._replace(path=before)]
    with pytest.raises(TrialbookError, match=f"is not the output of block {last.block}"):
        encoder.verify()


@pytest.mark.parametrize("block", [2, 3])
def test_a_layer_nearer_to_its_neighbours_than_a_rounding_is_not_taken_for_one_of_them(block: int) -> None:
    """Blocks of a new InternViT scale what they add by 0.1: neighbours differ less than bfloat16 may round."""
    encoder = HFVLM(tiny="internvl", layers=["all"], dtype="bfloat16").eval()
    vision = [hook for hook in encoder.tapped.hooks if hook.block and "vision" in hook.path]
    right, wrong = vision[block - 1], vision[block]
    encoder.tapped.hooks = [right]
    assert check_layers(encoder.tapped, CPU) == {}
    encoder.tapped.hooks = [right._replace(path=wrong.path)]
    assert "is not the output" in check_layers(encoder.tapped, CPU)[right.name]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("shift", [(1, 0), (0, 1)])
def test_a_wrong_order_is_refused_in_half_precision(
    name: str, shift: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = tiny(name)
    placed = [hook for hook in encoder.tapped.hooks if hook.area.order != "none" and hook.area.rows != "map"]
    encoder.tapped.hooks = placed
    assert all(one.passed for one in encoder.check_order().values())
    for order in {hook.area.order for hook in placed}:
        monkeypatch.setitem(ORDERS, order, lambda grid, right=ORDERS[order]: right(grid).roll(shift, dims=(0, 1)))
    assert not any(one.passed for one in encoder.check_order().values())


def test_tokens_that_the_picture_does_not_reach_are_not_read_from_their_rounding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rounded again in every row, they would differ from themselves, and spell out any place."""
    encoder = HFVLM(tiny="vision", layers=["V1"], dtype="bfloat16").eval()
    (hook,) = encoder.tapped.hooks
    generator = torch.Generator().manual_seed(0)

    def blind(_: Any, __: Any, output: Any) -> Any:
        value = output[0] if isinstance(output, tuple) else output
        up = torch.randint(0, 2, value.shape, generator=generator)
        made = ((1 + up * 2.0**-8) * torch.ones_like(value)).to(value.dtype)
        return (made, *output[1:]) if isinstance(output, tuple) else made

    encoder.tapped.model.get_submodule(hook.path).register_forward_hook(blind)
    assert check_by_position_codes(encoder.tapped, [hook], 4, CPU) == {hook.name: None}
    assert not encoder.check_order()[hook.name].passed


def test_tolerances_are_those_of_the_number_format() -> None:
    assert [rounding(dtype) for dtype in (torch.bfloat16, torch.float16)] == [2**-8, 2**-11]
    values = torch.randn(4096, generator=torch.Generator().manual_seed(0))
    for dtype in (torch.bfloat16, torch.float16):
        one = values.to(dtype)
        step = torch.nextafter(one, torch.full_like(one, torch.inf))
        assert alike(one, step)
        assert alike(one.view(64, 64), step)
        assert not alike(one, one.roll(1))
        assert not alike(one, torch.nextafter(torch.nextafter(step, step + 1), step + 1) * 1.02)
    assert tolerances(values) == {"rtol": 1e-3, "atol": 1e-5}  # as ever
    assert not alike(values, values[1:])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_is_tried_and_read_on_the_device(name: str) -> None:
    encoder = HFVLM(tiny=name, layers=list(KNOWN[name].points)).eval()
    raw = torch.randint(0, 256, (2, 3, *encoder.tapped.family.size), dtype=torch.uint8).numpy()
    with torch.no_grad():
        expected = encoder.encode_layers(encoder.prepare(raw))
    with pretend_cuda() as device:
        encoder.to("cuda")
        encoder.verify()
        with torch.no_grad(), device.phase("read"):
            found = encoder.encode_layers({key: value.to("cuda") for key, value in encoder.prepare(raw).items()})
        assert {one for one in device.waits if one.phase == "read" and not one.library} == set()
        for point, tokens in found.items():
            assert tokens.device == device.device
            torch.testing.assert_close(tokens.cpu(), expected[point], rtol=1e-3, atol=1e-4)
        encoder.to("cpu")
