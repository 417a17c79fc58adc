"""``torch.autocast("cuda")`` for tensors of the pretend device: the same operations are cast as on CUDA.

torch's own kernels ask the tensor whether it is CUDA's in C++, where a wrapper is not. While the device is on, kernels of ours
stand in their place, and ask in Python; they serve tensors of a real CUDA device as well.

Source: the lists of torch's ``ATen/autocast_mode.h`` (https://pytorch.org/docs/stable/amp.html#cuda-op-specific-behavior).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_KEY = "AutocastCUDA"
_Library: Any = torch.library.Library  # its methods have no types
_EXCLUDED = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCUDA)

#: Computed in the precision of autocast.
LOWER = {
    "_convolution", "conv1d", "conv2d", "conv3d", "conv_tbc", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "convolution", "cudnn_convolution", "cudnn_convolution_transpose", "prelu", "addmm", "addmv",
    "addr", "matmul", "einsum", "mm", "mv", "linalg_vecdot", "linear", "addbmm", "baddbmm", "bmm", "chain_matmul",
    "linalg_multi_dot", "_thnn_fused_lstm_cell", "_thnn_fused_gru_cell", "lstm_cell", "gru_cell", "rnn_tanh_cell",
    "rnn_relu_cell", "_scaled_dot_product_flash_attention", "scaled_dot_product_attention",
}  # fmt: skip

#: Computed in float32.
FULL = {
    "acos", "asin", "cosh", "erfinv", "exp", "expm1", "log", "log10", "log2", "log1p", "reciprocal", "rsqrt", "sinh",
    "tan", "pow", "softplus", "layer_norm", "native_layer_norm", "group_norm", "rms_norm", "frobenius_norm",
    "nuclear_norm", "cosine_similarity", "poisson_nll_loss", "cosine_embedding_loss", "nll_loss", "nll_loss2d",
    "hinge_embedding_loss", "kl_div", "l1_loss", "smooth_l1_loss", "huber_loss", "mse_loss", "margin_ranking_loss",
    "multilabel_margin_loss", "soft_margin_loss", "triplet_margin_loss", "multi_margin_loss",
    "binary_cross_entropy_with_logits", "dist", "pdist", "cdist", "renorm", "logsumexp", "upsample_nearest1d",
    "_upsample_nearest_exact1d", "upsample_nearest2d", "_upsample_nearest_exact2d", "upsample_nearest3d",
    "_upsample_nearest_exact3d", "upsample_linear1d", "upsample_bilinear2d", "_upsample_bilinear2d_aa",
    "upsample_trilinear3d", "upsample_bicubic2d", "_upsample_bicubic2d_aa",
}  # fmt: skip

#: Summed up in float32 unless a dtype is given.
SUMMED = {
    "prod", "softmax", "log_softmax", "cumprod", "cumsum", "linalg_vector_norm", "linalg_matrix_norm", "sum", "norm",
}  # fmt: skip

#: Computed in the widest dtype that is given.
WIDEST = {
    "addcdiv", "addcmul", "atan2", "bilinear", "cross", "dot", "vdot", "grid_sampler", "index_put", "tensordot",
    "scatter_add",
}  # fmt: skip

#: Refused.
REFUSED = {"binary_cross_entropy"}


@contextmanager
def casting() -> Iterator[None]:
    """Put our kernels in place of torch's within the block."""
    library = _Library("aten", "IMPL", _KEY)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="(?s).*Overriding a previously registered kernel")
            for name in operations():
                if kernel := _kernel(name):
                    library.impl(name, kernel)
        yield
    finally:
        library._destroy()


def operations() -> list[str]:
    """Names of all operations of torch that autocast knows, without the namespace, some with an overload."""
    found = torch._C._dispatch_get_registrations_for_dispatch_key(_KEY)
    return [name.removeprefix("aten::") for name in found if name.startswith("aten::")]


def _kernel(name: str) -> Callable[..., Any] | None:
    base, _, overload = name.partition(".")
    operation = getattr(getattr(torch.ops.aten, base), overload or "default")
    casts = _lower if base in LOWER else _full if base in FULL else _widest if base in WIDEST else None
    if casts is not None:
        return _casting(operation, casts)
    if base in SUMMED:
        return _summing(operation)
    return _refusing if base in REFUSED else None


def _casting(operation: Any, target: Callable[[list[Tensor]], torch.dtype]) -> Callable[..., Any]:
    def kernel(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(_EXCLUDED):
            dtype = target([one for one in _flat((*args, *kwargs.values())) if _eligible(one)])
            cast = {key: _cast(value, dtype) for key, value in kwargs.items()}
            return operation(*(_cast(one, dtype) for one in args), **cast)

    return kernel


def _summing(operation: Any) -> Callable[..., Any]:
    names = [argument.name for argument in operation._schema.arguments]

    def kernel(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(_EXCLUDED):
            if not _eligible(args[0]):
                return operation(*args, **kwargs)
            if "dtype" not in names:  # norm: another overload takes it
                return operation(_cast(args[0], torch.float32), *args[1:], **kwargs)
            given = dict(zip(names, args, strict=False)) | kwargs
            if given.get("dtype") is None:
                given["dtype"] = torch.float32
            positional = [
                given.pop(a.name) for a in operation._schema.arguments if not a.kwarg_only and a.name in given
            ]
            return operation(*positional, **given)

    return kernel


def _refusing(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError(
        "torch.nn.functional.binary_cross_entropy and torch.nn.BCELoss are unsafe to autocast; use the forms with logits"
    )


def _lower(tensors: list[Tensor]) -> torch.dtype:
    return torch.get_autocast_dtype("cuda")


def _full(tensors: list[Tensor]) -> torch.dtype:
    return torch.float32


def _widest(tensors: list[Tensor]) -> torch.dtype:
    wide = any(tensor.dtype == torch.float32 for tensor in tensors)
    return torch.float32 if wide else torch.get_autocast_dtype("cuda")


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value


def _eligible(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_cuda and value.is_floating_point() and value.dtype != torch.float64


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, list | tuple):
        return [_cast(one, dtype) for one in value]
    return value.to(dtype) if _eligible(value) and value.dtype != dtype else value
