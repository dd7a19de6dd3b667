package org.kerasbisenet.demo

import android.graphics.Bitmap
import org.kerasbisenet.demo.core.Size

/**
 * The picture that is shown and the overlay of the same picture: whatever the network's speed, the two
 * belong together. Written by the segmenter's thread, drawn by the user interface's; both hold the
 * lock meanwhile.
 */
class Screen {
    var picture: Bitmap? = null
        private set
    var overlay: Bitmap? = null
        private set

    fun show(pictureSize: Size, pixels: IntArray, overlaySize: Size, colours: IntArray) = synchronized(this) {
        picture = filled(picture, pictureSize, pixels)
        overlay = filled(overlay, overlaySize, colours)
    }

    fun recolour(size: Size, colours: IntArray) = synchronized(this) {
        overlay = filled(overlay, size, colours)
    }

    fun clear() = synchronized(this) {
        picture = null
        overlay = null
    }

    private fun filled(old: Bitmap?, size: Size, pixels: IntArray): Bitmap {
        val fits = old != null && old.width == size.width && old.height == size.height
        val bitmap = if (fits) old!! else Bitmap.createBitmap(size.width, size.height, Bitmap.Config.ARGB_8888)
        bitmap.setPixels(pixels, 0, size.width, 0, 0, size.width, size.height)
        return bitmap
    }
}
