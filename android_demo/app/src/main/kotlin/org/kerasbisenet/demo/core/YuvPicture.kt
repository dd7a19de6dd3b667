package org.kerasbisenet.demo.core

/** A camera's frame as a picture to show: upright, mirrored for a front camera, at its own size. */
class YuvPicture(val frame: Size, turn: Turn) {
    val size = turn.upright(frame)

    /** 0xffRRGGBB, row by row. */
    val pixels = IntArray(size.area)
    private val layout = turn.layout(size)
    private val lumas = ByteArray(frame.width)
    private val us = ByteArray((frame.width + 1) / 2)
    private val vs = ByteArray((frame.width + 1) / 2)
    private val y = RowReader(lumas.size)
    private val u = RowReader(us.size)
    private val v = RowReader(vs.size)

    fun draw(from: YuvFrame) {
        y.open(from.y)
        u.open(from.u)
        v.open(from.v)
        for (row in 0 until frame.height) {
            y.read(row, lumas)
            if (row % 2 == 0) {
                u.read(row / 2, us)
                v.read(row / 2, vs)
            }
            convert(layout.start + row * layout.perRow)
        }
    }

    private fun convert(start: Int) {
        var at = start
        for (x in 0 until frame.width) {
            val luma = ((lumas[x].toInt() and 255) shl Jfif.BITS) + HALF
            val blueness = (us[x shr 1].toInt() and 255) - 128
            val redness = (vs[x shr 1].toInt() and 255) - 128
            val red = clamped(luma + Jfif.RED_V * redness shr Jfif.BITS)
            val green = clamped(luma - Jfif.GREEN_U * blueness - Jfif.GREEN_V * redness shr Jfif.BITS)
            val blue = clamped(luma + Jfif.BLUE_U * blueness shr Jfif.BITS)
            pixels[at] = OPAQUE or (red shl 16) or (green shl 8) or blue
            at += layout.perColumn
        }
    }

    private companion object {
        const val HALF = 1 shl (Jfif.BITS - 1)
    }
}
