"""The pretend CUDA device behaves as CUDA does, and leaves nothing behind."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trialbook.testing import pretend_cuda
from trialbook.testing.pretend_cuda import MixedDevices, NotOnHost, PretendDevice
from trialbook.testing.pretend_cuda._autocast import FULL, LOWER, REFUSED, SUMMED, WIDEST, operations
from trialbook.testing.pretend_cuda._places import PHASES

CUDA = torch.device("cuda", 0)


@pytest.fixture
def device() -> Iterator[PretendDevice]:
    with pretend_cuda() as found:
        yield found


def on(*shape: int) -> Tensor:
    """Numbers on the device that are always the same."""
    return torch.arange(1.0, 1 + int(np.prod(shape)), device="cuda").reshape(shape)


# --- where tensors lie


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(2, 3, device="cuda"),
        lambda: torch.zeros(2, 3, device=torch.device("cuda", 0)),
        lambda: torch.zeros(2, 3).cuda(),
        lambda: torch.zeros(2, 3).to("cuda:0"),
        lambda: torch.zeros(2, 3).to(0),
        lambda: torch.zeros(2, 3).to(torch.zeros(1, device="cuda")),
        lambda: torch.tensor([[0.0] * 3] * 2, device="cuda"),
        lambda: torch.as_tensor(np.zeros((2, 3), np.float32), device="cuda"),
        lambda: torch.tensor([[torch.zeros((), device="cuda")] * 3] * 2, device="cuda"),
        lambda: torch.zeros(1, device="cuda").new_zeros(2, 3),
        lambda: torch.zeros(1, device="cuda").new_tensor([[0.0] * 3] * 2),
        lambda: torch.zeros_like(torch.ones(2, 3), device="cuda"),
        lambda: torch.ones(2, 3, device="cuda") - 1,
        lambda: torch.ones(2, 3, device="cuda").mul_(0),
        lambda: torch.zeros(6, device="cuda").view(2, 3),
        lambda: torch.stack([torch.zeros(3, device="cuda")] * 2),
        lambda: copy.deepcopy(torch.zeros(2, 3, device="cuda")),
        lambda: pickle.loads(pickle.dumps(torch.zeros(2, 3, device="cuda"))),
        lambda: torch.vmap(lambda row: row * 0)(torch.ones(2, 3, device="cuda")),
    ],
)
def test_a_tensor_of_the_device_says_so(device: PretendDevice, make: Callable[[], Tensor]) -> None:
    made = make()
    assert (made.device, made.is_cuda, made.is_cpu, made.is_meta, made.get_device()) == (CUDA, True, False, False, 0)
    assert made.shape == (2, 3)
    assert repr(made) == "tensor([[0., 0., 0.],\n        [0., 0., 0.]], device='cuda:0')"
    assert made.type() == "torch.cuda.FloatTensor"
    assert torch.equal(made.cpu(), torch.zeros(2, 3))


def test_tensors_of_the_host_and_of_meta_stay_what_they_are(device: PretendDevice) -> None:
    assert torch.zeros(2).device.type == torch.zeros(2, device="cuda").cpu().device.type == "cpu"
    assert type(torch.zeros(2)) is Tensor
    with torch.device("meta"):
        layer = nn.Linear(2, 3)
    assert layer.weight.is_meta
    assert torch.zeros(2, device="cuda").to("meta").device == torch.device("meta")


def test_moving_to_where_it_is_gives_the_tensor_itself(device: PretendDevice) -> None:
    here = on(2, 3)
    assert here.to("cuda") is here
    assert here.cuda() is here
    assert here.to(here.device, torch.float32) is here
    assert here.to("cuda", torch.float64).dtype == torch.float64
    assert not device.copies


def test_a_default_device_and_a_context_make_tensors_there(device: PretendDevice) -> None:
    with torch.device("cuda"):
        assert torch.zeros(2).is_cuda
        assert torch.as_tensor(np.ones(2)).is_cuda
        assert nn.Linear(2, 3).weight.is_cuda
    assert not torch.zeros(2).is_cuda
    torch.set_default_device("cuda")
    assert torch.tensor([1.0]).is_cuda


def test_there_is_one_device(device: PretendDevice) -> None:
    for make in (
        lambda: torch.zeros(2, device="cuda:1"),
        lambda: torch.zeros(2).to("cuda:1"),
        lambda: torch.zeros(2).cuda(1),
    ):
        with pytest.raises(RuntimeError, match="invalid device ordinal"):
            make()


# --- what CUDA refuses


@pytest.mark.parametrize(
    "operate",
    [
        lambda x: x + torch.ones(3),
        lambda x: torch.ones(3) + x,
        lambda x: torch.ones(()).add_(x.sum()),
        lambda x: x.masked_fill(torch.zeros(3, dtype=torch.bool), 0.0),
        lambda x: torch.where(torch.ones(3, dtype=torch.bool), x, x),
        lambda x: torch.cat([x, torch.ones(2, 3)]),
        lambda x: torch.stack([x.sum(), torch.tensor(1.0)]),
        lambda x: x @ torch.ones(3, 2),
        lambda x: F.linear(x, torch.ones(2, 3)),
        lambda x: F.embedding(torch.tensor([0]), x),
        lambda x: F.cross_entropy(x, torch.tensor([0, 1])),
        lambda x: x.gather(1, torch.zeros(2, 1, dtype=torch.int64)),
        lambda x: x.index_select(0, torch.tensor([0])),
        lambda x: x.scatter_add(1, torch.zeros(2, 1, dtype=torch.int64), torch.ones(2, 1)),
        lambda x: torch.ones(2, 3)[x[:, 0].long()],
        lambda x: x.__setitem__(torch.tensor([0]), torch.ones(1, 3)),
        lambda x: torch.add(x, 1.0, out=torch.empty(2, 3)),
        lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None], torch.ones(2, 2, dtype=torch.bool)),
        lambda x: nn.Linear(3, 2)(x),
    ],
)
def test_tensors_of_two_devices_do_not_go_together(device: PretendDevice, operate: Callable[[Tensor], Any]) -> None:
    x = on(2, 3)
    with pytest.raises(MixedDevices, match="same device") as caught:
        operate(x)
    assert isinstance(caught.value, RuntimeError)
    assert "test_pretend_cuda.py:" in caught.value.place
    assert "aten." in caught.value.operation


@pytest.mark.parametrize(
    "operate",
    [
        lambda x: x * torch.tensor(2.0),
        lambda x: torch.tensor(2.0) * x,
        lambda x: torch.where(x > 1, torch.tensor(0.0), x),
        lambda x: x.masked_fill(x > 1, torch.tensor(0.0)),
        lambda x: x.clamp(min=torch.tensor(0.0)),
        lambda x: x.fill_(torch.tensor(0.0)),
        lambda x: torch._foreach_mul([x, x], torch.tensor(2.0))[0],
        lambda x: x.lerp(x, torch.tensor(0.5)),
        lambda x: x + np.float64(1),
        lambda x: x[torch.tensor([0])],
        lambda x: x[[0, 1]],
        lambda x: x[np.array([True, False])],
        lambda x: x.index_put((torch.tensor([0]),), torch.tensor(1.0)),
    ],
)
def test_numbers_and_indices_may_lie_on_the_host(device: PretendDevice, operate: Callable[[Tensor], Tensor]) -> None:
    assert operate(on(2, 3)).is_cuda
    assert not device.waits


@pytest.mark.parametrize("read", [np.asarray, lambda x: x.numpy(), np.isfinite, lambda x: x.detach().numpy()])
def test_a_tensor_of_the_device_is_no_array(device: PretendDevice, read: Callable[[Tensor], Any]) -> None:
    with pytest.raises(NotOnHost, match=r"Use Tensor\.cpu\(\)") as caught:
        read(on(2))
    assert isinstance(caught.value, TypeError)
    assert read(on(2).cpu()).shape == (2,)


def test_lengths_of_packed_sequences_lie_on_the_host(device: PretendDevice) -> None:
    rows, lengths = on(2, 3, 4), torch.tensor([3, 2])
    packed = nn.utils.rnn.pack_padded_sequence(rows, lengths, batch_first=True)
    assert packed.data.is_cuda
    assert not packed.batch_sizes.is_cuda
    with pytest.raises(RuntimeError, match="CPU int64 tensor"):
        nn.utils.rnn.pack_padded_sequence(rows, lengths.cuda(), batch_first=True)


# --- waits and copies


@pytest.mark.parametrize(
    ("kind", "operate"),
    [
        ("item", lambda x: x.sum().item()),
        ("item", lambda x: float(x.sum())),
        ("item", lambda x: bool((x > 1).any())),
        ("item", lambda x: x[x.argmax() // 3]),
        ("item", lambda x: f"{x.sum():.1f}"),
        ("item", lambda x: torch.allclose(x, x)),
        ("item", lambda x: F.one_hot(x.long())),
        ("tolist", lambda x: x.tolist()),
        ("repr", repr),
        ("copy to the CPU", lambda x: x.cpu()),
        ("copy to the CPU", lambda x: x.to("cpu", non_blocking=True)),
        ("copy to the CPU", lambda x: torch.zeros(2, 3).copy_(x)),
        ("nonzero", lambda x: x.nonzero()),
        ("nonzero", lambda x: torch.where(x > 1)),
        ("boolean index", lambda x: x[x > 1]),
        ("boolean index", lambda x: x.__setitem__(x > 1, torch.zeros(5, device="cuda"))),
        ("masked_select", lambda x: x.masked_select(x > 1)),
        ("unique", lambda x: x.unique()),
        ("unique", lambda x: x.unique(dim=0)),
        ("unique", lambda x: x.unique_consecutive()),
        ("equal", lambda x: torch.equal(x, x)),
        ("repeat_interleave", lambda x: x.repeat_interleave(torch.tensor([1, 2], device="cuda"), 0)),
        ("bincount", lambda x: x.flatten().long().bincount()),
        ("multinomial", lambda x: x.multinomial(1)),
        ("eigh", lambda x: torch.linalg.eigh(x.T @ x)),
        ("svd", lambda x: torch.linalg.svd(x)),
        ("check of a linear solver", lambda x: torch.linalg.inv(x[:, :2])),
        ("synchronize", lambda x: torch.cuda.synchronize()),
    ],
)
def test_a_wait_for_the_device_is_counted(device: PretendDevice, kind: str, operate: Callable[[Tensor], Any]) -> None:
    x = on(2, 3)
    with device.phase("step"):
        operate(x)
    assert {one.kind for one in device.waits} == {kind}
    (counted,) = device.waits
    assert (counted.phase, counted.library) == ("step", "")
    assert counted.place.startswith("test_pretend_cuda.py:") or "/test_pretend_cuda.py:" in counted.place
    assert kind in device.report()


@pytest.mark.parametrize(
    "operate",
    [
        lambda x: x.masked_fill(x > 1, 0.0),
        lambda x: x.__setitem__(x > 1, 0.0),
        lambda x: x.__setitem__((slice(None), 0), 1.0),
        lambda x: x.where(x > 1, 0.0),
        lambda x: x.repeat_interleave(2, 0),
        lambda x: x.repeat_interleave(torch.tensor([1, 2], device="cuda"), 0, output_size=3),
        lambda x: F.cross_entropy(x, torch.zeros(2, dtype=torch.int64, device="cuda")),
        lambda x: F.one_hot(x.long(), 7),
        lambda x: F.dropout(x),
        lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None], is_causal=True),
        lambda x: x.topk(2),
        lambda x: x.sort(),
        lambda x: x.cumsum(0).argmax(1),
        lambda x: torch.isin(x, torch.ones(1, device="cuda")),
        lambda x: nn.utils.clip_grad_norm_([nn.Parameter(x)], 1.0),
    ],
)
def test_what_does_not_wait_is_not_counted(device: PretendDevice, operate: Callable[[Tensor], Any]) -> None:
    x = on(2, 3)
    operate(x)
    assert not device.waits


def test_copies_to_the_device_are_counted(device: PretendDevice) -> None:
    here = torch.ones(2, 3)
    there = here.to("cuda", non_blocking=True)
    there.copy_(here)
    torch.tensor([1, 2], device="cuda")
    there[torch.tensor([0])]
    there[0, 0] = 1.0
    kinds = sorted((one.kind, times) for one, times in device.copies.items())
    assert kinds == [("blocking", 1), ("blocking", 1), ("blocking", 1), ("index", 1), ("non-blocking", 1)]
    assert not device.waits


def test_a_library_is_told_from_our_own_code(device: PretendDevice) -> None:
    from accelerate.utils import recursively_apply

    recursively_apply(lambda tensor: tensor, on(2))
    scaler = torch.amp.GradScaler("cuda")
    parameter = nn.Parameter(on(2))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    scaler.scale(parameter.sum()).backward()
    scaler.step(optimizer)
    assert [one.library for one in device.waits] == ["torch"]


def test_waits_can_be_forbidden(device: PretendDevice) -> None:
    x, here = on(2), torch.ones(2)
    torch.cuda.set_sync_debug_mode("error")
    assert torch.cuda.get_sync_debug_mode() == 2
    here.to("cuda", non_blocking=True)
    for operate in (x.sum().item, lambda: here.to("cuda"), x.cpu):
        with pytest.raises(RuntimeError, match="synchronizing CUDA operation"):
            operate()
    torch.cuda.set_sync_debug_mode("warn")
    with pytest.warns(UserWarning, match="synchronizing CUDA operation"):
        x.sum().item()
    torch.cuda.set_sync_debug_mode(0)
    x.sum().item()


def test_the_phases_are_functions_of_the_engine() -> None:
    for module, name in PHASES:
        found = __import__(module, fromlist=["x"])
        kinds = [one for one in vars(found).values() if inspect.isclass(one) and one.__module__ == module]
        assert any(inspect.isfunction(getattr(one, name, None)) for one in [found, *kinds]), f"{module}.{name}"


# --- training


def small(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.GELU(), nn.Dropout(dropout), nn.Linear(8, 2))


def train(model: nn.Module, home: str, **options: Any) -> list[float]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True, **options)
    losses = []
    for step in range(4):
        torch.manual_seed(step)
        rows = torch.randn(16, 4).to(home)
        loss = F.cross_entropy(model(rows), (rows.sum(1) > 0).long())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())
    return [float(loss) for loss in losses]


def test_training_gives_the_losses_of_the_host_and_does_not_wait(device: PretendDevice) -> None:
    expected = train(small(), "cpu")
    model = small().to("cuda")
    with device.phase("train"):
        assert train(model, "cuda") == pytest.approx(expected, rel=1e-5)
    assert {one.kind: times for one, times in device.waits.items()} == {"item": 4}  # the losses, read at the end


def test_modules_keep_their_parameters_when_they_move(device: PretendDevice) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.BatchNorm1d(4))
    model[1].weight = model[0].weight
    before = list(model.parameters())
    model.cuda()
    assert [a is b for a, b in zip(model.parameters(), before, strict=True)] == [True] * len(before)
    assert model[1].weight is model[0].weight
    assert all(isinstance(p, nn.Parameter) and p.is_cuda and p.is_leaf for p in model.parameters())
    assert all(buffer.is_cuda for buffer in model.buffers())
    model(on(3, 4)).sum().backward()
    assert all(p.grad is not None and p.grad.is_cuda for p in model.parameters())
    gradient = model[0].bias.grad.tolist()
    twin = copy.deepcopy(model)
    assert twin[1].weight is twin[0].weight
    assert twin[0].weight.is_cuda
    assert isinstance(twin[0].weight, nn.Parameter)
    model.cpu()
    assert model[0].weight is before[0]
    assert type(before[0]) is nn.Parameter
    assert model[0].bias.grad.tolist() == gradient


def test_state_goes_through_files(device: PretendDevice, tmp_path: Path) -> None:
    model = small().cuda()
    save_file({name: tensor.cpu() for name, tensor in model.state_dict().items()}, tmp_path / "model.safetensors")
    twin = small()
    nn.init.zeros_(twin[0].weight)
    twin.cuda().load_state_dict(load_file(tmp_path / "model.safetensors"))
    x = on(2, 4)
    assert torch.equal(twin(x), model(x))
    save_file(model.state_dict(), tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_data_can_be_replaced_from_either_device(device: PretendDevice) -> None:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.data = parameter.data.cuda()
    assert parameter.is_cuda
    assert isinstance(parameter, nn.Parameter)
    parameter.data = on(3)
    assert parameter.shape == (3,)
    assert (parameter + on(3)).tolist() == [2.0, 4.0, 6.0]
    parameter.data = torch.ones(2)
    assert not parameter.is_cuda


class Marked(nn.Parameter):
    """A parameter of a library's own, which acts when it is moved, as quantised ones do."""

    def to(self, *args: Any, **kwargs: Any) -> Any:
        self.data = super().to(*args, **kwargs).detach() * 2
        return self


def test_parameters_of_a_kind_of_their_own_keep_it(device: PretendDevice) -> None:
    layer = nn.Linear(2, 2, bias=False)
    layer.weight = Marked(torch.ones(2, 2), requires_grad=False)
    layer.weight.note = "kept"
    layer.to("cuda")
    assert isinstance(layer.weight, Marked)
    assert isinstance(layer.weight, nn.Parameter)
    assert layer.weight.is_cuda
    assert layer.weight.note == "kept"
    assert layer(on(1, 2)).is_cuda
    layer.weight.data = torch.ones(2, 2)
    assert type(layer.weight) is Marked
    assert layer.weight.note == "kept"


def test_four_bits_a_weight_compute_on_the_device(device: PretendDevice) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    torch.manual_seed(0)
    layer = bitsandbytes.nn.Linear4bit(64, 32, bias=False, quant_type="nf4", compute_dtype=torch.float32)
    plain = layer.weight.detach().clone()
    x = torch.randn(4, 64, requires_grad=True)
    found = layer.to("cuda")(x.cuda())
    assert found.is_cuda
    assert layer.weight.dtype == torch.uint8
    assert (found.cpu() - x @ plain.T).abs().mean() < 0.1 * (x @ plain.T).abs().mean()
    found.sum().backward()
    assert x.grad is not None


def test_what_is_quantised_afterwards_knows_nothing_of_the_device() -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    with pretend_cuda():
        bitsandbytes.nn.Linear4bit(64, 32, bias=False, quant_type="nf4").to("cuda")
    layer = bitsandbytes.nn.Linear4bit(64, 32, bias=False, quant_type="nf4", compute_dtype=torch.float32).to("cpu")
    assert layer(torch.ones(1, 64)).isfinite().all()


def test_shapes_follow_what_is_changed_in_place(device: PretendDevice) -> None:
    x = on(2, 3)
    assert x.t_().shape == (3, 2)
    assert x.unsqueeze_(0).shape == (1, 3, 2)
    out = torch.empty(0, device="cuda")
    torch.cat([on(2), on(2)], out=out)
    assert out.tolist() == [1.0, 2.0, 1.0, 2.0]
    base = on(2, 3)
    base[0].zero_()
    assert base.tolist() == [[0.0] * 3, [4.0, 5.0, 6.0]]


def test_gradients_pass_through_views_and_moves(device: PretendDevice) -> None:
    leaf = torch.ones(2, 3, requires_grad=True)
    there = leaf.cuda() * 2
    there[0].mul_(3)
    there.sum().backward()
    assert leaf.grad is not None
    assert not leaf.grad.is_cuda
    assert leaf.grad.tolist() == [[6.0] * 3, [2.0] * 3]


def test_fused_adamw_leaves_a_step_out_where_something_was_not_finite(device: PretendDevice) -> None:
    parameter = nn.Parameter(on(3))
    optimizer = torch.optim.AdamW([parameter], lr=0.1, fused=True)
    for found, changes in ((1.0, False), (0.0, True)):
        before = parameter.detach().clone()
        parameter.grad = torch.ones(3, device="cuda")
        optimizer.grad_scale, optimizer.found_inf = None, torch.tensor(found, device="cuda")  # type: ignore[attr-defined]
        optimizer.step()
        assert torch.equal(parameter, before) is not changes


def test_the_scaler_of_half_precision_works(device: PretendDevice) -> None:
    model, scaler = small().cuda(), torch.amp.GradScaler("cuda", init_scale=2.0**40)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    before = copy.deepcopy(model.state_dict())
    for _ in range(2):
        with torch.autocast("cuda", dtype=torch.float16):
            loss = model(on(4, 4)).float().square().mean()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    assert scaler.get_scale() < 2.0**40
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_checkpointed_layers_are_computed_again_on_the_device(device: PretendDevice) -> None:
    from torch.utils.checkpoint import checkpoint

    def layer(x: Tensor) -> Tensor:
        return F.dropout(x * torch.ones(3, device=x.device), 0.5)

    x = on(2, 3).requires_grad_()
    torch.manual_seed(0)
    out = checkpoint(layer, x, use_reentrant=False)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad != 0, out != 0)


# --- autocast


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("operate", "lower"),
    [
        (lambda x: x @ x, True),
        (lambda x: F.linear(x, x), True),
        (lambda x: torch.einsum("ij,jk->ik", x, x), True),
        (lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None]), True),
        (lambda x: F.conv1d(x[None], x[:, :, None]), True),
        (lambda x: nn.MultiheadAttention(3, 1, device="cuda")(x, x, x)[0], True),
        (lambda x: F.softmax(x.to(torch.bfloat16), -1), False),
        (lambda x: F.layer_norm(x.to(torch.bfloat16), (3,)), False),
        (lambda x: x.to(torch.bfloat16).sum(), False),
        (lambda x: x.to(torch.bfloat16).norm(), False),
        (lambda x: x.to(torch.bfloat16).exp(), False),
        (lambda x: x.to(torch.bfloat16) ** 2, False),
        (lambda x: F.mse_loss(x.to(torch.bfloat16), x.to(torch.bfloat16)), False),
        (lambda x: x + 1, False),
        (lambda x: torch.addcmul(x, x.bfloat16(), x), False),
    ],
)
def test_autocast_casts_what_it_casts_on_cuda(
    device: PretendDevice, operate: Callable[[Tensor], Tensor], lower: bool, dtype: torch.dtype
) -> None:
    with torch.autocast("cuda", dtype=dtype):
        assert operate(on(3, 3)).dtype == (dtype if lower else torch.float32)
        assert (on(3, 3).double() @ on(3, 3).double()).dtype == torch.float64
        assert (torch.ones(3, 3) @ torch.ones(3, 3)).dtype == torch.float32  # of the host
    assert operate(on(3, 3)).dtype in (torch.float32, torch.bfloat16)
    assert (on(3, 3) @ on(3, 3)).dtype == torch.float32


def test_autocast_keeps_the_dtype_of_gradients(device: PretendDevice) -> None:
    layer = nn.Linear(3, 3).cuda()
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss = layer(on(2, 3)).square().mean()
        with pytest.raises(RuntimeError, match="unsafe to autocast"):
            F.binary_cross_entropy(on(2).sigmoid(), on(2))
    loss.backward()
    assert loss.dtype == layer.weight.dtype == torch.float32
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32


def test_every_operation_that_torch_casts_has_its_rule() -> None:
    known = LOWER | FULL | SUMMED | WIDEST | REFUSED
    assert {name.partition(".")[0] for name in operations()} <= known
    assert sum(map(len, (LOWER, FULL, SUMMED, WIDEST, REFUSED))) == len(known)


# --- random numbers


def test_the_device_draws_from_its_own_generator(device: PretendDevice) -> None:
    def draw() -> list[Tensor]:
        there = [torch.rand(4, device="cuda"), torch.randperm(9, device="cuda")]
        return [*there, F.dropout(on(4)), torch.randn_like(on(4)), on(4).normal_()]

    torch.manual_seed(3)
    first = draw()
    torch.manual_seed(3)
    torch.rand(100)  # of the host
    again = draw()
    assert all(map(torch.equal, first, again))
    host = torch.get_rng_state()
    torch.cuda.manual_seed_all(3)
    assert torch.equal(torch.rand(4, device="cuda"), first[0])
    state = torch.cuda.get_rng_state()
    drawn = torch.rand(4, device="cuda")
    torch.cuda.set_rng_state(state)
    assert torch.equal(torch.rand(4, device="cuda"), drawn)
    F.dropout(on(4))
    assert torch.equal(host, torch.get_rng_state())


def test_a_generator_belongs_to_one_device(device: PretendDevice) -> None:
    ours, theirs = torch.Generator("cuda").manual_seed(0), torch.Generator().manual_seed(0)
    assert (ours.device, theirs.device.type) == (CUDA, "cpu")
    assert isinstance(theirs, torch.Generator)
    assert isinstance(torch.default_generator, torch.Generator)
    drawn = torch.rand(4, generator=ours, device="cuda")
    assert torch.equal(torch.rand(4, generator=ours.manual_seed(0), device="cuda"), drawn)
    with pytest.raises(RuntimeError, match="Expected a 'cuda' device type for generator but found 'cpu'"):
        torch.rand(4, generator=theirs, device="cuda")
    with pytest.raises(RuntimeError, match="Expected a 'cpu' device type for generator but found 'cuda'"):
        torch.rand(4, generator=ours)


# --- the process around it


def test_torch_says_that_there_is_a_device(device: PretendDevice) -> None:
    assert torch.cuda.is_available()
    assert (torch.cuda.device_count(), torch.cuda.current_device()) == (1, 0)
    assert torch.cuda.get_device_name(CUDA) == torch.cuda.get_device_properties(0).name
    assert torch.cuda.memory_allocated() == torch.cuda.max_memory_allocated(CUDA) == 0
    torch.cuda.reset_peak_memory_stats(CUDA)
    torch.cuda.set_device(0)
    with torch.cuda.device(0), torch.cuda.stream(torch.cuda.Stream()):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        end.record()
    assert begin.elapsed_time(end) >= 0
    assert torch.get_device_module("cuda") is torch.cuda
    assert torch.accelerator.current_accelerator() == torch.device("cuda")


@pytest.mark.parametrize(
    "begin",
    [
        torch.cuda.init,
        lambda: torch.zeros(1, device="cuda"),
        lambda: torch.zeros(1).cuda(),
        torch.cuda.current_device,
        torch.cuda.synchronize,
    ],
)
def test_cuda_is_initialised_when_it_is_first_used(device: PretendDevice, begin: Callable[[], Any]) -> None:
    torch.manual_seed(0)
    torch.zeros(1).double()
    assert torch.cuda.is_available()
    assert not torch.cuda.is_initialized()
    getattr(torch.cuda, begin.__name__, begin)()
    assert torch.cuda.is_initialized()


def test_pinned_memory_is_told_from_other(device: PretendDevice) -> None:
    pinned = torch.ones(4).pin_memory()
    assert pinned.is_pinned()
    assert pinned[:2].is_pinned()
    assert torch.empty(2, pin_memory=True).is_pinned()
    assert not torch.ones(4).is_pinned()
    assert not pinned.cuda().is_pinned()


def test_accelerate_takes_it(device: PretendDevice) -> None:
    from accelerate import Accelerator

    accelerator = Accelerator(mixed_precision="bf16")
    assert accelerator.device.type == "cuda"
    model, optimizer = accelerator.prepare(small(), torch.optim.AdamW([nn.Parameter(on(1))]))
    assert next(model.parameters()).is_cuda
    with accelerator.autocast():
        assert nn.Linear(3, 3).cuda()(on(2, 3)).dtype == torch.bfloat16
    accelerator.backward(model(torch.randn(2, 4, device="cuda")).sum())
    assert accelerator.clip_grad_norm_(model.parameters(), 1.0).is_cuda
    assert optimizer is not None


def test_threads_that_are_started_have_it(device: PretendDevice) -> None:
    found: list[Tensor] = []
    thread = threading.Thread(target=lambda: found.append(torch.ones(2, device="cuda") + 1))
    thread.start()
    thread.join()
    assert found[0].is_cuda
    assert found[0].tolist() == [2.0, 2.0]


def _state() -> dict[str, Any]:
    from accelerate.state import AcceleratorState, PartialState

    watched = (torch.cuda, torch.cuda.memory, torch.cuda.random, torch.accelerator, Tensor, torch, threading.Thread)
    return {
        "attributes": [dict(vars(one)) for one in watched],
        "kernels": torch._C._dispatch_dump("aten::linear"),
        "lift": torch._C._only_lift_cpu_tensors(),
        "default": torch.get_default_device(),
        "modes": torch.utils._python_dispatch._get_current_dispatch_mode_stack(),
        "accelerate": (dict(PartialState._shared_state), dict(AcceleratorState._shared_state)),
        "random": torch.get_rng_state().tolist(),
    }


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_behind(fails: bool) -> None:
    from accelerate import Accelerator

    Accelerator(cpu=True)
    before = _state()
    try:
        with pretend_cuda():
            torch.set_default_device("cuda")
            Accelerator(mixed_precision="fp16")
            F.dropout(torch.rand(3), 0.5)
            if fails:
                raise ValueError("on purpose")
    except ValueError:
        assert fails
    assert _state() == before
    assert not torch.cuda.is_available()
    with pytest.raises((AssertionError, RuntimeError), match="CUDA"):
        torch.zeros(2, device="cuda")
    assert Accelerator().device.type == "cpu"


def test_nothing_is_left_behind_in_what_is_imported_meanwhile() -> None:
    code = (
        "from trialbook.testing import pretend_cuda\n"
        "with pretend_cuda():\n"
        "    from accelerate import Accelerator\n"
        "    import torch\n"
        "    with torch.device('meta'):\n"
        "        print(torch.tensor([1.0]).device)\n"
        "    print(Accelerator().device)\n"
        "print(Accelerator().device)\n"
        "with torch.device('meta'):\n"
        "    print(torch.tensor([1.0]).device)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["meta", "cuda", "cpu", "meta"]


def test_a_tensor_does_not_outlive_its_device() -> None:
    with pretend_cuda():
        left = on(2)
    with pytest.raises(RuntimeError, match="has ended"):
        left + 1


def test_one_block_does_not_stand_in_another(device: PretendDevice) -> None:
    with pytest.raises(RuntimeError, match="on already"), pretend_cuda():
        pass
    assert on(2).is_cuda
