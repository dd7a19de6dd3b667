"""The .tflite file: convert to it, describe it, read it, check it against its target."""
