package org.kerasbisenet.demo.core

import kotlin.math.max
import kotlin.math.min

/** A picture's size in pixels, height first, as the models' metadata has it. */
data class Size(val height: Int, val width: Int) {
    val area get() = height * width
    val turned get() = Size(width, height)

    override fun toString() = "${height}x$width"
}

/**
 * Where an image lies in a network's input: scaled to fit, at the top left ("letterbox").
 *
 * [content] is the part of [network] that holds the scaled image; the rest is black.
 */
data class Fit(val image: Size, val network: Size, val content: Size) {
    companion object {
        fun of(image: Size, network: Size): Fit {
            val scale = min(
                network.height.toDouble() / image.height,
                network.width.toDouble() / image.width,
            )
            // Halves to the even number, as Python's round.
            fun side(length: Int) = max(1, Math.rint(length * scale).toInt())
            return Fit(image, network, Size(side(image.height), side(image.width)))
        }
    }
}

/**
 * How a camera's frame is brought upright: turned clockwise by [degrees] (0, 90, 180 or 270), then
 * mirrored, left for right.
 */
data class Turn(val degrees: Int, val mirrored: Boolean) {
    init {
        require(degrees in 0..270 && degrees % 90 == 0) { "a turn by $degrees degrees" }
    }

    /** Whether the frame's rows become columns. */
    val isOnItsSide get() = degrees % 180 != 0

    fun upright(frame: Size) = if (isOnItsSide) frame.turned else frame

    /**
     * Where the pixels of a frame, as it comes, lie in the upright picture of size [upright], whose
     * rows are [pitch] pixels apart: row r and column c at `start + r * perRow + c * perColumn`.
     */
    fun layout(upright: Size, pitch: Int = upright.width): Layout {
        val (right, bottom) = upright.width - 1 to (upright.height - 1) * pitch
        val turned = when (degrees) {
            0 -> Layout(0, pitch, 1)
            90 -> Layout(right, -1, pitch)
            180 -> Layout(bottom + right, -pitch, -1)
            else -> Layout(bottom, 1, -pitch)
        }
        if (!mirrored) return turned
        // In the mirror, what runs to the right runs to the left, from the row's other end.
        val start = turned.start - turned.start % pitch + (right - turned.start % pitch)
        return if (isOnItsSide) Layout(start, -turned.perRow, turned.perColumn)
        else Layout(start, turned.perRow, -turned.perColumn)
    }

    companion object {
        /**
         * The turn for a camera whose sensor is mounted at [sensor] degrees, on a display that is
         * turned by [display] degrees from the device's natural position.
         *
         * A front camera looks the other way, so that the display's turn counts the other way
         * round; and its picture is mirrored, as people expect of it.
         */
        fun of(sensor: Int, display: Int, front: Boolean) =
            if (front) Turn((sensor + display) % 360, true) else Turn((sensor - display + 360) % 360, false)
    }
}

/** See [Turn.layout]. */
data class Layout(val start: Int, val perRow: Int, val perColumn: Int)

/** The largest place for [image] in the middle of a view of size [view], nothing cut off. */
data class Place(val left: Float, val top: Float, val right: Float, val bottom: Float) {
    companion object {
        fun of(image: Size, view: Size): Place {
            val scale = min(view.width / image.width.toFloat(), view.height / image.height.toFloat())
            val (width, height) = image.width * scale to image.height * scale
            val (left, top) = (view.width - width) / 2 to (view.height - height) / 2
            return Place(left, top, left + width, top + height)
        }
    }
}
