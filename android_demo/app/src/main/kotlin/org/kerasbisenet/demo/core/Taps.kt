package org.kerasbisenet.demo.core

import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min

/**
 * Which of a line's pixels make up each pixel of a longer or shorter line, and by which weights.
 *
 * The filter is a triangle that widens when it shrinks a line, so that nothing aliases: what Pillow
 * calls BILINEAR, with its weights of 22 binary digits, so that the sums are Pillow's to the bit.
 *
 * Pixel i is the sum over k < [count] of `weights[i * count + k] * line[first[i] + k]`, shifted right
 * by [BITS].
 */
class Taps(from: Int, to: Int) {
    val first = IntArray(to)
    val count: Int
    val weights: IntArray

    init {
        val scale = from.toDouble() / to
        val width = max(scale, 1.0)
        val ranges = (0 until to).map { i ->
            val centre = (i + 0.5) * scale
            max((centre - width + 0.5).toInt(), 0) to min((centre + width + 0.5).toInt(), from)
        }
        count = ranges.maxOf { (start, end) -> end - start }
        weights = IntArray(to * count)
        val line = DoubleArray(count)
        for ((i, range) in ranges.withIndex()) {
            val (start, end) = range
            val centre = (i + 0.5) * scale
            var sum = 0.0
            for (k in 0 until end - start) {
                line[k] = max(0.0, 1 - abs((k + start - centre + 0.5) * (1 / width)))
                sum += line[k]
            }
            // At the end of the line fewer pixels are left: the window begins earlier, with weight 0.
            first[i] = min(start, from - count)
            for (k in 0 until end - start) {
                weights[i * count + start - first[i] + k] = (0.5 + line[k] * (1 / sum) * (1 shl BITS)).toInt()
            }
        }
    }

    companion object {
        const val BITS = 22
        const val HALF = 1 shl (BITS - 1)
    }
}
