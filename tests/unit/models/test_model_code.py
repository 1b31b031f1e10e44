"""No code of a model's folder runs: one check for the folders of every library."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from icsd.core.errors import ModelError
from icsd.models import model_code
from icsd.models.model_folder import model_folder

CODE = 'from pathlib import Path\nPath("ran").touch()\n'
BERT = {"model_type": "bert", "architectures": ["BertModel"]}
CLIP = {"embed_dim": 8, "vision_cfg": {"layers": 1}, "text_cfg": {"context_length": 8}}
PADDING = {"padding": " " * model_code.LARGE_BYTES}
PIPELINE = {
    "_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"], "feature_extractor": [None, None],
    "force_zeros_for_empty_prompt": True,
}  # fmt: skip


def _clip(**text: Any) -> dict[str, Any]:
    return {"model_cfg": CLIP | {"text_cfg": CLIP["text_cfg"] | text}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    return tmp_path / "model"


def _write(folder: Path, name: str, content: Any, *, code: bool = True) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    if code:
        (folder / "evil.py").write_text(CODE)


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("open_clip_config.json", _clip(tokenizer_kwargs={"trust_remote_code": True}), "trust_remote_code"),
        ("open_clip_config.json", _clip(tokenizer_kwargs={"trust_remote_code": True}) | PADDING, "trust_remote_code"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.T", None]}} | PADDING, "(auto_map)"),
        ("open_clip_config.json", _clip(tokenizer_kwargs={"config": {"a": 1}}), "tokenizer the argument 'config'"),
        ("open_clip_config.json", _clip(hf_model_name="local-dir:x"), "names another folder or file (hf_model_name)"),
        ("open_clip_config.json", _clip(hf_model_name="model"), "names another folder or file (hf_model_name)"),
        ("open_clip_config.json", _clip(hf_model_name="model/evil.py"), "names another folder or file (hf_model_name)"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.T", None]}}, "(auto_map)"),
        ("config.json", BERT | {"auto_map": {"AutoModel": "evil.Model"}}, "(auto_map)"),
        ("config.json", BERT | {"text_config": {"trust_remote_code": True}}, "(trust_remote_code)"),
        ("unet/config.json", {"auto_map": {"AutoModel": "evil.Model"}}, "unet/config.json names classes"),
        ("model_index.json", PIPELINE | {"unet": ["os", "Unet"]}, "names the module 'os' (unet)"),
        ("model_index.json", PIPELINE | {"unet": ["README", "Unet"]}, "names the module 'README' (unet)"),
        ("model_index.json", PIPELINE | {"unet": ["evil", "Unet"]}, "names the module 'evil' (unet)"),
        ("model_index.json", PIPELINE | {"_class_name": ["evil", "Pipeline"]}, "(_class_name)"),
    ],
)
def test_a_folder_whose_json_names_code_is_refused(folder: Path, name: str, content: Any, part: str) -> None:
    _write(folder, name, content)
    with pytest.raises(ModelError) as error:
        model_folder("embeddings.model", str(folder), [name])
    message = str(error.value)
    assert message.startswith(f"embeddings.model={folder}: {folder}/") and part in message
    assert "no code of a model's folder is run" in message and "\n" not in message
    assert not Path("ran").exists() and "evil" not in sys.modules


@pytest.mark.parametrize("module", ["diffusers", "stable_diffusion", "mine"])
def test_a_file_with_the_name_of_a_parts_module_is_refused(folder: Path, module: str) -> None:
    _write(folder, "model_index.json", PIPELINE | {"unet": [module, "UNet"]}, code=False)
    (folder / "unet").mkdir()
    (folder / f"unet/{module}.py").write_text(CODE)
    with pytest.raises(ModelError, match=r"model_index\.json names the module (of unet/|'mine' \(unet\))"):
        model_folder("images.model", str(folder), [])


def test_code_of_another_repository_is_refused(folder: Path) -> None:
    _write(folder, "config.json", BERT | {"auto_map": {"AutoModel": "other/model--evil.Model"}}, code=False)
    with pytest.raises(ModelError, match="auto_map"):
        model_folder("embeddings.model", str(folder), [])


def test_usual_folders_pass(folder: Path) -> None:
    _write(folder, "open_clip_config.json", _clip(tokenizer_kwargs={"clean": "canonicalize", "strip_sep_token": True}))
    _write(folder, "model_index.json", PIPELINE)
    _write(folder, "config.json", BERT | {"trust_remote_code": False})
    _write(folder, "broken.json", "")
    (folder / "broken.json").write_text("{")
    (folder / "evil.py").unlink()
    _write(folder, "tokenizer/config.json", BERT | {"auto_map": {"AutoModel": "evil.Model"}}, code=False)
    assert model_folder("images.model", str(folder), []) == folder


def test_a_linked_folder_is_checked(folder: Path, tmp_path: Path) -> None:
    _write(tmp_path / "elsewhere", "unet/config.json", {"auto_map": {"AutoModel": "evil.Model"}})
    (folder / "unet").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match=r"model/unet/unet/config\.json names classes of Python files"):
        model_folder("images.model", str(folder), [])


def test_linked_files_and_links_in_a_circle_pass(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "blob").write_text(json.dumps(BERT))  # as in the hub's cache
    (folder / "config.json").symlink_to(tmp_path / "blob")
    (folder / "circle").symlink_to(folder)
    (folder / "lost.json").symlink_to(tmp_path / "nowhere")
    assert model_folder("images.model", str(folder), []) == folder


def test_only_vocabularies_may_be_large(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_code, "LARGE_BYTES", 100)
    monkeypatch.setattr(model_code, "MAX_BYTES", 1000)
    vocabulary = {str(number): number for number in range(1000)}
    _write(folder, "unet/vocab.json", vocabulary)
    _write(folder, "tokenizer.json", vocabulary)
    assert model_folder("images.model", str(folder), []) == folder
    _write(folder, "unet/config.json", vocabulary)
    with pytest.raises(ModelError, match=r"unet/config\.json has 11,780 bytes, more than the 1,000 .*take it out"):
        model_folder("images.model", str(folder), [])


def test_json_of_100000_brackets_is_one_message(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000)
    with pytest.raises(ModelError, match="nested too deep"):
        model_folder("images.model", str(folder), [])
