package org.kerasbisenet.demo.core

import java.nio.ByteBuffer

/**
 * Places a picture in a network's input, to the byte as the Python side does.
 *
 * For pictures from a file, which come seldom. Frames of a camera take [YuvInput].
 */
fun letterbox(rgb: ByteArray, fit: Fit): ByteArray {
    require(rgb.size == fit.image.area * 3) { "${rgb.size} bytes are no RGB picture of ${fit.image}" }
    val content = if (fit.content == fit.image) rgb else resized(rgb, fit.image, fit.content)
    if (fit.content == fit.network) return content
    val placed = ByteArray(fit.network.area * 3)
    val line = fit.content.width * 3
    for (row in 0 until fit.content.height) {
        content.copyInto(placed, row * fit.network.width * 3, row * line, (row + 1) * line)
    }
    return placed
}

/** First along the rows, then along the columns, each rounded to 8 bits. A side that stays is left alone. */
private fun resized(rgb: ByteArray, from: Size, to: Size): ByteArray {
    var pixels = rgb
    if (to.width != from.width) {
        val taps = Taps(from.width, to.width)
        val wide = ByteArray(from.height * to.width * 3)
        for (row in 0 until from.height) for (x in 0 until to.width) for (c in 0 until 3) {
            val start = (row * from.width + taps.first[x]) * 3 + c
            wide[(row * to.width + x) * 3 + c] = weighted(pixels, start, 3, taps, x)
        }
        pixels = wide
    }
    if (to.height != from.height) {
        val taps = Taps(from.height, to.height)
        val line = to.width * 3
        val high = ByteArray(to.height * line)
        for (y in 0 until to.height) for (i in 0 until line) {
            high[y * line + i] = weighted(pixels, taps.first[y] * line + i, line, taps, y)
        }
        pixels = high
    }
    return pixels
}

private fun weighted(pixels: ByteArray, start: Int, step: Int, taps: Taps, target: Int): Byte {
    var sum = Taps.HALF
    for (k in 0 until taps.count) {
        val weight = taps.weights[target * taps.count + k]
        if (weight != 0) sum += weight * (pixels[start + k * step].toInt() and 255)
    }
    return (sum shr Taps.BITS).coerceIn(0, 255).toByte()
}

/** What an input tensor takes for each of the 256 values of a pixel, and how it is written. */
class PixelCode private constructor(private val type: NumberType, private val values: DoubleArray) {
    /** The values of an 8-bit tensor, as its bytes; null for wider tensors. */
    val bytes: ByteArray? = if (type.bytes == 1) ByteArray(256) { values[it].toInt().toByte() } else null

    fun write(rgb: ByteArray, input: ByteBuffer) {
        input.rewind()
        for (value in rgb) put(input, value.toInt() and 255)
        input.rewind()
    }

    fun put(input: ByteBuffer, pixel: Int) {
        when (type) {
            NumberType.FLOAT32 -> input.putFloat(values[pixel].toFloat())
            NumberType.INT16 -> input.putShort(values[pixel].toInt().toShort())
            else -> input.put(values[pixel].toInt().toByte())
        }
    }

    companion object {
        fun of(info: ModelInfo): PixelCode {
            val type = info.input.type
            val values = DoubleArray(256) { it * info.inputScale + info.inputOffset }
            if (type == NumberType.FLOAT32) return PixelCode(type, values)
            val scale = info.input.scale.toDouble().takeIf { it != 0.0 } ?: 1.0
            return PixelCode(type, DoubleArray(256) { pixel ->
                Math.rint(values[pixel] / scale + info.input.zeroPoint).coerceIn(type.lowest.toDouble(), type.highest.toDouble())
            })
        }
    }
}
