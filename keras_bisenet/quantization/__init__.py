"""Quantization: QAT with tensorflow-model-optimization, and calibration for post-training.

The one package that imports tf_keras and tfmot. tfmot takes Keras 2 models alone, so the network
is built a second time, in tf_keras, and given the trained weights.
"""
