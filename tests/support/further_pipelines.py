"""Folders of further text-to-image pipelines with random weights: those with a chat model, and those of two halves.

`FURTHER_PARTS` has a function for each class, as `PARTS` of `pipelines`.
"""

from collections.abc import Callable
from typing import Any

import diffusers
import torch
import transformers
from diffusers import FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from diffusers.pipelines.kandinsky.text_encoder import MCLIPConfig, MultilingualCLIP
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from transformers.models.t5gemma.configuration_t5gemma import T5GemmaModuleConfig
from transformers.models.t5gemma.modeling_t5gemma import T5GemmaEncoder

from tests.support.pipelines import (
    CHAT,
    Parts,
    clip,
    clip_tokenizer,
    flow_vae,
    flux2_vae,
    language_model,
    qwen_tokenizer,
    qwen_vae,
    qwen_vl,
    t5_tokenizer,
    vae,
)


# --- Processors: a tokenizer and the preparation of images ------------------------------------------------------------
def qwen_processor(kind: str) -> Any:
    images, videos = transformers.Qwen2VLImageProcessor(), transformers.Qwen2VLVideoProcessor()
    if kind == "Qwen3VLProcessor":
        videos = transformers.Qwen3VLVideoProcessor()
    tokenizer = qwen_tokenizer()
    tokenizer.add_tokens(["<|video_pad|>"], special_tokens=True)
    return getattr(transformers, kind)(images, tokenizer, videos, chat_template=CHAT)


def pixtral_processor() -> Any:
    tokenizer = qwen_tokenizer()
    tokenizer.add_tokens(["[IMG]", "[IMG_BREAK]", "[IMG_END]"], special_tokens=True)
    return transformers.PixtralProcessor(transformers.PixtralImageProcessor(), tokenizer, chat_template=CHAT)


def mistral(kind: str, layers: int) -> Any:
    small = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "head_dim": 8}
    text = {**small, "model_type": "mistral", "vocab_size": 300, "num_hidden_layers": layers, "num_key_value_heads": 2}
    vision = {**small, "model_type": "pixtral", "num_hidden_layers": 1, "image_size": 28, "patch_size": 14}
    config = transformers.Mistral3Config(text_config=text, vision_config=vision, image_token_index=1)
    return getattr(transformers, kind)(config)


# --- Pipelines that read with a chat model ----------------------------------------------------------------------------
def flux_2() -> Parts:
    return {
        "transformer": diffusers.Flux2Transformer2DModel(
            patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=48, timestep_guidance_channels=16, axes_dims_rope=[4, 4, 4, 4],
        ),
        # the pipeline reads the layers 10, 20 and 30
        "text_encoder": mistral("Mistral3ForConditionalGeneration", 31), "tokenizer": pixtral_processor(),
        "vae": flux2_vae(), "scheduler": FlowMatchEulerDiscreteScheduler(),
    }  # fmt: skip


def kandinsky_5() -> Parts:
    return {
        "transformer": diffusers.Kandinsky5Transformer3DModel(
            in_visual_dim=4, out_visual_dim=4, in_text_dim=16, in_text_dim2=16, time_dim=16, model_dim=16, ff_dim=32,
            num_text_blocks=1, num_visual_blocks=1, axes_dims=(1, 1, 2),
        ),
        "text_encoder": qwen_vl(), "tokenizer": qwen_processor("Qwen2VLProcessor"), "text_encoder_2": clip(16, False),
        "tokenizer_2": clip_tokenizer(), "vae": vae(levels=4), "scheduler": FlowMatchEulerDiscreteScheduler(shift=7.0),
    }  # fmt: skip


def longcat() -> Parts:
    return {
        "transformer": diffusers.LongCatImageTransformer2DModel(
            patch_size=1, in_channels=64, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=16, pooled_projection_dim=16, axes_dims_rope=[4, 4, 8],
        ),
        "text_encoder": qwen_vl(), "tokenizer": qwen_tokenizer(), "text_processor": qwen_processor("Qwen2VLProcessor"),
        "vae": flow_vae(16), "scheduler": FlowMatchEulerDiscreteScheduler(),
    }  # fmt: skip


def qwen_image_21() -> Parts:
    return {
        "transformer": diffusers.QwenImage21Transformer2DModel(
            in_channels=4, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2,
            context_in_dim=16, axes_dims_rope=(4, 6, 6),
        ),
        "text_encoder": qwen_vl("Qwen3VLForConditionalGeneration"), "processor": qwen_processor("Qwen3VLProcessor"),
        "vae": diffusers.AutoencoderKLQwenImage21(
            base_dim=8, decoder_base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1, 1], num_res_blocks=1,
            latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
        ),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }  # fmt: skip


def nucleus() -> Parts:
    return {
        "transformer": diffusers.NucleusMoEImageTransformer2DModel(
            patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=16, axes_dims_rope=(8, 4, 4), moe_enabled=False, capacity_factors=[8.0, 8.0],
        ),
        "text_encoder": qwen_vl("Qwen3VLForConditionalGeneration", layers=8),
        "processor": qwen_processor("Qwen3VLProcessor"), "vae": qwen_vae(),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }  # fmt: skip


def ernie() -> Parts:
    return {
        "transformer": diffusers.ErnieImageTransformer2DModel(
            hidden_size=32, num_attention_heads=2, num_layers=1, ffn_hidden_size=32, in_channels=4, out_channels=4,
            text_in_dim=16, rope_axes_dim=(4, 6, 6),
        ),
        "text_encoder": mistral("Mistral3Model", 2), "tokenizer": qwen_tokenizer(), "vae": flux2_vae(),
        "scheduler": FlowMatchEulerDiscreteScheduler(), "pe": None, "pe_tokenizer": None,
    }  # fmt: skip


def z_image_omni() -> Parts:
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    transformer = diffusers.ZImageTransformer2DModel(
        all_patch_size=(2,), all_f_patch_size=(1,), in_channels=4, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2,
        n_kv_heads=2, cap_feat_dim=16, axes_dims=[8, 4, 4], axes_lens=[1024, 32, 32], siglip_feat_dim=16,
    )  # fmt: skip
    for empty in (transformer.x_pad_token, transformer.cap_pad_token, transformer.siglip_pad_token):
        torch.nn.init.ones_(empty)  # otherwise memory that was never written
    return {
        "transformer": transformer, "text_encoder": language_model("Qwen3", "Qwen3Model"),
        "tokenizer": qwen_tokenizer(), "vae": flow_vae(),
        "siglip": transformers.Siglip2VisionModel(transformers.Siglip2VisionConfig(**small, num_patches=16)),
        "siglip_processor": transformers.Siglip2ImageProcessor(), "scheduler": FlowMatchEulerDiscreteScheduler(),
    }  # fmt: skip


def prx() -> Parts:
    small = {
        "vocab_size": 30, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 512, "layer_types": ["full_attention"],
        "is_decoder": False,
    }  # fmt: skip
    own = ("model_type", "transformers_version")
    values = {key: value for key, value in T5GemmaModuleConfig(**small).to_dict().items() if key not in own}
    values |= small | {"is_encoder_decoder": False}
    config = transformers.T5GemmaConfig(encoder=small, decoder=small, **values)
    return {
        "transformer": diffusers.PRXTransformer2DModel(
            patch_size=1, in_channels=4, context_in_dim=16, hidden_size=8, mlp_ratio=2.0, num_heads=2, depth=1,
            axes_dim=[2, 2],
        ),
        "text_encoder": T5GemmaEncoder._from_config(config), "tokenizer": t5_tokenizer(), "vae": flow_vae(),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }  # fmt: skip


# --- Pipelines of two halves: the first, a prior, makes the embedding of an image -------------------------------------
def prior() -> Parts:
    """Return a prior without its scheduler; `clip_std` is not zero, so that embeddings depend on the sentence."""
    model = diffusers.PriorTransformer(num_attention_heads=2, attention_head_dim=8, embedding_dim=16, num_layers=1)
    torch.nn.init.ones_(model.clip_std)
    return {"prior_text_encoder": clip(16), "prior_tokenizer": clip_tokenizer(), "prior_prior": model}


def kandinsky_2_2(unet_kind: str = "image", encoder_kind: str = "image_proj") -> Parts:
    vision = transformers.CLIPVisionConfig(
        hidden_size=16, projection_dim=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        image_size=32, patch_size=16,
    )  # fmt: skip
    square = {"height": 32, "width": 32}
    return {
        **prior(), "prior_image_encoder": transformers.CLIPVisionModelWithProjection(vision),
        "prior_image_processor": transformers.CLIPImageProcessor(size=square, crop_size=square),
        "prior_scheduler": diffusers.UnCLIPScheduler(variance_type="fixed_small_log", prediction_type="sample"),
        "unet": UNet2DConditionModel(
            sample_size=8, layers_per_block=1, block_out_channels=[32, 64], in_channels=4, out_channels=8,
            down_block_types=["ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"],
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            up_block_types=["SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"], addition_embed_type=unet_kind,
            encoder_hid_dim=16, encoder_hid_dim_type=encoder_kind, cross_attention_dim=16, attention_head_dim=4,
            resnet_time_scale_shift="scale_shift",
        ),
        "movq": diffusers.VQModel(
            block_out_channels=[32, 32], down_block_types=["DownEncoderBlock2D"] * 2, latent_channels=4,
            up_block_types=["UpDecoderBlock2D"] * 2, norm_num_groups=8, norm_type="spatial", num_vq_embeddings=12,
            vq_embed_dim=4,
        ),
        "scheduler": diffusers.DDIMScheduler(clip_sample=False),
    }  # fmt: skip


def kandinsky() -> Parts:
    encoder = MCLIPConfig(
        vocab_size=40, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=100, transformerDimSize=16, imageDimSize=16,
    )  # fmt: skip
    marks = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0)]
    letters = [(letter, -2.0) for letter in "abcdefghijklmnopqrstuvwxyz"]
    tokenizer = transformers.XLMRobertaTokenizer(vocab=[*marks, *letters, ("<mask>", 0.0)])
    halves = kandinsky_2_2("text_image", "text_image_proj")
    return {**halves, "text_encoder": MultilingualCLIP(encoder), "tokenizer": tokenizer}


def stable_unclip() -> Parts:
    halves = prior()
    return {
        **halves, "prior": halves["prior_prior"],
        "prior_scheduler": diffusers.DDPMScheduler(
            variance_type="fixed_small_log", prediction_type="sample", beta_schedule="squaredcos_cap_v2",
        ),
        "image_normalizer": StableUnCLIPImageNormalizer(embedding_dim=16),
        "image_noising_scheduler": diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        "tokenizer": clip_tokenizer(), "text_encoder": clip(16, False), "vae": vae(),
        "unet": UNet2DConditionModel(
            sample_size=8, down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"],
            up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"], block_out_channels=[8, 16], layers_per_block=1,
            cross_attention_dim=16, attention_head_dim=4, norm_num_groups=4, class_embed_type="projection",
            projection_class_embeddings_input_dim=32,
        ),
        "scheduler": diffusers.DDIMScheduler(clip_sample=False),
    }  # fmt: skip


FURTHER_PARTS: dict[str, Callable[[], Parts]] = {
    "ErnieImagePipeline": ernie,
    "Flux2Pipeline": flux_2,
    "Kandinsky5T2IPipeline": kandinsky_5,
    "KandinskyCombinedPipeline": kandinsky,
    "KandinskyV22CombinedPipeline": kandinsky_2_2,
    "LongCatImagePipeline": longcat,
    "NucleusMoEImagePipeline": nucleus,
    "PRXPipeline": prx,
    "QwenImage21Pipeline": qwen_image_21,
    "StableUnCLIPPipeline": stable_unclip,
    "ZImageOmniPipeline": z_image_omni,
}
