"""Settings of the generated examples: the same ones each time, so that a failure is a change's own.

`pytest --hypothesis-profile=explore` draws new ones.
"""

import signal

from hypothesis import settings

# A shell starts what runs in its background with Ctrl-C ignored, children inherit that, and some tests press it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("explore", derandomize=False, deadline=None, max_examples=1000)
settings.load_profile("same")
