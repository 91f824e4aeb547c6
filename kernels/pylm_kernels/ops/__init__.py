"""One folder an operation: public.py (what callers import), reference.py (what it means), triton.py (for GPUs)."""
