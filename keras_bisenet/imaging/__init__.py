"""Pictures: reading files, letterboxing them into a network, drawing answers. NumPy and Pillow."""
