"""The process in which `sentencepiece` trains: lines arrive on stdin, the model leaves by a file.

A process of its own, because sentencepiece holds the interpreter for minutes and hears no Ctrl-C, and because a crash
in it must not take the caller along. Started by `pylm.tokenizer.spm_train`; imports nothing of pylm's native modules.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator


def lines() -> Iterator[str]:
    """Yield what comes on stdin, without line ends."""
    for line in sys.stdin.buffer:
        yield line.rstrip(b"\n").decode("utf-8", "replace")


def main() -> int:
    """Train with the options of the first argument; print the error, if any, as the last line of stderr."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    import sentencepiece

    options = json.loads(sys.argv[1])
    try:
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=lines(), **options)
    except Exception as error:
        print(f"failed: {str(error).splitlines()[-1] if str(error) else type(error).__name__}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
