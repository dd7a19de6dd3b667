package org.kerasbisenet.demo.core

import java.nio.ByteBuffer

/**
 * One plane of a camera's frame. Row r, column c lies at `r * rowStride + c * pixelStride`; what a
 * row's end is padded with may be missing after the last one.
 */
class Plane(val bytes: ByteBuffer, val rowStride: Int, val pixelStride: Int)

/**
 * A frame as Android's YUV_420_888 has it: luma at full size, both chroma planes at half of it (odd
 * sides rounded up).
 */
class YuvFrame(val size: Size, val y: Plane, val u: Plane, val v: Plane) {
    val chromaSize get() = Size((size.height + 1) / 2, (size.width + 1) / 2)
}

/**
 * JPEG's YUV (BT.601, full range), which Android's cameras deliver, to RGB, in fixed point:
 * R = Y + 1.402 V, G = Y - 0.344136 U - 0.714136 V, B = Y + 1.772 U with U and V around 0.
 */
internal object Jfif {
    const val BITS = 13
    const val RED_V = 11485
    const val GREEN_U = 2819
    const val GREEN_V = 5850
    const val BLUE_U = 14516
}

internal fun clamped(value: Int) = if (value < 0) 0 else if (value > 255) 255 else value

/** Reads rows of planes, without the gaps between their pixels. */
internal class RowReader(private val width: Int) {
    private lateinit var plane: Plane
    private var gapped = ByteArray(0)

    fun open(plane: Plane) {
        this.plane = plane
        val spread = (width - 1) * plane.pixelStride + 1
        if (plane.pixelStride > 1 && gapped.size != spread) gapped = ByteArray(spread)
    }

    fun read(row: Int, into: ByteArray) {
        val step = plane.pixelStride
        plane.bytes.position(row * plane.rowStride)
        if (step == 1) {
            plane.bytes.get(into, 0, width)
            return
        }
        plane.bytes.get(gapped)
        var from = 0
        for (x in 0 until width) {
            into[x] = gapped[from]
            from += step
        }
    }
}
