"""Examples as arrays, one by one: for whoever trains in a loop of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from pylm.data.chat.fitting import Fitting, pieces
from pylm.data.chat.masking import Masked, Masker
from pylm.data.chat.reading import Read
from pylm.errors import DataError
from pylm.wording import call

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pylm.data.chat.templates import Template
    from pylm.tokenizer import Tokenizer

__all__ = ["Examples"]

Arrays = tuple["NDArray[np.int64]", "NDArray[np.int64]", "NDArray[np.bool_]"]


class Examples(Sequence[Arrays]):
    """The examples of a dataset as `(input_ids, targets, loss_mask)`, in its order.

    The three have one length: a target is the token after its input, and counts where the mask is true, which is what
    belongs to a completion and the end of text after it.

    Attributes:
        counts: What became of the examples that were read: `examples`, `cut`, `dropped`, `all_masked`, `crossed`.
        form: The form of the rows, `completion` or `messages` for instance.
        labels: The labels of a dataset that has them.
    """

    def __init__(
        self,
        dataset: Any,
        tokenizer: Tokenizer,
        *,
        template: str | os.PathLike[str] | Template | None = None,
        overflow: str = "cut-prompt",
        context_length: int | None = None,
    ) -> None:
        """Read and mask all of a dataset.

        ::

            for input_ids, targets, loss_mask in pylm.data.Examples("chat.jsonl", tokenizer, context_length=1024):
                ...

        Args:
            dataset: What `pylm.data.chat.read` takes: a file, a name, an iterable of rows.
            tokenizer: The tokenizer.
            template: As `pylm.data.mask` takes it.
            overflow: What becomes of an example longer than the context: `cut-prompt` takes the beginning of the
                prompt, and drops where the completion alone is too long; `drop`; or `error`.
            context_length: The most inputs of an example; any length unless given. A text is cut into pieces of it.
        """
        fitting = Fitting(Masker(tokenizer, template), overflow, context_length)
        read = Read(dataset)
        self._masked: list[Masked] = []
        for example in read:
            if example.rejected is not None:
                raise DataError(
                    f"{example.place} is a pair of answers, and no example",
                    f"{call('finetune', method='dpo')} takes pairs",
                )
            if (made := fitting.masked(example)) is None:
                continue
            self._masked += [made] if example.form != "text" else pieces(made, context_length)
        fitting.finish(read.name)
        self.counts = fitting.counts.as_dict()
        self.form = read.form
        self.labels = tuple(read.labels)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._masked)

    @overload
    def __getitem__(self, index: int) -> Arrays: ...

    @overload
    def __getitem__(self, index: slice) -> list[Arrays]: ...

    def __getitem__(self, index: int | slice) -> Arrays | list[Arrays]:
        """Return one of them, or some."""
        if isinstance(index, slice):
            return [_arrays(one) for one in self._masked[index]]
        return _arrays(self._masked[index])

    def __iter__(self) -> Iterator[Arrays]:
        """Yield all of them."""
        return map(_arrays, self._masked)


def _arrays(one: Masked) -> Arrays:
    return one.ids[:-1], one.ids[1:], one.counts[1:]
