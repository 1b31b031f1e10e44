"""The stage images: from SENTENCES to IMAGES.

stage    a shard's images, those in the store and the rest drawn; the generators of diffusers
server   the same by requests to a server
"""

from icsd.stages.images.stage import Drawing, Generator, draw_images, generate_images, image_store, load_generator

__all__ = ["Drawing", "Generator", "draw_images", "generate_images", "image_store", "load_generator"]
