"""The check that no code of a model's folder runs, whatever its JSON says; for every kind of folder.

transformers, diffusers and open_clip run Python files of a folder, or of another repository, that its JSON names. Most
of their calls can be told not to; open_clip passes on what the JSON says, and a pipeline's index names modules.
"""

import json
import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from icsd.core.errors import ModelError

INDEX = "model_index.json"  # of a pipeline's parts
VOCABULARIES = ("tokenizer.json", "vocab.json")  # of up to 40 MB; no library takes arguments from them
LARGE_BYTES = 2**20  # of a vocabulary that is not read
MAX_BYTES = 2**25  # of any other JSON; the largest tokenizer_config.json have 1 MB, tables of weights 10 MB
TOKENIZER_KEYS = {"clean", "strip_sep_token", "language", "reduction_mask", "context_length", "use_fast"}
WAY_OUT = "no code of a model's folder is run: give a folder without it"


def check_no_code(setting: str, folder: Path) -> None:
    """Raise ModelError, naming the config's `setting`, for a folder whose JSON names code that a library would run."""
    files = sorted(_files(folder))
    has_code = any(path.suffix == ".py" for path in files)
    for path in files:
        if path.suffix == ".json" and path.is_file() and not _is_large_vocabulary(path):
            _check(setting, path, has_code=has_code)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below the folder. Links are followed, since libraries do; a folder comes once."""
    seen = set[str]()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(place, name) for name in names)


def _is_large_vocabulary(path: Path) -> bool:
    return path.name in VOCABULARIES and path.stat().st_size > LARGE_BYTES


def _check(setting: str, path: Path, *, has_code: bool) -> None:
    if (size := path.stat().st_size) > MAX_BYTES:
        problem = f"has {size:,} bytes, more than the {MAX_BYTES:,} of a JSON that is checked for code"
        raise ModelError(f"{setting}: {path} {problem}; take it out of the folder, or give another folder")
    try:
        document = json.loads(path.read_bytes())
    except RecursionError as error:
        raise ModelError(f"{setting}: {path} is nested too deep to be read; give another folder") from error
    except (ValueError, OSError):
        return  # the library that needs the file says so
    problems = [each for key, value in _pairs(document) if (each := _problem(key, value, has_code=has_code))]
    if path.name == INDEX and isinstance(document, dict):
        problems += _foreign_parts(document, path.parent)
    if problems:
        raise ModelError(f"{setting}: {path} {problems[0]}; {WAY_OUT}")


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key with its value, at any depth."""
    if isinstance(value, dict):
        yield from value.items()
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _pairs(each)


def _problem(key: str, value: Any, *, has_code: bool) -> str:
    if key == "trust_remote_code" and value:
        return "asks to trust code (trust_remote_code)"
    if key == "auto_map" and value and (has_code or "--" in str(value)):
        return "names classes of Python files (auto_map)"
    if key == "tokenizer_kwargs" and isinstance(value, dict) and (unknown := sorted({*value} - TOKENIZER_KEYS)):
        return f"gives its tokenizer the argument {unknown[0]!r} (tokenizer_kwargs)"
    # transformers also reads a file of any name as a config
    if key in {"timm_model_name", "hf_model_name"} and isinstance(value, str) and (":" in value or _exists(value)):
        return f"names another folder or file ({key})"
    return ""


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # such as a name that is too long
        return False


def _foreign_parts(index: Mapping[str, Any], folder: Path) -> list[str]:
    """Return a problem for each part of a pipeline whose class is of a module outside diffusers and transformers.

    diffusers prefers a Python file of that name in the part's folder to its own module.
    """
    spec = find_spec("diffusers")
    folders = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    known = {path.parent.name for place in folders for path in Path(place).glob("pipelines/*/__init__.py")}
    known |= {"diffusers", "transformers"}
    if isinstance(index.get("_class_name"), list):
        return ["names a pipeline of a Python file (_class_name)"]
    pairs = {name: value for name, value in index.items() if isinstance(value, list) and len(value) == 2}
    parts = {name: value[0] for name, value in pairs.items() if isinstance(value[1], str)}
    foreign = [f"names the module {module!r} ({name})" for name, module in parts.items() if str(module) not in known]
    own = [f"{name}/{module}.py" for name, module in parts.items() if _exists(f"{folder}/{name}/{module}.py")]
    return foreign + [f"names the module of {file}" for file in own]
