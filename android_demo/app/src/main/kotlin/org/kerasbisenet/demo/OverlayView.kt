package org.kerasbisenet.demo

import android.content.Context
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Paint
import android.graphics.RectF
import android.util.AttributeSet
import android.view.View
import org.kerasbisenet.demo.core.Place
import org.kerasbisenet.demo.core.Size

/** Draws a [Screen]'s picture as large as it fits, and its overlay at the same place. */
class OverlayView @JvmOverloads constructor(context: Context, attributes: AttributeSet? = null) : View(context, attributes) {
    var screen: Screen? = null
        set(value) {
            field = value
            invalidate()
        }

    /** 0 to 255. */
    var opacity = 128
        set(value) {
            field = value
            overlayPaint.alpha = value
            invalidate()
        }

    private val picturePaint = Paint(Paint.FILTER_BITMAP_FLAG)

    // Not filtered: colours between two classes' would be a third class's.
    private val overlayPaint = Paint()
    private val place = RectF()

    override fun onDraw(canvas: Canvas) {
        val screen = screen ?: return
        synchronized(screen) {
            val picture = screen.picture ?: return
            val where = Place.of(Size(picture.height, picture.width), Size(height, width))
            place.set(where.left, where.top, where.right, where.bottom)
            draw(canvas, screen)
        }
    }

    private fun draw(canvas: Canvas, screen: Screen) {
        screen.picture?.let { canvas.drawBitmap(it, null, place, picturePaint) }
        screen.overlay?.let { canvas.drawBitmap(it, null, place, overlayPaint) }
    }

    /** The picture with its overlay, at the picture's own size; null when there is none. */
    fun snapshot(): Bitmap? {
        val screen = screen ?: return null
        synchronized(screen) {
            val picture = screen.picture ?: return null
            val copy = Bitmap.createBitmap(picture.width, picture.height, Bitmap.Config.ARGB_8888)
            place.set(0f, 0f, picture.width.toFloat(), picture.height.toFloat())
            draw(Canvas(copy), screen)
            return copy
        }
    }
}
