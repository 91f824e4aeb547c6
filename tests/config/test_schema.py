"""The JSON Schema that editors get agrees with what pylm reads."""

import json

import jsonschema
import pytest
import yaml

from pylm.config.cascade import resolve
from pylm.config.preset_files import preset_names, preset_path
from pylm.config.schema import SECTIONS, json_schema
from pylm.config.yaml_file import read_yaml
from pylm.errors import ConfigError


def agrees(tmp_path, text):
    """Whether both accept, or both refuse, a text."""
    path = tmp_path / "c.yaml"
    path.write_text(text)
    try:
        jsonschema.validate(yaml.safe_load(text), json_schema())
        editor = True
    except jsonschema.ValidationError:
        editor = False
    try:
        resolve(files=[path], environ={})
        ours = True
    except ConfigError:
        ours = False
    assert editor == ours, (text, editor, ours)
    return ours


def test_it_is_a_schema_and_describes_every_key():
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    json.dumps(schema, allow_nan=False)
    for section, kind in SECTIONS.items():
        described = schema["$defs"][kind.__name__]["properties"]
        assert list(described) == list(kind.model_fields)
        for key, what in described.items():
            assert what["description"].endswith("."), (section, key)


@pytest.mark.parametrize("name", preset_names())
def test_presets_pass(name):
    jsonschema.validate(yaml.safe_load(preset_path(name).read_text()), json_schema())
    assert read_yaml(preset_path(name))


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("train: {max_steps: 10M, learning_rate: 1e-3, max_time: 2h, micro_batch: auto}", True),
        ("extends: tiny\nmodel: {n_layers: null}", True),
        ("train: {betas: [0.9, 0.95], compile: auto, tied: 1}", False),
        ("train: {betas: [0.9]}", False),
        ("model: {norm: batchnorm}", False),
        ("model: {dropout: 1}", False),
        ("train: {max_steps: 0}", False),
        ("train: {seed: -1}", False),
        ("sample: {stop: [a, b], top_p: 0}", False),
        ("sample: {stop: [a, b], top_p: 1}", True),
        ("data: {mix: {a: 0.5, b: 2}}", True),
        ("model: {context_length: null}", False),
        ("train: {device: gpu}", False),
        ("train: {device: 'cuda:3'}", True),
        ("training: {}", False),
    ],
)
def test_editor_and_program_agree(tmp_path, text, good):
    assert agrees(tmp_path, text) == good
