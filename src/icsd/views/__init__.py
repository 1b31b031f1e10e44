"""What people look at and pass on."""
