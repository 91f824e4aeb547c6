"""What a run will take, before it starts: `pylm.plan`, `pylm plan`, and what `pylm train` refuses to begin.

subject.py  what is planned: a configuration, and the text that it is for
memory.py   what training allocates, in order, in a heap of figures (heap.py): its peak, part by part
need.py     what a configuration takes: parameters, memory, disk, FLOPs, tokens, steps
room.py     what this machine has free
speed.py    how long it takes, from a probe or from the speed of products
changes.py  what to change where it does not fit, each planned again
plan.py     all of it together, and in words
"""
