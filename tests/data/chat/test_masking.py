"""Which tokens are learned: by hand, and as transformers marks them where a template says `{% generation %}`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import pylm.data
from pylm.data.chat import Masker, tokens_needed
from pylm.data.chat.fitting import pieces, without_beginning
from pylm.data.chat.masking import Masked, mask
from pylm.data.chat.templates import PLAIN, Template, chatml
from pylm.errors import DataError, TokenizerError
from pylm.tokenizer import Tokenizer
from pylm.tokenizer.chat import CHATML

WORDS = "hello there world, how are you today? I am well: thanks a lot.\n"
TURNS = [
    {"role": "system", "content": "hello"},
    {"role": "user", "content": "how are you"},
    {"role": "assistant", "content": "well, thanks"},
    {"role": "user", "content": "today?"},
    {"role": "assistant", "content": "a lot\n\n <|im_end|> lot"},
]
# ChatML with what is learned marked in it
CHATML_GENERATION = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}"
    "{{ '\\n' }}"
    "{% endfor %}"
)
# as people mark a template for training: the end of the turn with it, white space cut, in branches and macros
MARKED = [
    CHATML_GENERATION,
    "{%- for m in messages %}\n"
    "    {{- '<|im_start|>' + m.role + '\\n' }}\n"
    "    {%- if m.role == 'assistant' %}\n"
    "        {%- generation %}\n"
    "        {{- m.content | trim }}<|im_end|>\n"
    "        {%- endgeneration %}\n"
    "        {{- '\\n' }}\n"
    "    {%- else %}\n"
    "        {{- m.content + '<|im_end|>\\n' }}\n"
    "    {%- endif %}\n"
    "{%- endfor %}",
    "{% for m in messages %}{% if m.role == 'assistant' %}[A]{% generation %} {{ m['content'] }}{{ eos_token }}"
    "{% endgeneration %}{% else %}[{{ m.role | upper }}] {{ m.content }}\n{% endif %}{% endfor %}",
]


class Plain:
    """A tokenizer whose ids are given: what the table of the research is written in."""

    eot = 9
    eot_token = "E"
    native = True
    chat_template = None
    added = {"E": 9}
    words = {"p": [11, 12], "c": [21, 22], "": []}

    def encode_batch(self, texts: Sequence[str], threads: int) -> list[Any]:
        return [np.array([one for letter in text for one in self.words[letter]], np.int64) for text in texts]


@pytest.fixture(scope="module")
def chatty() -> Tokenizer:
    return Tokenizer.train(lambda: [WORDS] * 20, vocab_size=290, chat=True)


@pytest.fixture(scope="module")
def without_chat() -> Tokenizer:
    return Tokenizer.train(lambda: [WORDS] * 20, vocab_size=290)


def learned(tokenizer: Tokenizer, made: Masked) -> list[str]:
    """The runs of what counts, as text."""
    runs: list[list[int]] = []
    for number, (one, counts) in enumerate(zip(made.ids, made.counts, strict=True)):
        if counts:
            if not made.counts[number - 1] or not runs:
                runs.append([])
            runs[-1].append(int(one))
    return [tokenizer.decode(run) for run in runs]


def test_the_line_by_hand() -> None:
    plain: Any = Plain()
    made = mask({"prompt": "p", "completion": "c"}, plain)
    assert made.ids.tolist() == [11, 12, 21, 22, 9]
    examples = pylm.data.Examples([{"prompt": "p", "completion": "c"}], plain)
    inputs, targets, loss_mask = examples[0]
    assert inputs.tolist() == [11, 12, 21, 22]
    assert targets.tolist() == [12, 21, 22, 9]
    assert loss_mask.tolist() == [False, True, True, True]


def test_by_position_and_never_by_id() -> None:
    plain: Any = Plain()
    plain.words = {"p": [9, 21], "c": [9, 9, 21]}  # the end of text within either, and a prompt's id in the answer
    made = mask({"prompt": "p", "completion": "c"}, plain)
    assert made.ids.tolist() == [9, 21, 9, 9, 21, 9]
    assert made.counts.tolist() == [False, False, True, True, True, True]


@pytest.mark.parametrize(
    ("row", "ids", "counts"),
    [
        ({"prompt": "", "completion": "c"}, [21, 22, 9], [0, 1, 1]),  # nothing comes before the first
        ({"text": "pc"}, [11, 12, 21, 22, 9], [0, 1, 1, 1, 1]),
    ],
)
def test_without_a_prompt_the_first_token_is_no_target(row: dict[str, str], ids: list[int], counts: list[int]) -> None:
    plain: Any = Plain()
    made = mask(row, plain)
    assert (made.ids.tolist(), made.counts.tolist()) == (ids, [bool(one) for one in counts])


def test_a_merge_across_the_border_is_told(without_chat: Tokenizer) -> None:
    apart = mask({"prompt": "how a", "completion": "re you"}, without_chat)
    assert apart.crossed
    assert apart.ids.tolist() == [
        *without_chat.encode("how a"), *without_chat.encode("re you"), without_chat.eot,
    ]  # fmt: skip
    assert not mask({"prompt": "how", "completion": " are you"}, without_chat).crossed


@pytest.mark.parametrize("template", MARKED, ids=["chatml", "trimmed", "macro"])
def test_generation_is_marked_as_by_transformers(chatty: Tokenizer, tmp_path: Any, template: str) -> None:
    transformers = pytest.importorskip("transformers")
    chatty.save(tmp_path / "tok")
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tok" / "tokenizer.json"))
    theirs.eos_token = "<|endoftext|>"
    turns = [
        *TURNS[:4],
        {"role": "assistant", "content": "a lot"},
    ]  # nobody else keeps a message from posing as a token
    said = theirs.apply_chat_template(
        turns, chat_template=template, return_dict=True, return_assistant_tokens_mask=True, tokenize=True
    )
    ours = Masker(chatty, Template("x", template, True)).mask({"messages": turns})
    assert ours.ids[:-1].tolist() == list(said["input_ids"])
    assert ours.counts[:-1].tolist() == [bool(one) for one in said["assistant_masks"]]
    assert ours.ids[-1] == chatty.eot


def test_prefixes_find_what_generation_marks(chatty: Tokenizer) -> None:
    marked = mask({"messages": TURNS}, chatty)
    found = Masker(chatty, Template("x", CHATML + "{# the same #}", True)).mask({"messages": TURNS})
    assert found.ids.tolist() == marked.ids.tolist()
    assert found.counts.tolist() == marked.counts.tolist()
    assert learned(chatty, found) == ["well, thanks<|im_end|>", "a lot\n\n <|im_end|> lot<|im_end|>"]
    ends = [chatty.added["<|im_end|>"]] * 2
    assert [one for one in found.ids[found.counts].tolist() if one in chatty.added.values()] == ends


def test_chatml_is_written_as_its_template_writes_it(chatty: Tokenizer) -> None:
    drawn = random.Random(5)
    bits = ["a", "", " ", "\n", "<|im_end|>", "<|im_start|>assistant\n", "é猫", "{{ x }}", "\x02", "\ud800"]
    roles = ["user", "assistant", "system", "tool", "<|im_end|>", "Assistant", ""]
    for _ in range(50):
        talk = [
            {"role": drawn.choice(roles), "content": "".join(drawn.choices(bits, k=drawn.randint(0, 4)))}
            for _ in range(drawn.randint(1, 5))
        ]
        assert chatml(talk) == chatty.render_chat(talk, CHATML_GENERATION, {})
        plain = chatty.render_chat(talk, CHATML, {})
        assert (chatml(talk).text, chatml(talk).brought) == (plain.text, plain.brought)


def test_the_ids_are_those_of_a_conversation(chatty: Tokenizer) -> None:
    assert mask({"messages": TURNS}, chatty).ids[:-1].tolist() == chatty.apply_chat_template(TURNS)


def test_no_space_that_is_none_of_the_text_is_learned() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="always")
    theirs.decoder = tokenizers.decoders.Metaspace(prepend_scheme="always")
    specials = ["<unk>", "</s>", "<|im_start|>", "<|im_end|>", "\n"]
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=200, special_tokens=specials, show_progress=False)
    theirs.train_from_iterator([WORDS.strip() + " user assistant"] * 20, trainer)
    pieces = Tokenizer.from_tokenizer_json(theirs.to_str(), {"eos_token": "</s>"})
    made = mask({"prompt": "hello:", "completion": "how are"}, pieces)
    assert pieces.encode("how are") != made.ids[made.counts].tolist()[:-1]
    assert made.ids.tolist() == [*pieces.encode("hello:how are"), pieces.eot] and not made.crossed
    assert pieces.decode(made.ids.tolist()) == "hello:how are</s>"
    talk = mask({"messages": TURNS[1:3]}, pieces)
    assert talk.ids[:-1].tolist() == pieces.apply_chat_template(TURNS[1:3], chat_template=CHATML) and not talk.crossed
    assert learned(pieces, talk)[0].lstrip() == "well, thanks<|im_end|>"


def test_only_what_follows_the_prompt_is_learned(chatty: Tokenizer) -> None:
    for template in (None, Template("x", CHATML + "{# #}", True)):
        made = mask({"prompt": TURNS[:4], "completion": TURNS[4:]}, chatty, template)
        assert learned(chatty, made) == ["a lot\n\n <|im_end|> lot<|im_end|>"]


@pytest.mark.parametrize("template", [None, Template("marked", CHATML_GENERATION, True)])
def test_an_answer_of_weight_0_is_read_and_not_learned(chatty: Tokenizer, template: Template | None) -> None:
    def weighed(first: float, second: float) -> dict[str, Any]:
        weights = {2: first, 4: second}
        return {"messages": [{**one, "weight": weights.get(number, 1)} for number, one in enumerate(TURNS)]}

    whole, first, last = (mask(weighed(*each), chatty, template) for each in ((1, 1), (1, 0), (0, 1)))
    assert whole.ids.tolist() == first.ids.tolist() == last.ids.tolist()
    assert chatty.decode(first.ids[first.counts].tolist()) == "well, thanks<|im_end|>"
    assert chatty.decode(last.ids[last.counts].tolist()) == "a lot\n\n <|im_end|> lot<|im_end|>"
    assert (whole.counts == (first.counts | last.counts)).all()
    with pytest.raises(DataError, match="gives each answer the weight 0"):
        mask(weighed(0, 0), chatty, template)
    with pytest.raises(DataError, match=r"message 2 of the example has the weight 0\.5"):
        mask(weighed(0.5, 1), chatty, template)


def test_plain_ends_answers_with_the_end_of_text(without_chat: Tokenizer) -> None:
    made = mask({"messages": TURNS[1:3]}, without_chat, "plain")
    assert without_chat.decode(made.ids.tolist()) == "how are you\nwell, thanks<|endoftext|><|endoftext|>"
    assert learned(without_chat, made) == ["well, thanks<|endoftext|>"]
    row = {"instruction": "how", "input": "are", "output": "you"}
    told = mask(row, without_chat)
    assert without_chat.decode(told.ids.tolist()) == "how\nare\nyou<|endoftext|>"
    assert learned(without_chat, told) == ["you<|endoftext|>"]


def test_a_template_without_an_end_of_turn_gets_the_end_of_text(chatty: Tokenizer) -> None:
    open_ended = "{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}" + (
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    made = Masker(chatty, Template("x", open_ended, True)).mask({"messages": TURNS[1:3]})
    assert learned(chatty, made) == ["well, thanks\n<|endoftext|>"]
    ends_with_user = Masker(chatty, Template("x", open_ended, True)).mask({"messages": TURNS[1:4]})
    assert learned(chatty, ends_with_user) == ["well, thanks\n"]
    says_it = {"role": "assistant", "content": "well <|im_end|>"}  # which ends no turn
    quoted = Masker(chatty, Template("x", open_ended, True)).mask({"messages": [TURNS[1], says_it]})
    assert learned(chatty, quoted) == ["well <|im_end|>\n<|endoftext|>"]


@pytest.mark.parametrize(
    ("template", "words"),
    [
        # earlier answers lose what was thought, as Qwen3's and DeepSeek's templates have it
        (
            CHATML.replace(
                "message['content']",
                "(message.content[:2] if message.role in cut and not loop.last else message.content)",
            ).replace("{% for", "{% set cut = ['assistant'] %}{% for"),
            "rewrites message 2",
        ),
        (
            CHATML.replace("message['content']", "(message.content if loop.last else message.content[:2])"),
            "rewrites message 1",
        ),
        (CHATML.replace("assistant\\n", "assistant\\n<think>"), "begins message 2 in another way"),
    ],
)
def test_a_template_that_rewrites_history_is_refused(chatty: Tokenizer, template: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Masker(chatty, Template("x", template, True)).mask({"messages": TURNS})


@pytest.mark.parametrize(
    "template",
    [
        "{% generation %}{% generation %}{% endgeneration %}{% endgeneration %}",
        "{% for m in messages %}{% generation %}{% break %}{% endgeneration %}{% endfor %}",
    ],
)
def test_generation_blocks_that_make_no_sense_are_refused(chatty: Tokenizer, template: str) -> None:
    with pytest.raises(TokenizerError, match="generation block"):
        Masker(chatty, Template("x", template, True)).mask({"messages": TURNS})


def test_an_end_of_turn_ends_though_a_line_does_after_it(chatty: Tokenizer) -> None:
    template = CHATML_GENERATION.replace(
        " + '<|im_end|>' }}{% endgeneration %}", " + '<|im_end|>\\n' }}{% endgeneration %}"
    )
    made = Masker(chatty, Template("x", template, True)).mask({"messages": TURNS[1:3]})
    assert learned(chatty, made) == ["well, thanks<|im_end|>\n"]


def test_tokens_that_are_needed(chatty: Tokenizer, without_chat: Tokenizer) -> None:
    assert tokens_needed("chatml", without_chat) == ["<|im_start|>", "<|im_end|>"]
    assert tokens_needed("chatml", chatty) == tokens_needed("plain", chatty) == []
    llama = Template("x", "{% for m in messages %}<|start|>{{ m.role }}{{ m.content }}<|im_end|><|start|>{% endfor %}")
    assert tokens_needed(llama, chatty) == ["<|start|>"]
    gemma = Template("x", "{% for m in messages %}<start_of_turn>{{ m.content }}<think><｜end｜>{% endfor %}")
    assert tokens_needed(gemma, chatty) == ["<start_of_turn>", "<｜end｜>"]
    # what a message spells is no token of the template
    quoting = Template(
        "x", "{% for m in messages %}{{ m.content }}{% endfor %}{{ '<|x|>' if messages[0].role == 'x' }}"
    )
    assert tokens_needed(quoting, chatty) == []
    with pytest.raises(TokenizerError, match="writes <|im_start|>, <|im_end|>".replace("|", r"\|")):
        mask({"messages": TURNS}, without_chat)


def test_which_examples_a_template_writes(chatty: Tokenizer, without_chat: Tokenizer) -> None:
    pair = {"prompt": "how", "completion": " are you"}
    told = {"instruction": "how", "output": "are you"}
    assert learned(chatty, mask(pair, chatty)) == [" are you<|endoftext|>"]
    assert learned(chatty, mask(pair, chatty, "chatml")) == [" are you<|im_end|>"]
    assert learned(chatty, mask(told, chatty)) == ["are you<|im_end|>"]
    assert learned(without_chat, mask(told, without_chat)) == ["are you<|endoftext|>"]
    assert learned(chatty, mask(pair, chatty, "own")) == [" are you<|im_end|>"]
    with pytest.raises(TokenizerError, match="no chat template of its own"):
        mask(pair, without_chat, "own")
    labelled = mask({"text": "how are you", "label": 1}, without_chat)
    assert without_chat.decode(labelled.ids.tolist()) == "how are you 1<|endoftext|>"
    assert learned(without_chat, labelled) == [" 1<|endoftext|>"]


@pytest.mark.parametrize(
    ("tokens", "counts"),
    [
        (1, [0, 1, 0, 1, 1, 0]),
        (2, [0, 0, 1, 1, 0]),  # the first answer has lost its beginning: nothing of it is learned
        (3, [0, 1, 1, 0]),
        (4, None),  # and no token would come before the last
    ],
)
def test_cutting_a_prompt(tokens: int, counts: list[int] | None) -> None:
    made = Masked(np.arange(7), np.array([0, 0, 1, 0, 1, 1, 0], bool))
    cut = without_beginning(made, tokens)
    if counts is None:
        assert cut is None
        return
    assert cut is not None
    assert (cut.ids.tolist(), cut.counts.tolist()) == (list(range(tokens, 7)), [bool(one) for one in counts])


def test_pieces_of_a_text_learn_each_token_once() -> None:
    text = Masked(np.arange(10), np.arange(10) > 0)
    found = list(pieces(text, 4))
    assert [one.ids.tolist() for one in found] == [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [8, 9]]
    assert [one.ids[one.counts].tolist() for one in found] == [[1, 2, 3, 4], [5, 6, 7, 8], [9]]


def test_plain_is_stored_as_it_is_talked_with(without_chat: Tokenizer) -> None:
    text = without_chat.apply_chat_template(TURNS[1:2], chat_template=PLAIN, add_generation_prompt=True, tokenize=False)
    assert text == "how are you\n"
