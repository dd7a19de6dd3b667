package org.kerasbisenet.demo.core

import kotlin.math.roundToInt

/** What a model's output holds: scores for every class, or the winning class. */
enum class OutputKind(val word: String) {
    LOGITS("logits"), CLASS_IDS("class_ids");

    companion object {
        fun of(word: String) = entries.find { it.word == word }
    }
}

/**
 * A segmentation model as its user sees it: by its record, or guessed from its tensors where another
 * program made it.
 *
 * A pixel (0 to 255) stands for the real value `pixel * inputScale + inputOffset`.
 */
data class ModelInfo(
    val input: TensorFacts,
    val output: TensorFacts,
    val inputScale: Double,
    val inputOffset: Double,
    val kind: OutputKind,
    val stride: Int,
    val classes: List<ClassLabel>,
    val record: Record?,
) {
    val size get() = Size(input.shape[1], input.shape[2])

    companion object {
        /** Throws [Unusable] when it is no segmentation of one image, or the record is of another model. */
        fun of(record: Record?, input: TensorFacts, output: TensorFacts): ModelInfo {
            val shape = input.shape
            if (shape.size != 4 || shape[0] != 1 || shape[3] != 3) throw Unusable(Reason.INPUT, shape.joinToString("x"))
            if (!input.isKnown || input.type !in INPUTS) throw Unusable(Reason.INPUT_TYPE, input.typeName)
            val size = Size(shape[1], shape[2])
            if (size.height > 4096 || size.width > 4096) throw Unusable(Reason.INPUT, shape.joinToString("x"))
            val (kind, classes) = kindOf(output, size)
            val stride = (size.height.toDouble() / output.shape[1]).roundToInt()
            if (record == null) {
                val (scale, offset) = guessedPixels(input)
                return ModelInfo(input, output, scale, offset, kind, stride, generatedLabels(classes), null)
            }
            val fits = record.size == size && record.kind == kind && record.stride == stride &&
                (kind == OutputKind.CLASS_IDS || record.classes.size == classes)
            if (!fits) throw Unusable(Reason.OTHER_RECORD)
            return ModelInfo(input, output, record.inputScale, record.inputOffset, kind, stride, record.classes, record)
        }

        private val INPUTS = setOf(NumberType.INT8, NumberType.UINT8, NumberType.INT16, NumberType.FLOAT32)
        private val SCORES = INPUTS
        private val IDS = setOf(NumberType.UINT8, NumberType.INT32, NumberType.INT64)

        private fun kindOf(output: TensorFacts, size: Size): Pair<OutputKind, Int> {
            val shape = output.shape
            val none = Unusable(Reason.OUTPUT, shape.joinToString("x"), output.typeName)
            if (!output.isKnown || shape.size !in 3..4 || shape[0] != 1) throw none
            if (shape[1] !in 2..size.height || shape[2] !in 2..size.width) throw none
            val depth = if (shape.size == 4) shape[3] else 1
            if (depth > 1 && output.type in SCORES) {
                if (depth > VOID) throw Unusable(Reason.CLASSES, depth)
                return OutputKind.LOGITS to depth
            }
            return if (depth == 1 && output.type in IDS) OutputKind.CLASS_IDS to VOID else throw none
        }

        /** 8-bit inputs take the pixels as they are (less 128 for int8), others take [0, 1]. */
        private fun guessedPixels(input: TensorFacts): Pair<Double, Double> {
            if (input.type == NumberType.FLOAT32 || input.type == NumberType.INT16) return 1 / 255.0 to 0.0
            val scale = if (input.scale == 0f) 1.0 else input.scale.toDouble()
            val zeroPoint = if (input.scale == 0f) 0 else input.zeroPoint
            return scale to (input.type.lowest - zeroPoint) * scale
        }

        /** Names by number, and hues a golden angle apart. */
        private fun generatedLabels(count: Int) = List(count) { i ->
            val lightness = doubleArrayOf(0.5, 0.65, 0.35)[i % 3]
            val saturation = doubleArrayOf(0.75, 0.55)[i / 3 % 2]
            ClassLabel("class $i", rgbOfHls(i * 0.618034 % 1, lightness, saturation))
        }

        private fun rgbOfHls(hue: Double, lightness: Double, saturation: Double): Int {
            val high = if (lightness <= 0.5) lightness * (1 + saturation) else lightness + saturation - lightness * saturation
            val low = 2 * lightness - high
            return listOf(hue + 1 / 3.0, hue, hue - 1 / 3.0).fold(0) { rgb, turned ->
                val h = (turned + 1) % 1
                val value = when {
                    h < 1 / 6.0 -> low + (high - low) * h * 6
                    h < 1 / 2.0 -> high
                    h < 2 / 3.0 -> low + (high - low) * (2 / 3.0 - h) * 6
                    else -> low
                }
                rgb shl 8 or Math.rint(255 * value).toInt()
            }
        }
    }
}
