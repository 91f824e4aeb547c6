"""Documents that are packed into the rows of a batch: where each position's document starts and ends."""

from __future__ import annotations

from typing import NamedTuple

import torch

from pylm_kernels import arguments, transforms
from pylm_kernels.operands.packing import check_edges
from pylm_kernels.operation import define


class Documents(NamedTuple):
    """The start and the end of each position's document within its row, both [B, T], int32 and contiguous.

    Found once a batch with `Documents.of` and handed to every layer as `cu_seqlens`. Compiled layers then see tensors
    of one shape, however many documents there are, and nothing is looked up again.
    """

    starts: torch.Tensor
    ends: torch.Tensor

    @classmethod
    def of(cls, cu_seqlens: torch.Tensor | Documents, batch: int, time: int) -> Documents:
        """Return the documents of a batch; `Documents` come back as they are, once their form is checked.

        Args:
            cu_seqlens: document ends over the flattened batch, int32 or int64, 0 first and batch * time last. One that
                stands there twice is an empty document. A document that crosses the end of a row is cut there.
            batch: the number of rows.
            time: the number of positions in a row.

        Raises:
            ValueError: these are no ends of documents of such a batch. Reading them waits for the device; while a CUDA
                graph is being captured they are not read, and ends that are wrong then give wrong documents, never a
                place outside their row.
        """
        if isinstance(cu_seqlens, Documents):
            if wrong := _found(cu_seqlens, batch, time):
                raise ValueError(wrong)
            return cu_seqlens
        if wrong := _form(cu_seqlens):
            raise ValueError(wrong)
        found = (_operation if transforms.traced(cu_seqlens) else _checked)(cu_seqlens, batch, time)
        return cls(*found)


def problem(cu_seqlens: torch.Tensor | Documents | None, q: torch.Tensor, k: torch.Tensor | None) -> str:
    """Return an empty string if these are documents of [B, T, …], else a sentence that says what is wrong.

    The numbers are not looked at here; they are checked where they are read.
    """
    if cu_seqlens is None:
        return ""
    one = cu_seqlens.starts if isinstance(cu_seqlens, Documents) else cu_seqlens
    wrong = _found(cu_seqlens, q.shape[0], q.shape[1]) if isinstance(cu_seqlens, Documents) else _form(cu_seqlens)
    if not wrong and k is not None and k.shape[1] != q.shape[1]:
        wrong = "cu_seqlens: documents need q and k of one length"
    return wrong or arguments.same_device("cu_seqlens", one, "q", q)


def _form(cu_seqlens: torch.Tensor) -> str:
    if not isinstance(cu_seqlens, torch.Tensor):
        return f"cu_seqlens: is a {type(cu_seqlens).__name__}, neither a tensor nor Documents"
    if cu_seqlens.dim() != 1 or cu_seqlens.shape[0] < 2 or cu_seqlens.dtype not in (torch.int32, torch.int64):
        return "cu_seqlens: must be a vector of at least two integers, 0 first and batch * time last"
    return ""


def _found(documents: Documents, batch: int, time: int) -> str:
    for each in documents:
        if each.shape != (batch, time) or each.dtype != torch.int32 or not each.is_contiguous():
            return (
                f"cu_seqlens: these Documents are not int32 of shape ({int(batch)}, {int(time)}), as Documents.of makes"
            )
    return ""


def search(cu_seqlens: torch.Tensor, batch: int, time: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the starts and the ends without looking at a number: nothing here waits for a device."""
    at = torch.arange(batch * time, device=cu_seqlens.device)
    row = at // max(time, 1) * time
    ends_at = cu_seqlens.long().contiguous()
    which = torch.searchsorted(ends_at, at, right=True).clamp(1, ends_at.shape[0] - 1)
    starts, ends = (torch.clamp(ends_at[side], row, row + time) - row for side in (which - 1, which))
    return starts.to(torch.int32).view(batch, time), ends.to(torch.int32).view(batch, time)


def _checked(cu_seqlens: torch.Tensor, batch: int, time: int) -> tuple[torch.Tensor, torch.Tensor]:
    # what a validation under inference_mode found serves the training after it too
    with torch.inference_mode(False), torch.no_grad():
        if transforms.readable(cu_seqlens):
            check_edges(cu_seqlens.tolist(), batch * time)
        return search(cu_seqlens, batch, time)


_operation = define(
    "documents",
    "(Tensor cu_seqlens, SymInt batch, SymInt time) -> (Tensor starts, Tensor ends)",
    _checked,
    lambda cu, batch, time: (
        cu.new_empty((batch, time), dtype=torch.int32),
        cu.new_empty((batch, time), dtype=torch.int32),
    ),
)
