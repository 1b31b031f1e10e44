"""Views: the parts of a run that people look at and publish. `run` reads its folder for all of them."""
