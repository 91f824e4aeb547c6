"""An example to ids, and which of them count as targets: the one place where that is decided."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from pylm.data.chat.forms import Example, example_of
from pylm.data.chat.templates import Template, template_of, tokens_needed
from pylm.errors import DataError, TokenizerError
from pylm.wording import param

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pylm.tokenizer import Tokenizer
    from pylm.tokenizer.chat import Rendered

__all__ = ["Masked", "Masker", "mask"]

Parts = list[tuple[list[int], bool]]


@dataclass(frozen=True)
class Masked:
    """An example as ids.

    Attributes:
        ids: The ids, with what ends them.
        counts: Of each, whether it counts as a target: it is to be learned after those before it. The first never is.
        crossed: Whether a merge would have joined the prompt with what is learned, had they been encoded as one text.
    """

    ids: NDArray[np.int64]
    counts: NDArray[np.bool_]
    crossed: bool = False


def mask(
    example: Example | Mapping[str, Any],
    tokenizer: Tokenizer,
    template: str | os.PathLike[str] | Template | None = None,
) -> Masked:
    """Return the ids of an example and which of them count as targets.

    ::

        pylm.data.mask({"prompt": "2 + 2 =", "completion": " 4"}, tokenizer).counts

    Args:
        example: A row such as `{"prompt": …, "completion": …}` or `{"messages": […]}`, or what `pylm.data.chat.read`
            yields.
        tokenizer: The tokenizer.
        template: `chatml`, `plain`, `own` or a file. If not given, messages and instructions get the tokenizer's own,
            messages ChatML where it has none; prompts and texts are taken as they are.
    """
    return Masker(tokenizer, template).mask(example)


class Masker:
    """Masks examples with one tokenizer and one template."""

    def __init__(self, tokenizer: Tokenizer, template: str | os.PathLike[str] | Template | None = None) -> None:
        """Find the template; whether the tokenizer has its tokens is asked when the first conversation comes."""
        self.tokenizer = tokenizer
        self.template = template_of(template, tokenizer)
        self._is_checked = False
        self._pads = _pads(tokenizer)
        self._control = [name for name in tokenizer.added if name.strip()]

    def written_by(self, form: str | None) -> str | None:
        """Return the name of the template that writes examples of a form; None where they are taken as they are."""
        if form == "messages":
            return self.template.name
        if form == "text" or (self.template.is_given and self.template.name == "plain"):
            return None
        is_used = self.template.is_given or (form == "instruction" and self.tokenizer.chat_template is not None)
        return self.template.name if is_used else None

    def mask(self, example: Example | Mapping[str, Any]) -> Masked:
        """Return the ids of an example and which of them count as targets."""
        if not isinstance(example, Example):
            example = example_of(example, "the example")
        if self.written_by(example.form) is None:
            return self._plain(example)
        self._check_tokens()
        try:
            return self._conversation(example)
        except TokenizerError as error:
            message, hint = error.marked
            raise DataError(f"{example.place}: {message}", hint) from None

    def _plain(self, example: Example) -> Masked:
        """Return P + C + [EOT], of which C and EOT count, by position."""
        eot = self.tokenizer.eot
        if eot is None:
            raise TokenizerError(
                "this tokenizer has no end of text, so nothing would learn to end",
                "name one as eos_token in its tokenizer_config.json",
            )
        texts = [example.prompt, example.completion, example.prompt + example.completion]
        prompt, completion, both = (one.tolist() for one in self.tokenizer.encode_batch(texts, threads=1))
        if self._pads and both[: len(prompt)] == prompt:
            completion = both[len(prompt) :]
        return _joined([(prompt, False), ([*completion, eot], True)], crossed=both != prompt + completion)

    def _conversation(self, example: Example) -> Masked:
        rendered = self.template.rendered(example.messages, example.variables, self.tokenizer)
        spans = self._learned(example, rendered)
        borders = [0, *(place for span in spans for place in span), len(rendered.text)]
        joint = self.tokenizer.encode_chat(rendered)
        texts = self._as_joined(rendered, borders, joint) if self._pads else None
        if texts is None:
            texts = [self.tokenizer.encode_chat(rendered.part(start, end)) for start, end in pairwise(borders)]
        parts = [(ids, number % 2 == 1) for number, ids in enumerate(texts)]
        crossed = joint != list(chain.from_iterable(texts))
        return _joined([*parts, *self._end(rendered, spans)], crossed)

    def _as_joined(self, rendered: Rendered, borders: Sequence[int], joint: list[int]) -> list[list[int]] | None:
        """Return the ids between borders as the whole has them; None where a token crosses one."""
        before = [self.tokenizer.encode_chat(rendered.part(0, border)) for border in borders]
        if any(joint[: len(ids)] != ids for ids in before):
            return None
        return [joint[len(one) : len(other)] for one, other in pairwise(before)]

    def _end(self, rendered: Rendered, spans: list[tuple[int, int]]) -> Parts:
        """Return the end of text, which counts after an answer that no control token of the template ends."""
        if self.tokenizer.eot is None:
            return []
        is_last = bool(spans) and not rendered.text[spans[-1][1] :].strip()
        counts = is_last and not self._last_control(rendered, spans[-1][0], len(rendered.text))
        return [([self.tokenizer.eot], counts)]

    def _learned(self, example: Example, rendered: Rendered) -> list[tuple[int, int]]:
        """Return from where to where a conversation is learned: what the assistant says, and the end of its turn."""
        answers = [number for number, one in enumerate(example.messages) if one["role"] == "assistant"]
        learned = [number for number in answers if example.learns(number)]
        if rendered.generated is None:
            return [self._by_prefixes(example, rendered, number) for number in learned]
        if learned == answers:
            return rendered.generated
        if len(rendered.generated) != len(answers):
            raise TokenizerError(
                f"the template marks {len(rendered.generated)} answers of {len(answers)}, so none can be left out",
                "give whole conversations as messages",
            )
        return [span for span, number in zip(rendered.generated, answers, strict=True) if number in learned]

    def _by_prefixes(self, example: Example, rendered: Rendered, number: int) -> tuple[int, int]:
        """Return where an answer stands, as what a rendering of the messages up to it has more than one before it."""

        def text(end: int, **variables: Any) -> str:
            given = {**example.variables, **variables}
            return self.tokenizer.render_chat(example.messages[:end], self.template.text, given).text

        before, after = text(number, add_generation_prompt=True), text(number + 1)
        if not after.startswith(before):
            if not after.startswith(text(number)):
                raise _rewritten(number - 1)
            raise TokenizerError(
                f"the template begins message {number} in another way than it lets a model begin an answer",
                "a template with {% generation %} around what is learned needs no comparing",
            )
        if not rendered.text.startswith(after):
            raise _rewritten(number)
        return len(before), self._turn_end(rendered, len(before), len(after))

    def _turn_end(self, rendered: Rendered, start: int, end: int) -> int:
        """Return where a turn is over: behind the last control token of it, where white space alone follows."""
        last = self._last_control(rendered, start, end)
        return last if last and not rendered.text[last:end].strip() else end

    def _last_control(self, rendered: Rendered, start: int, end: int) -> int:
        """Return where the last control token ends that the template writes after what is said there; 0 for none."""
        said = max((last for _, last in rendered.brought if start < last <= end), default=start)
        own = rendered.text[said:end]
        return max((said + own.rfind(name) + len(name) for name in self._control if name in own), default=0)

    def _check_tokens(self) -> None:
        if not self._is_checked and (missing := tokens_needed(self.template, self.tokenizer)):
            raise TokenizerError(
                f"the template {self.template.name} writes {', '.join(missing)}, and this tokenizer has no such token",
                f"{param('template', 'plain')} needs none; pylm finetune adds them to a model's tokenizer",
            )
        self._is_checked = True


def _pads(tokenizer: Tokenizer) -> bool:
    """Say whether each text that is encoded begins with a space that is none of its own, as SentencePiece has it."""
    if tokenizer.native:
        return False
    pieces = [tokenizer.token_bytes(one) for one in tokenizer.encode("x")]
    return b"".join(piece or b"" for piece in pieces) != b"x"


def _rewritten(number: int) -> TokenizerError:
    return TokenizerError(
        f"the template rewrites message {number} once others follow it, so what is learned is not what is seen",
        "end each conversation there, or give a template that leaves messages as they are",
    )


def _joined(parts: Sequence[tuple[list[int], bool]], crossed: bool) -> Masked:
    ids = np.array([one for some, _ in parts for one in some], np.int64)
    counts = np.repeat(np.array([learned for _, learned in parts]), [len(some) for some, _ in parts])
    counts[:1] = False
    return Masked(ids, counts, crossed)
