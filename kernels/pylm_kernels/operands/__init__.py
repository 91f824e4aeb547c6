"""What operations are handed, and what of it is checked: heads, caches, rotary angles, packed documents, targets."""
