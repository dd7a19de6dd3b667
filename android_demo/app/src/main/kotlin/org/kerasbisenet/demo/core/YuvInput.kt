package org.kerasbisenet.demo.core

import java.nio.ByteBuffer

/**
 * From a camera's planes to a network's input in one pass: scaled to fit, turned upright, mirrored
 * for a front camera, converted to RGB and coded as the input tensor takes it. An 8-bit input is
 * made in bytes alone.
 *
 * Each plane is resampled by the filter of [Taps], columns first, and only then converted: the two
 * are linear, so that it is what converting first gives, but for rounding, and half the work. All
 * that it needs is allocated once, for all frames of one size.
 */
class YuvInput(frame: Size, turn: Turn, network: Size, private val code: PixelCode) {
    val fit = Fit.of(turn.upright(frame), network)

    /** The content as the frame has it, before it is turned. */
    private val content = turn.upright(fit.content)
    private val layout = turn.layout(fit.content, network.width)
    private val chroma = Size((frame.height + 1) / 2, (frame.width + 1) / 2)
    private val y = LineScaler(frame, content)
    private val u = LineScaler(chroma, content)
    private val v = LineScaler(chroma, content)

    /** What each value of a pixel is written as. Wider tensors take the pixels, coded at the end. */
    private val table = code.bytes ?: ByteArray(256) { it.toByte() }
    private val pixels = ByteArray(network.area * 3) { table[0] }

    fun write(frame: YuvFrame, input: ByteBuffer) {
        y.open(frame.y)
        u.open(frame.u)
        v.open(frame.v)
        for (row in 0 until content.height) {
            y.scale(row)
            u.scale(row)
            v.scale(row)
            convert(3 * (layout.start + row * layout.perRow), 3 * layout.perColumn)
        }
        if (code.bytes == null) return code.write(pixels, input)
        input.rewind()
        input.put(pixels)
        input.rewind()
    }

    /** One line to RGB, its pixels [step] bytes apart from [start] on. */
    private fun convert(start: Int, step: Int) {
        val lumas = y.line
        val us = u.line
        val vs = v.line
        var at = start
        for (x in 0 until content.width) {
            val luma = (lumas[x] shl Jfif.BITS) + HALF
            val blueness = us[x] - GREY
            val redness = vs[x] - GREY
            pixels[at] = table[clamped(luma + Jfif.RED_V * redness shr SHIFT)]
            pixels[at + 1] = table[clamped(luma - Jfif.GREEN_U * blueness - Jfif.GREEN_V * redness shr SHIFT)]
            pixels[at + 2] = table[clamped(luma + Jfif.BLUE_U * blueness shr SHIFT)]
            at += step
        }
    }

    private companion object {
        const val GREY = 128 shl LineScaler.FRACTION
        const val SHIFT = Jfif.BITS + LineScaler.FRACTION
        const val HALF = 1 shl (SHIFT - 1)
    }
}

/** Resamples a plane to a size, line by line; values keep [FRACTION] binary digits behind the point. */
internal class LineScaler(from: Size, to: Size) {
    private val rows = Taps(from.height, to.height)
    private val columns = Taps(from.width, to.width)
    private val narrowed = IntArray(columns.weights.size) { columns.weights[it] + NARROW / 2 shr NARROW_BITS }
    private val width = from.width
    private val bytes = ByteArray(width)
    private val sums = IntArray(width)
    private val reader = RowReader(width)
    val line = IntArray(to.width)

    fun open(plane: Plane) = reader.open(plane)

    fun scale(row: Int) {
        sums.fill(ROUND)
        for (k in 0 until rows.count) {
            val weight = rows.weights[row * rows.count + k]
            if (weight == 0) continue
            reader.read(rows.first[row] + k, bytes)
            for (x in 0 until width) sums[x] += weight * (bytes[x].toInt() and 255)
        }
        for (x in 0 until width) sums[x] = sums[x] shr (Taps.BITS - FRACTION)
        val count = columns.count
        for (x in line.indices) {
            val start = columns.first[x]
            var sum = 1 shl (Taps.BITS - NARROW_BITS - 1)
            for (k in 0 until count) sum += narrowed[x * count + k] * sums[start + k]
            line[x] = sum shr (Taps.BITS - NARROW_BITS)
        }
    }

    companion object {
        const val FRACTION = 8

        // 16 bits of a sum by 15 of a weight are the most that an Int holds.
        private const val NARROW_BITS = 7
        private const val NARROW = 1 shl NARROW_BITS
        private const val ROUND = 1 shl (Taps.BITS - FRACTION - 1)
    }
}
