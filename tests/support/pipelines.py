"""Folders of diffusers' text-to-image pipelines with random weights, each a few layers of 8 to 32 numbers.

`PARTS` has a function for each class that is tried, which returns the parts of such a pipeline.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from tokenizers.pre_tokenizers import ByteLevel

Parts = dict[str, Any]
LETTERS = sorted(ByteLevel.alphabet())
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}{{ part.text }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CLIP_TOKENS = 77


def save_pipeline(name: str, folder: Path, make: Callable[[], Parts] | None = None) -> Path:
    """Write the folder of the pipeline class `name`, with the parts of `make` or of `PARTS`; return it."""
    torch.manual_seed(0)
    kind = getattr(diffusers, name)
    made = (make or PARTS[name])()
    parts = {part: value for part, value in made.items() if part in inspect.signature(kind).parameters}
    kind(**parts).save_pretrained(folder)
    return folder


# --- Tokenizers -------------------------------------------------------------------------------------------------------
def clip_tokenizer(tokens_read: int = CLIP_TOKENS) -> Any:
    tokens = [*LETTERS, *(letter + "</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=tokens_read)


def t5_tokenizer() -> Any:
    """Return a tokenizer of letters that ends each text with a mark; also for Gemma and GLM, which begin with one."""
    marks = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0)]
    letters = [(letter, -2.0) for letter in "abcdefghijklmnopqrstuvwxyz"]
    return transformers.T5Tokenizer(vocab=[*marks, *letters], extra_ids=0, model_max_length=512)


def qwen_tokenizer() -> Any:
    """Return a tokenizer of bytes with a chat template; an empty text has no token, as with Qwen's own."""
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
    vocabulary = {token: number for number, token in enumerate(LETTERS)}
    tokenizer = transformers.Qwen2Tokenizer(vocab=vocabulary, merges=[], additional_special_tokens=marks[1:])
    tokenizer.chat_template = CHAT
    tokenizer.model_max_length = 1024
    return tokenizer


def bert_tokenizer() -> Any:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
    return transformers.BertTokenizer(vocab={token: number for number, token in enumerate(tokens)})


# --- Text encoders ----------------------------------------------------------------------------------------------------
def clip(width: int = 32, projected: bool = True, tokens_read: int = CLIP_TOKENS) -> Any:
    last = 2 * len(LETTERS) + 1
    config = transformers.CLIPTextConfig(
        vocab_size=last + 1, hidden_size=width, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=tokens_read, projection_dim=width, bos_token_id=last - 1, eos_token_id=last,
        pad_token_id=last,
    )  # fmt: skip
    return (transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel)(config)


def t5(width: int = 32, vocabulary: int = 30) -> Any:
    config = transformers.T5Config(
        vocab_size=vocabulary, d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2, is_encoder_decoder=False,
    )  # fmt: skip
    return transformers.T5EncoderModel(config)


def language_model(family: str, kind: str, width: int = 16, layers: int = 2, **settings: Any) -> Any:
    """Return a `kind` of transformers, such as Qwen3Model, with the config of its family."""
    config = getattr(transformers, f"{family}Config")(
        vocab_size=300, hidden_size=width, intermediate_size=32, num_hidden_layers=layers, num_attention_heads=2,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=1024, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        **settings,
    )  # fmt: skip
    return getattr(transformers, kind)(config)


def qwen_vl(kind: str = "Qwen2_5_VLForConditionalGeneration", width: int = 16, layers: int = 2) -> Any:
    rope = {"mrope_section": [1, 1, width // 4 - 2], "rope_type": "default", "type": "default"}
    small = {"hidden_size": width, "intermediate_size": 16}
    marks = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    heads = {"num_hidden_layers": layers, "num_attention_heads": 2, "num_key_value_heads": 2}
    text = {**small, **heads, **marks, "vocab_size": 300, "rope_scaling": rope}
    if kind.startswith("Qwen3"):
        text |= {"head_dim": width // 2}
    vision = {**small, "depth": 1, "num_heads": 2, "out_hidden_size": width}
    family = "Qwen3VLConfig" if kind.startswith("Qwen3") else "Qwen2_5_VLConfig"
    return getattr(transformers, kind)(getattr(transformers, family)(text_config=text, vision_config=vision))


# --- Autoencoders -----------------------------------------------------------------------------------------------------
def vae(channels: int = 4, levels: int = 2, **settings: Any) -> AutoencoderKL:
    """Return an autoencoder that halves the sides `levels` - 1 times."""
    return AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * levels, up_block_types=["UpDecoderBlock2D"] * levels,
        block_out_channels=[8] * levels, norm_num_groups=4, latent_channels=channels, sample_size=16, **settings,
    )  # fmt: skip


def flow_vae(channels: int = 4, levels: int = 1) -> AutoencoderKL:
    return vae(channels, levels, shift_factor=0.06, scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False)


def deep_vae() -> Any:
    return diffusers.AutoencoderDC(
        in_channels=3, latent_channels=4, attention_head_dim=2,
        encoder_block_types=("ResBlock", "EfficientViTBlock"), decoder_block_types=("ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)), encoder_layers_per_block=(1, 1), decoder_layers_per_block=[1, 1],
        downsample_block_type="conv", upsample_block_type="interpolate", decoder_norm_types="rms_norm",
        decoder_act_fns="silu", scaling_factor=0.4,
    )  # fmt: skip


def qwen_vae() -> Any:
    return diffusers.AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 2, 4], num_res_blocks=1, temperal_downsample=[False, True],
        latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    )  # fmt: skip


def flux2_vae() -> Any:
    return diffusers.AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",), up_block_types=("UpDecoderBlock2D",), block_out_channels=(4,),
        layers_per_block=1, latent_channels=1, norm_num_groups=1, use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip


# --- Pipelines --------------------------------------------------------------------------------------------------------
def _unet(width: int, **settings: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8, down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"],
        up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"], block_out_channels=[8, 16], layers_per_block=1,
        cross_attention_dim=width, attention_head_dim=4, norm_num_groups=4, **settings,
    )  # fmt: skip


def stable_diffusion(scheduler: Any = None, **unet: Any) -> Parts:
    return {
        "vae": vae(), "text_encoder": clip(16, False), "tokenizer": clip_tokenizer(), "unet": _unet(16, **unet),
        "scheduler": scheduler or diffusers.DDIMScheduler(clip_sample=False), "safety_checker": None,
        "feature_extractor": None, "requires_safety_checker": False,
    }  # fmt: skip


def latent_consistency() -> Parts:
    return stable_diffusion(diffusers.LCMScheduler(clip_sample=False), time_cond_proj_dim=16)


def stable_diffusion_xl() -> Parts:
    unet = _unet(
        32, use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=8,
        transformer_layers_per_block=1, projection_class_embeddings_input_dim=6 * 8 + 16,
    )  # fmt: skip
    return {
        "vae": vae(), "text_encoder": clip(16, False), "text_encoder_2": clip(16), "tokenizer": clip_tokenizer(),
        "tokenizer_2": clip_tokenizer(), "unet": unet, "scheduler": diffusers.EulerAncestralDiscreteScheduler(),
    }  # fmt: skip


def stable_diffusion_3() -> Parts:
    return {
        "transformer": diffusers.SD3Transformer2DModel(
            sample_size=32, patch_size=1, in_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=4,
            caption_projection_dim=32, joint_attention_dim=32, pooled_projection_dim=32, out_channels=4,
        ),
        "text_encoder": clip(16), "text_encoder_2": clip(16), "text_encoder_3": t5(), "tokenizer": clip_tokenizer(),
        "tokenizer_2": clip_tokenizer(), "tokenizer_3": t5_tokenizer(), "vae": flow_vae(),
        "scheduler": FlowMatchEulerDiscreteScheduler(), "image_encoder": None, "feature_extractor": None,
    }  # fmt: skip


def flux(**transformer: Any) -> Parts:
    return {
        "transformer": diffusers.FluxTransformer2DModel(
            patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=[4, 4, 8],
            **transformer,
        ),
        "text_encoder": clip(32, False), "text_encoder_2": t5(), "tokenizer": clip_tokenizer(),
        "tokenizer_2": t5_tokenizer(), "vae": flow_vae(1), "scheduler": FlowMatchEulerDiscreteScheduler(),
        "image_encoder": None, "feature_extractor": None,
    }  # fmt: skip


def chroma() -> Parts:
    return {
        "transformer": diffusers.ChromaTransformer2DModel(
            patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=32, axes_dims_rope=[4, 4, 8], approximator_hidden_dim=32,
            approximator_layers=1, approximator_num_channels=16,
        ),
        "text_encoder": t5(), "tokenizer": t5_tokenizer(), "vae": flow_vae(1),
        "scheduler": FlowMatchEulerDiscreteScheduler(), "image_encoder": None, "feature_extractor": None,
    }  # fmt: skip


def bria() -> Parts:
    return {
        "transformer": diffusers.BriaTransformer2DModel(
            patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=8,
            num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=None, axes_dims_rope=[0, 4, 4],
        ),
        "text_encoder": t5(), "tokenizer": t5_tokenizer(), "vae": vae(levels=1, shift_factor=0),
        "scheduler": FlowMatchEulerDiscreteScheduler(), "image_encoder": None, "feature_extractor": None,
    }  # fmt: skip


def auraflow() -> Parts:
    return {
        "transformer": diffusers.AuraFlowTransformer2DModel(
            sample_size=32, patch_size=2, in_channels=4, num_mmdit_layers=1, num_single_dit_layers=1,
            attention_head_dim=8, num_attention_heads=4, caption_projection_dim=32, joint_attention_dim=32,
            out_channels=4, pos_embed_max_size=256,
        ),
        "text_encoder": transformers.UMT5EncoderModel(
            transformers.UMT5Config(vocab_size=30, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
        ),
        "tokenizer": t5_tokenizer(), "vae": vae(), "scheduler": FlowMatchEulerDiscreteScheduler(),
    }  # fmt: skip


def pixart() -> Parts:
    return {
        "tokenizer": t5_tokenizer(), "text_encoder": t5(16), "vae": vae(),
        "transformer": diffusers.PixArtTransformer2DModel(
            sample_size=8, num_layers=2, num_attention_heads=2, attention_head_dim=8, cross_attention_dim=16,
            caption_channels=16, use_additional_conditions=False,
        ),
        "scheduler": diffusers.DPMSolverMultistepScheduler(),
    }  # fmt: skip


def sana(scheduler: Any = None, **transformer: Any) -> Parts:
    return {
        "transformer": diffusers.SanaTransformer2DModel(
            patch_size=1, in_channels=4, out_channels=4, num_layers=1, num_attention_heads=2, attention_head_dim=4,
            num_cross_attention_heads=2, cross_attention_head_dim=4, cross_attention_dim=8, caption_channels=16,
            sample_size=32, **transformer,
        ),
        "text_encoder": language_model("Gemma2", "Gemma2Model"), "tokenizer": t5_tokenizer(), "vae": deep_vae(),
        "scheduler": scheduler or FlowMatchEulerDiscreteScheduler(shift=7.0),
    }  # fmt: skip


def sana_sprint() -> Parts:
    return sana(diffusers.SCMScheduler(), qk_norm="rms_norm_across_heads", guidance_embeds=True)


def lumina() -> Parts:
    return {
        "transformer": diffusers.LuminaNextDiT2DModel(
            sample_size=4, patch_size=2, in_channels=4, hidden_size=4, num_layers=2, num_attention_heads=1,
            num_kv_heads=1, multiple_of=16, ffn_dim_multiplier=None, learn_sigma=True, qk_norm=True,
            cross_attention_dim=16, scaling_factor=1.0,
        ),
        "text_encoder": language_model("Gemma", "GemmaForCausalLM"), "tokenizer": t5_tokenizer(),
        "vae": vae(levels=4), "scheduler": FlowMatchEulerDiscreteScheduler(),
    }  # fmt: skip


def lumina_2() -> Parts:
    return {
        "transformer": diffusers.Lumina2Transformer2DModel(
            sample_size=4, patch_size=2, in_channels=4, hidden_size=8, num_layers=2, num_attention_heads=1,
            num_kv_heads=1, multiple_of=16, ffn_dim_multiplier=None, axes_dim_rope=[4, 2, 2], cap_feat_dim=16,
        ),
        "text_encoder": language_model("Gemma2", "Gemma2Model"), "tokenizer": t5_tokenizer(),
        "vae": flow_vae(levels=4), "scheduler": FlowMatchEulerDiscreteScheduler(),
    }  # fmt: skip


def hunyuan_dit() -> Parts:
    return {
        "transformer": diffusers.HunyuanDiT2DModel(
            sample_size=16, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=3, in_channels=4,
            cross_attention_dim=32, cross_attention_dim_t5=32, pooled_projection_dim=16, hidden_size=24,
            activation_fn="gelu-approximate",
        ),
        "text_encoder": transformers.BertModel(transformers.BertConfig(
            vocab_size=31, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        )),
        "tokenizer": bert_tokenizer(), "text_encoder_2": t5(), "tokenizer_2": t5_tokenizer(), "vae": vae(levels=4),
        "scheduler": diffusers.DDPMScheduler(), "safety_checker": None, "feature_extractor": None,
        "requires_safety_checker": False,
    }  # fmt: skip


def cogview_3() -> Parts:
    return {
        "transformer": diffusers.CogView3PlusTransformer2DModel(
            patch_size=2, in_channels=4, num_layers=1, attention_head_dim=4, num_attention_heads=2, out_channels=4,
            text_embed_dim=32, time_embed_dim=8, condition_dim=2, pos_embed_max_size=8, sample_size=8,
        ),
        "text_encoder": t5(), "tokenizer": t5_tokenizer(), "vae": vae(),
        "scheduler": diffusers.CogVideoXDDIMScheduler(),
    }  # fmt: skip


def cogview_4() -> Parts:
    return {
        "transformer": diffusers.CogView4Transformer2DModel(
            patch_size=2, in_channels=4, num_layers=1, attention_head_dim=4, num_attention_heads=4, out_channels=4,
            text_embed_dim=16, time_embed_dim=8, condition_dim=4,
        ),
        "text_encoder": language_model("Glm", "GlmForCausalLM"), "tokenizer": t5_tokenizer(), "vae": vae(),
        "scheduler": FlowMatchEulerDiscreteScheduler(
            base_shift=0.25, max_shift=0.75, base_image_seq_len=256, use_dynamic_shifting=True,
            time_shift_type="linear",
        ),
    }  # fmt: skip


def qwen_image() -> Parts:
    return {
        "transformer": diffusers.QwenImageTransformer2DModel(
            patch_size=2, in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=16, guidance_embeds=False, axes_dims_rope=(8, 4, 4),
        ),
        "text_encoder": qwen_vl(), "tokenizer": qwen_tokenizer(), "vae": qwen_vae(),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }  # fmt: skip


def krea_2() -> Parts:
    return {
        "transformer": diffusers.Krea2Transformer2DModel(
            in_channels=16, num_layers=1, attention_head_dim=8, num_attention_heads=4, num_key_value_heads=2,
            intermediate_size=32, timestep_embed_dim=8, text_hidden_dim=16, num_text_layers=3,
            text_num_attention_heads=2, text_num_key_value_heads=1, text_intermediate_size=16,
            num_layerwise_text_blocks=1, num_refiner_text_blocks=1, axes_dims_rope=(4, 2, 2), rope_theta=1000.0,
        ),
        "text_encoder": qwen_vl("Qwen3VLModel"), "tokenizer": qwen_tokenizer(), "vae": qwen_vae(),
        "scheduler": FlowMatchEulerDiscreteScheduler(), "text_encoder_select_layers": (0, 1, 2),
    }  # fmt: skip


def z_image() -> Parts:
    transformer = diffusers.ZImageTransformer2DModel(
        all_patch_size=(2,), all_f_patch_size=(1,), in_channels=4, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2,
        n_kv_heads=2, cap_feat_dim=16, axes_dims=[8, 4, 4], axes_lens=[1024, 32, 32],
    )  # fmt: skip
    for empty in (transformer.x_pad_token, transformer.cap_pad_token):
        torch.nn.init.ones_(empty)  # otherwise memory that was never written
    return {
        "transformer": transformer, "text_encoder": language_model("Qwen3", "Qwen3Model"),
        "tokenizer": qwen_tokenizer(), "vae": flow_vae(), "scheduler": FlowMatchEulerDiscreteScheduler(),
    }  # fmt: skip


def flux_2_klein() -> Parts:
    return {
        "transformer": diffusers.Flux2Transformer2DModel(
            patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=48, timestep_guidance_channels=16, axes_dims_rope=[4, 4, 4, 4],
            guidance_embeds=False,
        ),
        # the pipeline reads the layers 9, 18 and 27
        "text_encoder": language_model("Qwen3", "Qwen3ForCausalLM", layers=28), "tokenizer": qwen_tokenizer(),
        "vae": flux2_vae(), "scheduler": FlowMatchEulerDiscreteScheduler(),
    }  # fmt: skip


def hidream() -> Parts:
    return {
        "transformer": diffusers.HiDreamImageTransformer2DModel(
            patch_size=2, in_channels=4, out_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=8,
            num_attention_heads=4, caption_channels=[32, 16], text_emb_dim=32, num_routed_experts=4,
            num_activated_experts=2, axes_dims_rope=(4, 2, 2), max_resolution=(128, 128), llama_layers=(0, 1),
        ),
        "text_encoder": clip(16, tokens_read=128), "text_encoder_2": clip(16, tokens_read=128),
        "text_encoder_3": t5(), "text_encoder_4": language_model("Llama", "LlamaForCausalLM"),
        "tokenizer": clip_tokenizer(128), "tokenizer_2": clip_tokenizer(128),
        "tokenizer_3": t5_tokenizer(), "tokenizer_4": qwen_tokenizer(),
        "vae": flow_vae(), "scheduler": FlowMatchEulerDiscreteScheduler(),
    }  # fmt: skip


def hunyuan_image() -> Parts:
    return {
        "transformer": diffusers.HunyuanImageTransformer2DModel(
            in_channels=4, out_channels=4, num_attention_heads=4, attention_head_dim=8, num_layers=1,
            num_single_layers=1, num_refiner_layers=1, patch_size=(1, 1), guidance_embeds=False, text_embed_dim=16,
            text_embed_2_dim=16, rope_axes_dim=(4, 4),
        ),
        "vae": diffusers.AutoencoderKLHunyuanImage(
            in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(32, 32, 32, 32), layers_per_block=1,
            scaling_factor=0.5, spatial_compression_ratio=8, sample_size=128,
        ),
        "text_encoder": qwen_vl(), "tokenizer": qwen_tokenizer(), "text_encoder_2": t5(16, 384),
        "tokenizer_2": transformers.ByT5Tokenizer(), "scheduler": FlowMatchEulerDiscreteScheduler(shift=7.0),
        "guider": diffusers.AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=2),
        "ocr_guider": diffusers.AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=3),
    }  # fmt: skip


def deepfloyd_if() -> Parts:
    return {
        "text_encoder": t5(), "tokenizer": t5_tokenizer(), "watermarker": None, "safety_checker": None,
        "feature_extractor": None, "requires_safety_checker": False,
        "unet": UNet2DConditionModel(
            sample_size=16, layers_per_block=1, block_out_channels=[32, 64],
            down_block_types=["ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"],
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            up_block_types=["SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"], in_channels=3, out_channels=6,
            cross_attention_dim=32, encoder_hid_dim=32, attention_head_dim=8, addition_embed_type="text",
            addition_embed_type_num_heads=2, cross_attention_norm="group_norm",
            resnet_time_scale_shift="scale_shift", act_fn="gelu",
        ),
        "scheduler": diffusers.DDPMScheduler(variance_type="learned_range", thresholding=True),
    }  # fmt: skip


def kandinsky_3() -> Parts:
    return {
        "unet": diffusers.Kandinsky3UNet(
            in_channels=4, time_embedding_dim=4, groups=2, attention_head_dim=4, layers_per_block=3,
            block_out_channels=(32, 64), cross_attention_dim=4, encoder_hid_dim=32,
        ),
        "movq": diffusers.VQModel(
            block_out_channels=[32] * 3, down_block_types=["DownEncoderBlock2D"] * 3, in_channels=3,
            latent_channels=4, layers_per_block=1, norm_num_groups=8, norm_type="spatial", num_vq_embeddings=12,
            out_channels=3, up_block_types=["UpDecoderBlock2D"] * 3, vq_embed_dim=4,
        ),
        "text_encoder": t5(), "tokenizer": t5_tokenizer(), "scheduler": diffusers.DDPMScheduler(),
    }  # fmt: skip


def latent_diffusion() -> Parts:
    return {
        "unet": _unet(16), "vqvae": vae(levels=4), "bert": clip(16, False), "tokenizer": clip_tokenizer(),
        "scheduler": diffusers.DDIMScheduler(clip_sample=False),
    }  # fmt: skip


def ovis_image() -> Parts:
    return {
        "transformer": diffusers.OvisImageTransformer2DModel(
            patch_size=1, in_channels=4, out_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=16, axes_dims_rope=(4, 4, 8),
        ),
        "text_encoder": language_model("Qwen3", "Qwen3Model"), "tokenizer": qwen_tokenizer(), "vae": flow_vae(1),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }  # fmt: skip


def prx_pixel() -> Parts:
    return {
        "transformer": diffusers.PRXTransformer2DModel(
            patch_size=1, in_channels=3, context_in_dim=16, hidden_size=8, mlp_ratio=2.0, num_heads=2, depth=1,
            axes_dim=[2, 2], bottleneck_size=8, resolution_embeds=True,
        ),
        "text_encoder": language_model("Qwen3", "Qwen3Model"), "tokenizer": qwen_tokenizer(), "prompt_max_tokens": 16,
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }  # fmt: skip


def omnigen() -> Parts:
    return {
        "transformer": diffusers.OmniGenTransformer2DModel(
            hidden_size=16, num_attention_heads=4, num_key_value_heads=4, intermediate_size=32, num_layers=1,
            in_channels=4, time_step_dim=4,
            rope_scaling={"long_factor": list(range(1, 3)), "short_factor": list(range(1, 3))},
        ),
        "vae": vae(levels=4), "tokenizer": qwen_tokenizer(),
        "scheduler": FlowMatchEulerDiscreteScheduler(invert_sigmas=True, num_train_timesteps=1),
    }  # fmt: skip


PARTS: dict[str, Callable[[], Parts]] = {
    "AuraFlowPipeline": auraflow,
    "BriaPipeline": bria,
    "ChromaPipeline": chroma,
    "CogView3PlusPipeline": cogview_3,
    "CogView4Pipeline": cogview_4,
    "Flux2KleinKVPipeline": flux_2_klein,
    "Flux2KleinPipeline": flux_2_klein,
    "FluxKontextPipeline": flux,
    "FluxPipeline": flux,
    "HiDreamImagePipeline": hidream,
    "HunyuanDiTPAGPipeline": hunyuan_dit,
    "HunyuanDiTPipeline": hunyuan_dit,
    "HunyuanImagePipeline": hunyuan_image,
    "IFPipeline": deepfloyd_if,
    "Kandinsky3Pipeline": kandinsky_3,
    "Krea2Pipeline": krea_2,
    "LDMTextToImagePipeline": latent_diffusion,
    "LatentConsistencyModelPipeline": latent_consistency,
    "Lumina2Pipeline": lumina_2,
    "LuminaPipeline": lumina,
    "OmniGenPipeline": omnigen,
    "OvisImagePipeline": ovis_image,
    "PRXPixelPipeline": prx_pixel,
    "PixArtAlphaPipeline": pixart,
    "PixArtSigmaPAGPipeline": pixart,
    "PixArtSigmaPipeline": pixart,
    "QwenImagePipeline": qwen_image,
    "SanaPAGPipeline": sana,
    "SanaPipeline": sana,
    "SanaSprintPipeline": sana_sprint,
    "StableDiffusion3PAGPipeline": stable_diffusion_3,
    "StableDiffusion3Pipeline": stable_diffusion_3,
    "StableDiffusionPAGPipeline": stable_diffusion,
    "StableDiffusionPipeline": stable_diffusion,
    "StableDiffusionXLPAGPipeline": stable_diffusion_xl,
    "StableDiffusionXLPipeline": stable_diffusion_xl,
    "ZImagePipeline": z_image,
}
