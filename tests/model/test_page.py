"""docs/models.md says of every preset what the code says."""

from pathlib import Path

import pytest

from pylm.config.cascade import resolve
from pylm.config.preset_files import preset_names
from pylm.config.schema import Model as Shape
from pylm.config.shape import complete, count_parameters
from pylm.errors import ConfigError
from pylm.model.layouts import layout_of

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("preset", preset_names())
def test_the_table_of_presets_is_true(preset: str) -> None:
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{preset}` |")]
    _, layers, heads, width, inner, context, vocabulary, parameters, layout = cells(line)
    shape = complete(resolve(preset=preset, environ={}).config.model, int(vocabulary.replace(",", "")))
    assert (layers, width, inner, context, parameters) == tuple(
        f"{number:,}"
        for number in (shape.n_layers, shape.d_model, shape.d_ff, shape.context_length, count_parameters(shape))
    )
    assert heads == f"{shape.n_heads}" + (f", {shape.n_kv_heads} of keys" if shape.n_kv_heads != shape.n_heads else "")
    try:
        assert layout == layout_of(shape)
    except ConfigError:
        assert layout == "ours"


def test_every_field_is_explained() -> None:
    sizes = {"n_layers", "n_heads", "d_model", "d_ff", "vocab_size", "context_length", "norm_eps", "rope_theta"}
    for field in Shape.model_fields.keys() - sizes:
        assert f"`{field}`" in PAGE, field
