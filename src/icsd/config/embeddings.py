"""The vectors of captions, and groups of near captions."""

from collections.abc import Set
from typing import Annotated, Any, Literal

from pydantic import Field

from icsd.config.section import Count, Section, Seed, Share, added, tracked, untracked

SEARCHED_BYTES = 2**29  # of the vectors that are compared at once: 262,144 with 512 numbers each


class EmbeddingsConfig(Section):
    """Vectors of captions."""

    kind: Literal["open_clip", "transformers"] = tracked(
        "open_clip", "Library of the text encoder: open_clip (CLIP and kin) or transformers."
    )
    model: str = tracked(..., "A folder, or an id of the hub; of open_clip also architecture/pretrained.")
    pooling: Literal["pooler", "cls", "mean"] = tracked(
        "pooler",
        "Pooling of a caption's states to one vector, for transformers: the model's pooler, the first token (cls) "
        "or the mean; open_clip's models pool by themselves.",
    )
    precision: Literal["float64", "float32", "bfloat16", "auto"] = tracked(
        "float64",
        "Numbers that are computed with: the vectors of float64 depend on nothing but text and model, "
        "float32 is faster, bfloat16 faster still; auto is bfloat16 where the processor or GPU has it, else float32.",
    )
    device: Literal["auto", "cpu", "cuda"] = untracked("auto", "cuda wants a GPU, auto takes one where there is one.")
    batch_tokens: Count = untracked(512, "Tokens at once, of a whole batch of captions. A GPU wants 16384 or more.")

    @property
    def unused(self) -> Set[str]:
        """The keys that other values of the section turn off: open_clip's models pool by themselves."""
        return {"pooling"} if self.kind == "open_clip" else set()


class IvfConfig(Section):
    """The index ivf: captions in lists around centres, of which a search reads the nearest."""

    lists: Count | None = tracked(None, "Lists; null: 4 times the square root of the number of captions.")
    probes: Count = tracked(64, "Lists that a search reads: more find more, and take longer.")


class HnswConfig(Section):
    """The index hnsw: a graph of near captions, along which a search walks."""

    links: Annotated[int, Field(ge=2)] = tracked(32, "Neighbours a caption is linked to; they take memory.")
    ef_construction: Count = tracked(200, "Captions held in view while one is linked.")
    ef_search: Count = tracked(256, "Captions held in view in a search: more find more, and take longer.")


class GroupsConfig(Section):
    """Groups of each caption with its nearest captions."""

    k: Annotated[int, Field(ge=2)] = tracked(30, "Captions a group, with its anchor.")
    dedupe: Literal["all", "none"] | Count = added(
        "all",
        "Which groups are the same, of which one stays: those with all members in common, in any order; with so many "
        "first ones, the anchor included; or none.",
    )
    min_similarity: Annotated[float, Field(ge=-1, le=1)] | None = added(
        None,
        "Captions whose cosine similarity to the anchor is lower leave the group; one of its anchor alone is dropped; "
        "null keeps all.",
    )
    max_overlap: Share | None = added(
        None, "Drop a group that shares more than this share of its captions with a kept one; null drops none."
    )
    limit: Count | None = added(None, "Groups kept at most, drawn at random; null for no limit.")
    limit_seed: Seed = added(0, "With 0 they are the groups that are drawn first; another seed keeps others.")
    index: Literal["exact", "ivf", "hnsw"] = tracked(
        "exact", "exact compares all with all; ivf and hnsw (faiss) miss some, for more than 5 M captions."
    )
    jobs: Annotated[int, Field(ge=1, le=9999)] = untracked(
        64, "Jobs of the search at most, each for its part of the shards: each reads all vectors once."
    )
    ivf: IvfConfig = IvfConfig()
    hnsw: HnswConfig = HnswConfig()
    recall_queries: Count = tracked(1000, "Captions for which ivf and hnsw are held against exact.")

    @property
    def drops(self) -> bool:
        """True if groups are dropped for more than having the members of another: a ledger then has the reasons."""
        return any(value is not None for value in (self.min_similarity, self.max_overlap, self.limit))

    @property
    def unused(self) -> Set[str]:
        """The seed of a limit where there is none."""
        return {"limit_seed"} if self.limit is None else set()

    @property
    def approximate(self) -> dict[str, Any] | None:
        """The settings of the index by its faiss name; None for exact."""
        sections: dict[str, Section] = {"ivf": self.ivf, "hnsw": self.hnsw}
        return sections[self.index].model_dump() if self.index in sections else None
