"""The device's side: needs NumPy, Pillow and a TFLite runtime, and nothing else of this package
but its common ground (`errors`, `files`, `label_map`, `version`)."""
