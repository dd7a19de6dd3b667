package org.kerasbisenet.demo

import android.app.Activity
import android.graphics.Bitmap
import android.graphics.Canvas
import android.os.Handler
import android.os.Looper
import android.view.View
import org.junit.Assume.assumeNoException
import org.junit.Assume.assumeTrue
import org.kerasbisenet.demo.core.Plane
import org.kerasbisenet.demo.core.Size
import org.kerasbisenet.demo.core.YuvFrame
import org.kerasbisenet.demo.core.tensorMemory
import org.robolectric.Shadows.shadowOf
import org.tensorflow.lite.TensorFlowLite
import java.io.File
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit

// What tests of the app share.

/** Skips a test where TFLite's Android library does not load, as on every JVM without `ci/toolchain.py`'s shim. */
fun assumeTflite() {
    try {
        TensorFlowLite.init()
    } catch (error: Throwable) {
        assumeNoException("TFLite's Android library does not load into this JVM", error)
    }
}

/** Runs the main thread's work until [condition] holds. */
fun await(what: String, seconds: Int = 120, condition: () -> Boolean) {
    val end = System.nanoTime() + seconds * 1_000_000_000L
    while (true) {
        shadowOf(Looper.getMainLooper()).idle()
        if (condition()) return
        check(System.nanoTime() < end) { "$what did not come in $seconds s" }
        Thread.sleep(10)
    }
}

/** Does [work] on a looper's thread, and waits for it. */
fun onThread(looper: Looper, work: () -> Unit) {
    val done = CountDownLatch(1)
    var failure: Throwable? = null
    Handler(looper).post {
        try {
            work()
        } catch (error: Throwable) {
            failure = error
        }
        done.countDown()
    }
    check(done.await(120, TimeUnit.SECONDS))
    failure?.let { throw it }
}

fun draw(view: View): Bitmap =
    Bitmap.createBitmap(view.width, view.height, Bitmap.Config.ARGB_8888).also { view.draw(Canvas(it)) }

/** A picture of the activity for people to look at: `app/build/screenshots/NAME.png`. */
fun screenshot(activity: Activity, name: String): Bitmap {
    val bitmap = draw(activity.window.decorView)
    val folder = File("build/screenshots").apply { mkdirs() }
    File(folder, "$name.png").outputStream().use { bitmap.compress(Bitmap.CompressFormat.PNG, 100, it) }
    return bitmap
}

/** A camera's frame of a picture, by JPEG's YUV; chroma interleaved, as most phones have it. */
fun frameOf(size: Size, rgbAt: (row: Int, column: Int) -> Int): YuvFrame {
    assumeTrue(size.height % 2 == 0 && size.width % 2 == 0)
    val luma = tensorMemory(size.area)
    val chroma = List(2) { tensorMemory(size.area / 2) }
    for (row in 0 until size.height) for (column in 0 until size.width) {
        val rgb = rgbAt(row, column)
        val (r, g, b) = listOf(16, 8, 0).map { (rgb shr it and 255).toDouble() }
        fun byte(value: Double) = Math.rint(value).coerceIn(0.0, 255.0).toInt().toByte()
        luma.put(row * size.width + column, byte(0.299 * r + 0.587 * g + 0.114 * b))
        if (row % 2 == 0 && column % 2 == 0) {
            val at = row / 2 * size.width + column
            chroma[0].put(at, byte(128 - 0.168736 * r - 0.331264 * g + 0.5 * b))
            chroma[1].put(at, byte(128 + 0.5 * r - 0.418688 * g - 0.081312 * b))
        }
    }
    return YuvFrame(size, Plane(luma, size.width, 1), Plane(chroma[0], size.width, 2), Plane(chroma[1], size.width, 2))
}
