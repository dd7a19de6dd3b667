"""Float weights for `keras-bisenet train --weights NAME`: `NAME.keras` beside this file."""
