"""Evaluation files as items, for those who score models and those who look for test items in text.

Three forms, told by the keys of a row: llm-foundry's (multiple choice, schema, language modelling), OLMES's requests,
and plain prompt, choices and answer. `read` gives the items of a file, `find` the file of a name, `suite` the tasks of
a `core.yaml`.
"""

from pylm.data.tasks.finding import Found, find, known
from pylm.data.tasks.items import Item
from pylm.data.tasks.reading import Columns, read
from pylm.data.tasks.suite import Task, suite

__all__ = ["Columns", "Found", "Item", "Task", "find", "known", "read", "suite"]
