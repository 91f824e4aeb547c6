"""The operands of the operations, and their checks: heads, caches, rotary angles, packed documents, targets."""
