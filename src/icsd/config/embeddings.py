"""Captions as vectors, and which of them are near one another."""

from typing import Annotated, Any, Literal

from pydantic import Field

from icsd.config.section import Count, Section


class EmbeddingsConfig(Section):
    """Vectors of captions."""

    kind: Literal["open_clip", "transformers"] = Field(
        "open_clip", description="Whose text encoder: one of open_clip (CLIP and kin), or any encoder of transformers."
    )
    model: str = Field(description="A folder, or an id of the hub; of open_clip also architecture/pretrained.")
    pooling: Literal["pooler", "cls", "mean"] = Field(
        "pooler",
        description="How an encoder of transformers makes one vector of a caption's states: its pooler's, the first "
        "token's or the mean; open_clip's models have their own way.",
    )
    precision: Literal["float64", "float32", "bfloat16", "auto"] = Field(
        "float64",
        description="Numbers that are computed with: the vectors of float64 depend on nothing but text and model, "
        "float32 is faster, bfloat16 faster still; auto is bfloat16 where the processor or GPU has it, else float32.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="cuda wants a GPU, auto takes one where there is one; changes speed only."
    )
    batch_tokens: Count = Field(
        512, description="Tokens at once, of a whole batch of captions; changes speed only. A GPU wants 16384 or more."
    )

    def deciding(self) -> dict[str, Any]:
        """What the vectors depend on."""
        unread = {"device", "batch_tokens"} | ({"pooling"} if self.kind == "open_clip" else set())
        return self.model_dump(mode="json", exclude=unread)


class IvfConfig(Section):
    """The index ivf: captions in lists around centres, of which a search reads the nearest."""

    lists: Count | None = Field(None, description="Lists; null: 4 times the square root of the number of captions.")
    probes: Count = Field(64, description="Lists that a search reads: more find more, and take longer.")


class HnswConfig(Section):
    """The index hnsw: a graph of near captions, along which a search walks."""

    links: Annotated[int, Field(ge=2)] = Field(32, description="Neighbours a caption is linked to; they take memory.")
    ef_construction: Count = Field(200, description="Captions held in view while one is linked.")
    ef_search: Count = Field(256, description="Captions held in view in a search: more find more, and take longer.")


class GroupsConfig(Section):
    """Each caption with its nearest."""

    k: Annotated[int, Field(ge=2)] = Field(30, description="Captions a group, the head included.")
    index: Literal["exact", "ivf", "hnsw"] = Field(
        "exact", description="exact compares all with all; ivf and hnsw (faiss) miss some, for more than 5 M captions."
    )
    ivf: IvfConfig = IvfConfig()
    hnsw: HnswConfig = HnswConfig()
    recall_queries: Count = Field(1000, description="Captions for which ivf and hnsw are held against exact.")

    @property
    def approximate(self) -> dict[str, Any] | None:
        """The settings of the index by its faiss name; None for exact."""
        sections: dict[str, Section] = {"ivf": self.ivf, "hnsw": self.hnsw}
        return sections[self.index].model_dump() if self.index in sections else None
