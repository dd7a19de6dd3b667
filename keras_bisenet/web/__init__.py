"""A static page that runs a `.tflite` file in the browser: `keras-bisenet web` writes it."""
