"""Ollama's Modelfile beside a GGUF file: without a template and stops its chats would not end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pylm.tokenizer.chat import CHATML

if TYPE_CHECKING:
    from pylm.interchange.portable import Portable

__all__ = ["modelfile"]

# ChatML in the templates of Go, which Ollama reads
TURNS = """{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""


def modelfile(model: Portable, file: str) -> str:
    """Return the text of a Modelfile for a GGUF file beside it."""
    return "\n".join(_lines(model, file)) + "\n"


def _lines(model: Portable, file: str) -> Iterator[str]:
    tokenizer = model.tokenizer
    assert tokenizer is not None
    yield f"FROM ./{file}"
    if tokenizer.chat_template == CHATML:
        yield f'TEMPLATE """{TURNS}"""'
    elif tokenizer.chat_template is None:
        yield 'TEMPLATE """{{ .Prompt }}"""'
    else:
        yield "# the chat template stands in the GGUF file: Ollama has no words for Jinja, and takes one that it knows"
    names = {number: name for name, number in tokenizer.added.items()}
    for end in model.ends:
        if end in names:
            yield f"PARAMETER stop {_quoted(names[end])}"
    yield f"PARAMETER num_ctx {model.shape.context_length}"


def _quoted(text: str) -> str:
    """Return a text in quotes: nothing is escaped within them, and three that begin it end with three."""
    mark = '"""' if text.startswith('"') else '"'
    return f"{mark}{text}{mark}"
