"""The forms of an example, told apart by the fields of a row: conversations, prompts, instructions, texts, labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pylm.errors import DataError

__all__ = ["FORMS", "Example", "example_of", "form_of"]

Row = Mapping[str, Any]
# ShareGPT's names of the roles
ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant"}


@dataclass(frozen=True)
class Example:
    """One thing to learn: a prompt with its completion, a conversation, a text, or the better one of two answers.

    Attributes:
        place: Where it stands, as an error names it.
        form: `messages`, `completion`, `instruction`, `labels` or `text`.
        messages: The turns; of all forms but `text`, for a template.
        learned_from: The first message whose answers are learned: those before it are the prompt.
        prompt: What comes before the completion where no template writes it.
        completion: What is learned.
        label: The label as text, of `labels` alone.
        variables: What else the row has for a template, tools for instance.
        rejected: Of a pair the same prompt with the worse answer; the example itself has the one that was chosen.
    """

    place: str
    form: str
    messages: tuple[Row, ...] = ()
    learned_from: int = 0
    prompt: str = ""
    completion: str = ""
    label: str | None = None
    variables: Row = field(default_factory=dict)
    rejected: Example | None = None

    def learns(self, number: int) -> bool:
        """Say whether a message is learned: an answer that is no prompt, and none whose `weight` is 0."""
        message = self.messages[number]
        return number >= self.learned_from and message["role"] == "assistant" and message.get("weight") != 0


def form_of(row: Row, place: str) -> str:
    """Return the form of a row; refuse one that has the fields of none."""
    for form, (fields, _) in FORMS.items():
        if all(name in row for name in fields):
            return form
    for form, (fields, _) in FORMS.items():
        if fields[0] in row:
            raise _lacks(row, form, place)
    forms = "; ".join(" and ".join(fields) for fields, _ in FORMS.values())
    raise DataError(f"{place} has {_names(row)}, which make no example", f"an example has one of these: {forms}")


def example_of(row: Row, place: str, form: str | None = None) -> Example:
    """Return the example that a row is.

    Args:
        row: Its fields by name.
        place: How an error calls it.
        form: The form that its dataset has; that of the row itself if not given.
    """
    form = form_of(row, place) if form is None else form
    fields, make = FORMS[form]
    if any(name not in row for name in fields):
        raise _lacks(row, form, place)
    return make(row, place)


def _lacks(row: Row, form: str, place: str) -> DataError:
    missing = next(name for name in FORMS[form][0] if name not in row)
    return DataError(f"{place} has no {missing!r}, but {_names(row)}", f"an example of this form has {_fields(form)}")


def _fields(form: str) -> str:
    return " and ".join(FORMS[form][0])


def _names(row: Row) -> str:
    return ", ".join(map(str, row)) or "no field"


def _text(row: Row, name: str, place: str) -> str:
    value = row[name]
    if not isinstance(value, str):
        raise DataError(f"{name!r} of {place} is no text but {_kind(value)}", "write it as text")
    return value


def _kind(value: Any) -> str:
    return "null" if value is None else f"of the type {type(value).__name__}"


def _answer(row: Row, name: str, place: str) -> str:
    text = _text(row, name, place)
    if not text:
        raise DataError(f"{name!r} of {place} is empty: there is nothing to learn", "write the answer, or leave it out")
    return text


def _turns(prompt: str, completion: str) -> tuple[Row, ...]:
    return ({"role": "user", "content": prompt}, {"role": "assistant", "content": completion})


def _of_completion(row: Row, place: str) -> Example:
    if isinstance(row["prompt"], list | tuple) or isinstance(row["completion"], list | tuple):
        before, after = (_messages(row, name, place) for name in ("prompt", "completion"))
        return _conversation(row, (*before, *after), len(before), place, ("prompt", "completion"))
    prompt, completion = _text(row, "prompt", place), _answer(row, "completion", place)
    return Example(place, "completion", _turns(prompt, completion), 1, prompt, completion)


def _of_pair(row: Row, place: str) -> Example:
    chosen, rejected = (_of_preferred(row, name, place) for name in ("chosen", "rejected"))
    return replace(chosen, rejected=rejected)


def _of_preferred(row: Row, name: str, place: str) -> Example:
    """Return the prompt with one of its two answers; a list that does not begin with an answer has the prompt in it."""
    if isinstance(row["prompt"], str) and not isinstance(row[name], list | tuple):
        prompt, answer = _text(row, "prompt", place), _answer(row, name, place)
        return Example(place, "completion", _turns(prompt, answer), 1, prompt, answer)
    after = _messages(row, name, place)
    if isinstance(row["prompt"], str):
        before = _turns(row["prompt"], "")[:1] if after[0]["role"] == "assistant" else after[:-1]
    else:
        before = _messages(row, "prompt", place)
    messages = (*before, *(after[len(before) :] if after[: len(before)] == before else after))
    return _conversation(row, messages, len(before), place, ("prompt", "chosen", "rejected"))


def _of_instruction(row: Row, place: str) -> Example:
    told = _text(row, "instruction", place)
    more = row.get("input")
    prompt = told if not more else f"{told}\n{_text(row, 'input', place)}"
    output = _answer(row, "output", place)
    return Example(place, "instruction", _turns(prompt, output), 1, f"{prompt}\n", output)


def _of_labels(row: Row, place: str) -> Example:
    text, label = _text(row, "text", place), row["label"]
    if isinstance(label, bool) or not isinstance(label, str | int) or label == "":
        raise DataError(f"'label' of {place} is {_kind(label)}", "a label is a word or a whole number")
    return Example(place, "labels", _turns(text, str(label)), 1, text, f" {label}", str(label))


def _of_text(row: Row, place: str) -> Example:
    return Example(place, "text", completion=_answer(row, "text", place))


def _of_messages(row: Row, place: str) -> Example:
    return _conversation(row, _messages(row, "messages", place), 0, place, ("messages",))


def _of_sharegpt(row: Row, place: str) -> Example:
    turns = row["conversations"]
    if not isinstance(turns, list | tuple) or not all(isinstance(turn, Mapping) for turn in turns):
        raise DataError(f"'conversations' of {place} is no list of messages", "a message has from and value")
    named = [
        turn
        if "role" in turn
        else {"role": ROLES.get(turn.get("from", ""), turn.get("from")), "content": turn.get("value")}
        for turn in turns
    ]
    made = _of_messages({**row, "messages": named}, place)
    return replace(made, variables={key: value for key, value in made.variables.items() if key != "conversations"})


def _messages(row: Row, name: str, place: str) -> tuple[Row, ...]:
    turns = row[name]
    if not isinstance(turns, list | tuple) or not turns:
        raise DataError(f"{name!r} of {place} is no list of messages", 'a message is {"role": "user", "content": "…"}')
    for number, turn in enumerate(turns):
        if not isinstance(turn, Mapping) or not isinstance(turn.get("role"), str):
            has = f"but {_names(turn)}" if isinstance(turn, Mapping) else "and is no object"
            raise DataError(
                f"message {number} of {place} has no role, {has}", 'a message is {"role": "user", "content": "…"}'
            )
    return tuple(turns)


def _conversation(row: Row, messages: Sequence[Row], learned_from: int, place: str, fields: Sequence[str]) -> Example:
    if not any(message["role"] == "assistant" for message in messages[learned_from:]):
        roles = ", ".join(dict.fromkeys(str(message["role"]) for message in messages))
        raise DataError(
            f"{place} has no message of the assistant, which is what is learned, but {roles}", "write its answer"
        )
    # datasets and tables have a null for what other rows have
    turns = tuple({key: value for key, value in message.items() if value is not None} for message in messages)
    for number, turn in enumerate(turns):
        if "content" not in turn and "tool_calls" not in turn:
            raise DataError(f"message {number} of {place} has no content, but {_names(turn)}", "write what was said")
        if turn.get("weight", 1) not in (0, 1):
            raise DataError(
                f"message {number} of {place} has the weight {turn['weight']!r}",
                "give 1, or 0 for one not to be learned",
            )
        if turn["role"] == "assistant" and number >= learned_from and not turn.get("content", "-"):
            raise DataError(f"message {number} of {place} is empty: there is nothing to learn", "write the answer")
    variables = {key: value for key, value in row.items() if key not in fields and key in TEMPLATES_TAKE}
    made = Example(place, "messages", turns, learned_from, variables=variables)
    if not any(map(made.learns, range(len(turns)))):
        raise DataError(f"{place} gives each answer the weight 0: there is nothing to learn", "leave it out")
    return made


# what of a row's other fields is a template's business: the rest is the dataset's own
TEMPLATES_TAKE = ("tools", "documents")
# the form of a row is the first whose fields it has
FORMS: dict[str, tuple[tuple[str, ...], Callable[[Row, str], Example]]] = {
    "pairs": (("chosen", "rejected", "prompt"), _of_pair),
    "messages": (("messages",), _of_messages),
    "conversations": (("conversations",), _of_sharegpt),
    "completion": (("prompt", "completion"), _of_completion),
    "instruction": (("instruction", "output"), _of_instruction),
    "labels": (("text", "label"), _of_labels),
    "text": (("text",), _of_text),
}
