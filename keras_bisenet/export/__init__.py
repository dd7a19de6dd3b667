"""From a run to a `.tflite` file, and how the file compares with the run. Needs TensorFlow."""
