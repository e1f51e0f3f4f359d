"""Hydra composes YAML, strict frozen dataclasses hold the truth.

YAML and the command line give values; the dataclasses of ``core.schema`` and of the family say which keys exist, of which
type, and which values are possible. A typo anywhere (override, ``+`` override, experiment file, nested group) is refused
with the nearest valid key named; Hydra alone accepts several of these.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from zoo.core.errors import ConfigError, one_line

ConfigT = TypeVar("ConfigT")

# What a hash of the configuration leaves out: they change where a run writes, not what it computes.
NOT_HASHED = ("run", "logger")


def config_root() -> Path:
    """The folder of the packaged Hydra tree: inside an installed wheel, or at the top of a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "train.yaml").is_file():
            return folder
    raise ConfigError(f"no configs folder beside {package}: reinstall sci-model-zoo, or run from a checkout")


def experiments(config_dirs: Sequence[Path] = ()) -> list[str]:
    """Names ``<family>/<name>`` of every experiment file, packaged and in the user's own ``config_dirs``."""
    names = set()
    for root in (*config_dirs, config_root()):
        folder = root / "experiment"
        names |= {str(p.relative_to(folder).with_suffix("")) for p in folder.glob("*/*.yaml")}
    return sorted(names)


def compose(overrides: Sequence[str], config_dirs: Sequence[Path] = ()) -> dict[str, Any]:
    """Compose the Hydra tree into a plain, fully resolved dictionary.

    Args:
        overrides: Hydra overrides such as ``experiment=neural_de/digits-er`` or ``trainer.steps=100``; a bare
            ``<family>/<name>`` first is short for ``experiment=<family>/<name>``.
        config_dirs: the user's own config folders, searched before the packaged ones.

    Raises:
        ConfigError: an override that cannot be parsed, an unknown key, group or option, a missing value.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    overrides = normalised(overrides, config_dirs)
    try:
        with initialize_config_dir(str(config_root()), version_base=None, job_name="zoo"):
            config = hydra_compose("train", [*search_path(config_dirs), *overrides])
        missing = OmegaConf.missing_keys(config)
        if missing:
            key = sorted(missing)[0]
            raise ConfigError(f"{key} has no value: add {key}=VALUE")
        plain = OmegaConf.to_container(config, resolve=True)
    except (HydraException, OmegaConfBaseException, OSError, ValueError) as error:
        raise ConfigError(explain(error, overrides, config_dirs)) from error
    assert isinstance(plain, dict)
    return typing.cast(dict[str, Any], plain)


def normalised(overrides: Sequence[str], config_dirs: Sequence[Path] = ()) -> list[str]:
    """Overrides as Hydra is to see them: the experiment's short form written out, every plain key settable.

    Raises:
        ConfigError: no experiment is named, or a config folder does not exist.
    """
    overrides = list(overrides)
    if overrides and re.fullmatch(r"[\w-]+/[\w.-]+(,[\w-]+/[\w.-]+)*", overrides[0]):
        overrides[0] = f"experiment={overrides[0]}"
    for folder in config_dirs:
        if not folder.is_dir():
            raise ConfigError(f"--config-dir {folder}: no such folder")
    if not any(o.lstrip("+").startswith("experiment=") for o in overrides):
        names = ", ".join(experiments(config_dirs))
        raise ConfigError(f"no experiment given: name one, for example experiment=neural_de/digits-er (known: {names})")
    return [_forced(o, groups(config_dirs)) for o in overrides]


def search_path(config_dirs: Sequence[Path]) -> list[str]:
    """The override that tells Hydra of the user's own config folders."""
    return [f"hydra.searchpath=[{','.join(f'file://{d.resolve()}' for d in config_dirs)}]"] if config_dirs else []


def groups(config_dirs: Sequence[Path] = ()) -> set[str]:
    """Names of the config groups: the folders of the packaged tree and of the user's own."""
    return {p.name for root in (*config_dirs, config_root()) for p in root.iterdir() if p.is_dir()}


def _forced(override: str, known_groups: set[str]) -> str:
    """``key=value`` as ``++key=value``: Hydra then sets any key and leaves it to the dataclasses to refuse a wrong one, so that every
    valid key can be set whether or not some YAML file mentions it."""
    key, equals, _ = override.partition("=")
    plain = equals and not override.startswith(("+", "~")) and key.split("@")[0] not in known_groups
    return f"++{override}" if plain and not key.startswith("hydra.") else override


def explain(error: Exception, overrides: Sequence[str], config_dirs: Sequence[Path]) -> str:
    """One line for what Hydra or OmegaConf said, with the nearest valid name."""
    text = str(error)
    if "Config group override must be" in text:
        chosen = {o.lstrip("+").partition("=")[0]: o for o in overrides}
        # Hydra does not say which: the one whose choice is none of its options, named the same on every run.
        given = [g for g in sorted(groups(config_dirs)) if g in chosen]
        wrong = [g for g in given if chosen[g].partition("=")[2] not in _options(g, config_dirs)]
        group = next(iter(wrong or given), "")
        options = ", ".join(_options(group, config_dirs))
        return f"{chosen.get(group, '')}: {group} is a config group, choose one of {options}, or set one of its keys"
    if found := re.search(r"Could not find '([^']+)'", text):
        group, _, option = found[1].partition("/")
        options = _options(group, config_dirs)
        if not options:
            return f"unknown config group {group!r}{nearest(group, groups(config_dirs))}"
        return f"unknown {group} {option!r}{nearest(option, options)} (known: {', '.join(options)})"
    if "Ambiguous value" in text:
        return (
            one_line(text.split("\n")[0]).replace("++", "")
            + ": quote it, write it as a list [a,b], or sweep with -m, without --cfg"
        )
    if override := getattr(error, "override", None):  # its parser names a place in it, not the override
        return f"{str(override).removeprefix('++')} cannot be read: {one_line(text.split('See http')[0])}"
    text = re.sub(r"See https?://\S+.*", "", text, flags=re.S)
    return one_line(re.sub(r"full_key: (\S+)\s+object_type=\S+", r"(at \1)", text))


def _options(group: str, config_dirs: Sequence[Path]) -> list[str]:
    names: set[str] = set()
    for root in (*config_dirs, config_root()):
        folder = root / group
        names |= {str(p.relative_to(folder).with_suffix("")) for p in folder.rglob("*.yaml")}
    return sorted(names)


def nearest(name: str, known: Iterable[str]) -> str:
    """`": did you mean 'x'?"` for the valid name nearest to ``name``, or an empty string."""
    known = list(known)
    match = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if not match:  # the right last component in the wrong section, or the other way round
        by_leaf = {k.rsplit(".", 1)[-1]: k for k in known}
        match = [by_leaf[m] for m in difflib.get_close_matches(name.rsplit(".", 1)[-1], by_leaf, n=1, cutoff=0.7)]
    return f": did you mean {match[0]!r}?" if match else ""


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping of dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def config_hash(config: Mapping[str, Any]) -> str:
    """First 12 hexadecimal digits of the SHA-256 of the canonical JSON of what a run computes."""
    kept = {k: v for k, v in config.items() if k not in NOT_HASHED}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, allow_nan=True).encode()).hexdigest()[:12]


def keys_of(cls: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of all leaves of a (nested) config dataclass."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        inner = [t for t in (hints[field.name], *typing.get_args(hints[field.name])) if dataclasses.is_dataclass(t)]
        for t in inner:
            yield from keys_of(t, f"{prefix}{field.name}.")
        if not inner:
            yield f"{prefix}{field.name}"


def structure(plain: Mapping[str, Any], cls: type[ConfigT]) -> ConfigT:
    """Turn a plain dictionary into the frozen dataclass ``cls``, refusing what does not fit.

    Raises:
        ConfigError: unknown key (nearest named), missing key, wrong type (no silent conversion), impossible value; all
            problems of one dictionary are in the one line.
    """
    from cattrs.errors import BaseValidationError

    try:
        return _converter().structure(plain, cls)
    except BaseValidationError as error:
        problems = list(_problems(error, "", cls, list(keys_of(cls))))
        raise ConfigError("; ".join(dict.fromkeys(problems))) from error


def unstructure(config: Any) -> dict[str, Any]:
    """The plain, JSON-ready dictionary of a config dataclass."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def _converter():
    import cattrs

    def strict(accepts: tuple[type, ...], convert: type, word: str):
        def hook(value: Any, _: Any) -> Any:
            if not isinstance(value, accepts) or (isinstance(value, bool) and bool not in accepts):
                raise TypeError(f"={value!r} is {_word(value)}, it must be {word}")
            return convert(value)

        return hook

    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook(int, strict((int,), int, "a whole number"))
    converter.register_structure_hook(float, strict((int, float), float, "a number"))
    converter.register_structure_hook(bool, strict((bool,), bool, "true or false"))
    converter.register_structure_hook(str, strict((str,), str, "text"))

    def is_optional(t: Any) -> bool:
        return typing.get_origin(t) in (typing.Union, types.UnionType)

    def union_hook(t: Any):
        members = typing.get_args(t)

        def hook(value: Any, _: Any) -> Any:
            if value is None and type(None) in members:
                return None
            inner = [m for m in members if m is not type(None)]
            errors = []
            for m in inner:
                try:
                    return converter.structure(value, m)
                except Exception as error:
                    errors.append(error)
            raise errors[-1]

        return hook

    converter.register_structure_hook_factory(is_optional, union_hook)

    def is_sequence(t: Any) -> bool:
        return typing.get_origin(t) in (tuple, list)

    def sequence_hook(t: Any):
        member = typing.get_args(t)[0]
        build = typing.get_origin(t)

        def hook(value: Any, _: Any) -> Any:
            if not isinstance(value, list | tuple):
                raise TypeError(f"={value!r} is {_word(value)}, it must be a list")
            return build(converter.structure(v, member) for v in value)

        return hook

    converter.register_structure_hook_factory(is_sequence, sequence_hook)

    def literal_hook(t: Any):
        allowed = typing.get_args(t)

        def hook(value: Any, _: Any) -> Any:
            if value not in allowed or isinstance(value, bool) != any(
                isinstance(a, bool) and a == value for a in allowed
            ):
                raise ValueError(f"={value!r}: it must be one of {', '.join(map(str, allowed))}")
            return value

        return hook

    converter.register_structure_hook_factory(lambda t: typing.get_origin(t) is typing.Literal, literal_hook)
    return converter


def _word(value: Any) -> str:
    return {
        bool: "true/false", int: "a whole number", float: "a number", str: "text", list: "a list", dict: "a section",
        type(None): "empty",
    }.get(type(value), type(value).__name__)  # fmt: skip


def _problems(error: BaseException, path: str, cls: Any, known: list[str]) -> Iterator[str]:
    """Walk cattrs' exception group and name each problem by its dotted key."""
    from cattrs.errors import AttributeValidationNote, BaseValidationError, ForbiddenExtraKeysError

    if isinstance(error, BaseValidationError):
        for inner in error.exceptions:
            notes = [n for n in getattr(inner, "__notes__", ()) if isinstance(n, AttributeValidationNote)]
            here = f"{path}.{notes[-1].name}".lstrip(".") if notes else path
            yield from _problems(inner, here, cls, known)
    elif isinstance(error, ForbiddenExtraKeysError):
        for name in sorted(error.extra_fields):
            key = f"{path}.{name}".lstrip(".")
            valid = sorted(f.name for f in dataclasses.fields(typing.cast(Any, error.cl)))
            suggestion = nearest(str(name), valid)
            if suggestion:  # name the whole key, not the last word of it
                suggestion = suggestion.replace("mean '", f"mean '{path}." if path else "mean '")
            yield f"unknown key {key!r}{suggestion or nearest(key, known)} (valid there: {', '.join(valid)})"
    elif isinstance(error, KeyError):
        key = f"{path}.{error.args[0]}".lstrip(".") if not path.endswith(str(error.args[0])) else path
        yield f"{key} has no value: add {key}=VALUE"
    else:
        text = one_line(str(error))
        if text.startswith("="):
            yield f"{path}{text}"
        elif isinstance(error, AttributeError | TypeError):  # cattrs looked for keys in a scalar
            yield f"{path} must be a section of keys, not a single value"
        else:  # a dataclass's own check: it names its field, we add the section
            yield f"{path}.{text}".lstrip(".")
