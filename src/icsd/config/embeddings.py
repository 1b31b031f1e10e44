"""Captions as vectors, and which of them are near one another."""

from typing import Annotated

from pydantic import Field

from icsd.config.section import Count, Section


class EmbeddingsConfig(Section):
    """Vectors of captions."""

    model: str = Field(description="open_clip model: a folder, or architecture/pretrained.")
    batch_size: Count = Field(256, description="Captions at once; changes speed only.")


class GroupsConfig(Section):
    """Each caption with its nearest."""

    k: Annotated[int, Field(ge=2)] = Field(30, description="Captions a group, the head included.")
