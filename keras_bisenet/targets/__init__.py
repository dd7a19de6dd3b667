"""What each target runs of a `.tflite` file, and `check`, which says so."""
