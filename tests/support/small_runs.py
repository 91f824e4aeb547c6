"""The environment in which a preset trains in a second: for pages and examples, which show how it is called."""

SMALL = {
    "PYLM_MODEL__N_LAYERS": "1",
    "PYLM_MODEL__N_HEADS": "2",
    "PYLM_MODEL__D_MODEL": "32",
    "PYLM_MODEL__CONTEXT_LENGTH": "64",
    "PYLM_TRAIN__BATCH_TOKENS": "512",
    "PYLM_TRAIN__MICRO_BATCH": "8",
    "PYLM_TRAIN__COMPILE": "false",
    "PYLM_TRAIN__EVAL_BATCHES": "2",
    "PYLM_TRAIN__DEVICE": "cpu",
}
