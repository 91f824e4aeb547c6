"""Settings of the generated examples: the same ones each time, so that a failure is a change's own.

`pytest --hypothesis-profile=explore` draws new ones.
"""

from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("explore", derandomize=False, deadline=None, max_examples=1000)
settings.load_profile("same")
