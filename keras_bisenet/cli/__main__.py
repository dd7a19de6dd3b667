"""`python -m keras_bisenet.cli` is `keras-bisenet`."""

from keras_bisenet.cli import main

if __name__ == "__main__":
    main(prog_name="keras-bisenet")
