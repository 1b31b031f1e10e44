"""The order of the tests, one line about those that did not run, and tiny models in the formats of the big ones."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

LONGEST = ("tests/jobs/test_faults.py", "tests/workflow")  # each with one costly run that its tests share


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest begin."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Give all tests of a file, or of the workflow, to one worker, so that shared fixtures are made once."""
    return _Together(config, log)


class _Together(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return next((scope for scope in LONGEST if file.startswith(scope)), file)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Name the tests that did not run, and the remedy, in one line at the end."""
    line = skipped_line(report.longrepr[2] for report in terminalreporter.stats.get("skipped", []))
    if line:
        terminalreporter.write_line(line, yellow=True)


def skipped_line(reasons: Iterable[str]) -> str:
    """Such as "Not run: 2 tests of pages in a browser (apt-get install chromium)"; empty where all ran.

    A reason is "<what is tested>: <what to do>".
    """
    counts = Counter(reason.removeprefix("Skipped: ").partition(": ")[::2] for reason in reasons)
    parts = [f"{count} test{'s'[: count > 1]} of {what} ({remedy})" for (what, remedy), count in sorted(counts.items())]
    return f"Not run: {'; '.join(parts)}" if parts else ""


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An open_clip folder: two towers of width 32 and a tokenizer of bytes. Do not write into it."""
    import open_clip
    import torch
    from safetensors.torch import save_file
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    folder = tmp_path_factory.mktemp("clip")
    letters = sorted(ByteLevel.alphabet())
    # the end mark has the highest id: open_clip pools there
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[]).save_pretrained(folder)
    text = {"context_length": 48, "vocab_size": len(tokens), "hf_tokenizer_name": "of this folder"}
    text |= {"width": 32, "heads": 2, "layers": 2}
    vision = {"image_size": 32, "patch_size": 8, "width": 32, "head_width": 16, "layers": 1}
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {"size": 32}}))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="session")
def stable_diffusion_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A StableDiffusionPipeline of 16 by 16 pixels that reads 24 tokens. Do not write into it."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    marks = {
        "bos_token_id": len(tokens) - 2,
        "eos_token_id": len(tokens) - 1,
        "pad_token_id": len(tokens) - 1,
    }
    text = {**small, **marks, "vocab_size": len(tokens), "max_position_embeddings": 24}
    vision = {**small, "image_size": 16, "patch_size": 8}
    checker = StableDiffusionSafetyChecker(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))
    for concepts in (checker.concept_embeds, checker.special_care_embeds):
        concepts.data.normal_()
    side = {"height": 16, "width": 16}
    folder = tmp_path_factory.mktemp("stable-diffusion")
    StableDiffusionPipeline(
        vae=AutoencoderKL(
            down_block_types=["DownEncoderBlock2D"] * 2,
            up_block_types=["UpDecoderBlock2D"] * 2,
            block_out_channels=[8, 8],
            norm_num_groups=4,
            sample_size=16,
        ),
        text_encoder=CLIPTextModel(CLIPTextConfig(**text)),
        tokenizer=CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=24),
        unet=UNet2DConditionModel(
            sample_size=8,
            down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
            up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"],
            block_out_channels=[8, 16],
            layers_per_block=1,
            cross_attention_dim=16,
            attention_head_dim=4,
            norm_num_groups=4,
        ),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1),
        safety_checker=checker,
        feature_extractor=CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=side),
    ).save_pretrained(folder)
    return folder


WORDS = """
a the an of and on in at to with by is are it this there picture left right above below under beside next near
over seen be can little small tiny big large red orange yellow green blue purple white boat sailboat ball tree
house cottage car automobile kite flower blossom balloon fish star cup mug ghost sea beach sand snow snowy day
road street field meadow grass room
""".split()


@pytest.fixture(scope="session")
def captioner_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """vision/: a CLIPVisionModel of 16 by 16 pixels; tokenizer/: a BertTokenizer of `WORDS`. Do not write into them."""
    import torch
    from transformers import BertTokenizer, CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    folder = tmp_path_factory.mktemp("captioner")
    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    CLIPVisionModel(CLIPVisionConfig(**small, image_size=16, patch_size=8)).save_pretrained(folder / "vision")
    half = [0.5, 0.5, 0.5]
    sizes = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}}
    CLIPImageProcessor(**sizes, image_mean=half, image_std=half).save_pretrained(folder / "vision")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(WORDS)]
    BertTokenizer(vocab={word: number for number, word in enumerate(vocabulary)}).save_pretrained(folder / "tokenizer")
    return folder
