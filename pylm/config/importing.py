"""Rewrites a configuration of one of the older tools as ours, and names what it cannot carry over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pylm.config.cascade import Resolved, Setting, dump, resolve
from pylm.config.foreign import FOREIGN_SECTIONS, Foreign, foreign_key
from pylm.config.schema import SECTIONS, Config
from pylm.config.units import parse_number
from pylm.config.yaml_file import Mapped, read_yaml
from pylm.errors import ConfigError
from pylm.wording import in_options, param

__all__ = ["TOOLS", "Imported", "import_file"]

# what each tool's models are made of, where its files do not say
TOOLS: dict[str, dict[str, str]] = {
    "nue": {"norm": "layernorm", "mlp": "gelu", "position": "rope", "bias": "false"},
    "mlx-transformer": {"norm": "rmsnorm", "mlp": "swiglu", "position": "rope", "bias": "false"},
    "building-llm": {"norm": "layernorm", "mlp": "gelu", "position": "learned", "bias": "true"},
    "microgpt": {"norm": "layernorm", "mlp": "gelu", "position": "rope", "bias": "true"},
    "nash-llm": {"norm": "layernorm", "mlp": "gelu", "position": "learned", "bias": "true"},
}
# the first whose keys are all there
_SIGNS = (
    ("mlx-transformer", {"embedding_dim"}),
    ("nue", {"n_embed"}),
    ("microgpt", {"n_layer", "n_embd"}),
    ("microgpt", {"use_rope"}),
    ("microgpt", {"gradient_accumulation_iterations"}),
    ("building-llm", {"n_embd"}),
    ("nash-llm", {"d_model", "max_seq_len"}),
)


_LISTS = ("sample.stop", "train.betas", "data.mix", "data.sources", "metrics.trackers")


@dataclass
class Imported:
    """A rewritten file: the tool it was taken for, what it sets, what became of each key and what was left behind."""

    tool: str | None
    settings: list[Setting] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)

    def resolved(self) -> Resolved:
        """Return it resolved, checked as any configuration is checked."""
        return resolve(settings=self.settings, environ={})

    def to_yaml(self) -> str:
        """Return it as a file, with what was left behind as comments."""
        resolved = self.resolved()
        lines = [f"# from a file of {self.tool}"] if self.tool else []
        # whoever reads the file gives it to a command
        lines += [f"# not carried over: {key}: {in_options(why)}" for key, why in self.dropped]
        return "\n".join([*lines, dump(resolved.config, resolved.origins)])


def import_file(path: Path, tool: str | None = None, profile: str | None = None) -> Imported:
    """Return a file rewritten as a configuration of pylm.

    Args:
        path: YAML or JSON of one of the older tools.
        tool: a name of TOOLS; told from its keys where None.
        profile: which of the file's configurations, where it holds several.
    """
    top = _profile(read_yaml(path), path, profile)
    given = list(_flat(top, str(path)))
    names = {key for _, key, _, _ in given}
    tool = tool or next((name for name, signs in _SIGNS if signs <= names), None)
    made = Imported(tool)
    context = {key: value for _, key, value, _ in given}
    for section, key, value, origin in given:
        _carry(made, section, key, value, origin, context)
    shaped = any(setting.key.startswith("model.") for setting in made.settings)
    if shaped and tool is None:
        raise ConfigError(
            f"cannot tell which tool {path} was written for, and so which norm, MLP and positions its models have",
            f"say it: {param('from')} {' | '.join(TOOLS)}",
        )
    if shaped and tool is not None:
        said = {setting.key for setting in made.settings}
        implied = [Setting(f"model.{key}", value, f"as {tool} does") for key, value in TOOLS[tool].items()]
        made.settings += [setting for setting in implied if setting.key not in said]
    if not made.settings:
        raise ConfigError(f"{path} holds no key that pylm knows, under its own name or an older tool's")
    made.resolved()
    return made


def _profile(top: Mapped, path: Path, profile: str | None) -> Mapped:
    """Choose one of several configurations in a file, such as buildingLLMFromScratch's hardware profiles."""
    inner = {
        name: value
        for name, value in top.values.items()
        if isinstance(value, Mapped) and {"model", "training", "train"} & set(value.values)
    }
    if profile is not None:
        if profile not in inner:
            raise ConfigError(
                f"{path} has no configuration named {profile}", f"it has {', '.join(inner) or 'only one'}"
            )
        return inner[profile]
    if inner and not {"model", "training", "train"} & set(top.values):
        raise ConfigError(f"{path} holds several configurations", f"choose one: {param('profile')} {' | '.join(inner)}")
    return top


def _flat(top: Mapped, name: str) -> list[tuple[str, str, Any, str]]:
    rows: list[tuple[str, str, Any, str]] = []
    for key, value, line in top.items():
        if isinstance(value, Mapped):
            rows += [(key, inner, item, f"{name}:{at}") for inner, item, at in value.items()]
        else:
            rows.append(("", key, value, f"{name}:{line}"))
    return rows


def _carry(made: Imported, section: str, key: str, value: Any, origin: str, context: Mapping[str, Any]) -> None:
    """Carry one key over, or say why not."""
    qualified = f"{section}.{key}" if section else key
    became = foreign_key(key, section) or _as_it_is(key, section)
    if section == "custom_datasets":
        became = foreign_key("custom_datasets")
    if became is None or became.ours is None or became.reading == "drop":
        why = became.note if became else "no counterpart"
        made.dropped.append((qualified, f"see {became.ours}: {why}" if became and became.ours else why))
        return
    if became.reading != "same":
        read = _READINGS[became.reading](value, context)
        if read is None:
            why = "is for W&B, which is not asked for" if "wandb" in became.reading else "cannot be turned into it"
            made.dropped.append((qualified, f"see {became.ours}: {value!r} {why}"))
            return
        value = read
    if isinstance(value, (list, Mapped)) and became.ours not in _LISTS:
        made.dropped.append((qualified, f"several values, where {became.ours} is one"))
        return
    target_section, _, target = became.ours.partition(".")
    value = _off(target_section, target, value)
    if any(setting.key == became.ours and setting.value != value for setting in made.settings):
        if became.reading not in ("first beta", "second beta"):
            made.dropped.append((qualified, f"{became.ours} is set by another key of the file"))
        return
    made.settings.append(Setting(became.ours, value, origin))
    if qualified != became.ours:
        made.renamed.append((qualified, became.ours))


def _as_it_is(key: str, section: str) -> Foreign | None:
    """Find a key that is spelled as ours, in the section that answers to the old one, else wherever it stands alone."""
    ours = FOREIGN_SECTIONS.get(section, section)
    if ours in SECTIONS and key in SECTIONS[ours].model_fields:
        return Foreign(f"{ours}.{key}")
    homes = [name for name, kind in SECTIONS.items() if key in kind.model_fields]
    if "train" in homes and not section:
        return Foreign(f"train.{key}")
    return Foreign(f"{homes[0]}.{key}") if len(homes) == 1 else None


def _off(section: str, key: str, value: Any) -> Any:
    """Turn the older tools' 0 for "not at all" into null where ours says null."""
    if key == "grad_clip" or str(value) not in ("0", "0.0"):
        return value
    default = SECTIONS[section].model_fields[key]
    return None if getattr(default.metadata[-1], "none", False) else value


def _number(value: Any) -> float | None:
    try:
        return float(parse_number(str(value)))
    except ValueError:
        return None


def _share(value: Any, context: Mapping[str, Any]) -> Any:
    rate = _first(context, "learning_rate", "lr", "max_learning_rate") or Config().train.peak
    least = _number(value)
    return None if least is None else round(least / rate, 6)


def _first(context: Mapping[str, Any], *keys: str) -> float | None:
    return next((number for key in keys if (number := _number(context.get(key))) is not None), None)


def _ratio(value: Any, context: Mapping[str, Any]) -> Any:
    width, ratio = _first(context, "d_model", "n_embed", "n_embd", "embedding_dim"), _number(value)
    return None if width is None or ratio is None else int(width * ratio)


def _less_overlap(value: Any, context: Mapping[str, Any]) -> Any:
    context_length, overlap = _first(context, "context_length", "ctx_len", "ctx_length", "block_size"), _number(value)
    return None if context_length is None or overlap is None else int(context_length - overlap)


def _betas(_value: Any, context: Mapping[str, Any]) -> Any:
    first, second = Config().train.betas
    return [_first(context, "beta1") or first, _first(context, "beta2") or second]


def _yes(value: Any) -> bool | None:
    return {
        "true": True,
        "yes": True,
        "on": True,
        "1": True,
        "false": False,
        "no": False,
        "off": False,
        "0": False,
    }.get(str(value).lower())


def _precision(value: Any, _context: Mapping[str, Any]) -> Any:
    return {True: "auto", False: "fp32", None: value}[_yes(value)]


def _wandb(_value: Any, context: Mapping[str, Any]) -> Any:
    """Return the trackers of one who wants W&B, under the project's name; none of one who does not."""
    wanted = [_yes(context[key]) for key in ("wandb_enabled", "use_wandb", "wandb") if key in context]
    project = context.get("wandb_project")
    return [f"wandb:{project}" if project else "wandb"] if any(wanted) else [] if wanted else None


_READINGS: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "wandb": _wandb,
    "wandb project": _wandb,
    "tensorboard": lambda value, _: ["tensorboard"] if _yes(value) else [],
    "ratio": _ratio,
    "share of the rate": _share,
    "context less this": _less_overlap,
    "first beta": _betas,
    "second beta": _betas,
    "auto or fp32": _precision,
    "rope or learned": lambda value, _: "rope" if _yes(value) else "learned",
    "position": lambda value, _: value if value in ("rope", "learned") else None,
    "zero when false": lambda value, _: None if _yes(value) else 0,
}
