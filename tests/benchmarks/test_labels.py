"""The list of examples whose labels are not TRL's: those that differ and no other, with the text around the border."""

from __future__ import annotations

from benchmarks.finetuning.labels import Difference, differences
from pylm.tokenizer import Tokenizer


def test_the_example_whose_merge_crosses_the_border_is_listed() -> None:
    tokenizer = Tokenizer.train(lambda: ["ab ab ab ab ab"], vocab_size=258)
    joined = tokenizer.encode("ab")
    assert len(joined) == 1 and tokenizer.eot is not None
    rows = [{"prompt": "x", "completion": "y"}, {"prompt": "x a", "completion": "b y"}]
    # whoever encodes prompt and completion as one text has one token where the border is
    whole = tokenizer.encode("x ab y") + [tokenizer.eot]
    start = len(tokenizer.encode("x a"))
    theirs = [
        [[*tokenizer.encode("xy"), tokenizer.eot], [-100, *tokenizer.encode("y"), tokenizer.eot]],
        [whole, [-100] * start + whole[start:]],
    ]
    found = differences(rows, theirs, tokenizer, None)
    assert found == [Difference(1, True, "x a", "b y<|endoftext|>", 4, len(whole) - start)]
    assert found[0].line("pairs") == 'pairs, example 1: "x a" | "b y<|endoftext|>", 4 labels here, 3 in TRL'
