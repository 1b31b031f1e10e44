"""The stages of the method, in the order in which data flows through them."""
