"""What processes that are forked for a test have imported already (tests/support/ranks.py)."""

from pylm import _rust  # noqa: F401
from pylm.training import run, session  # noqa: F401
from pylm.training.torch_backend import fsdp, parallel  # noqa: F401
from pylm_kernels import dispatch

dispatch.backends()
