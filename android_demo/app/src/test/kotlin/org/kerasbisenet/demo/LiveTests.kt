package org.kerasbisenet.demo

import android.content.Context
import android.graphics.Bitmap
import android.view.Surface
import android.hardware.camera2.CameraCharacteristics
import android.hardware.camera2.CameraManager
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Assume.assumeTrue
import org.junit.Before
import org.junit.Test
import org.kerasbisenet.demo.core.Network
import org.kerasbisenet.demo.core.Size
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.shadows.ShadowCameraCharacteristics
import org.robolectric.shadows.ShadowDisplay
import org.robolectric.shadows.ShadowLog
import java.util.concurrent.CountDownLatch

/** The work behind the activity: frames of a camera, in every turn, and all that may go wrong meanwhile. */
abstract class LiveTests(private val draws: Boolean) {
    private val app: Context = RuntimeEnvironment.getApplication()
    private val manager get() = app.getSystemService(CameraManager::class.java)
    private var network: () -> Network = { EngineTest.Fake() }
    private lateinit var live: Live
    private var pictures = 0

    @Before fun `a back and a front camera`() {
        ShadowLog.stream = System.out // what a camera threw
        addCamera("0", CameraCharacteristics.LENS_FACING_BACK, 90)
        addCamera("1", CameraCharacteristics.LENS_FACING_FRONT, 270)
        live = Live(app) { _, _, _ -> network() }
        live.watcher = object : Watcher {
            override fun onPicture() {
                pictures++
            }

            override fun onStatus() = Unit
        }
    }

    @After fun close() = live.close()

    private fun addCamera(id: String, facing: Int, sensor: Int) {
        val facts = ShadowCameraCharacteristics.newCameraCharacteristics()
        shadowOf(facts).set(CameraCharacteristics.LENS_FACING, facing)
        shadowOf(facts).set(CameraCharacteristics.SENSOR_ORIENTATION, sensor)
        shadowOf(manager).addCamera(id, facts)
    }

    private fun start(camera: Int) {
        assumeTrue("Robolectric's cameras of Android 8 open, but have no session", draws)
        live.open(Backend.XNNPACK, 1)
        live.showCamera(camera)
        await("the model") { live.readStatus { it.backend != null && !it.isOpening } }
        onThread(live.looper) {}
    }

    /** A frame as a sensor sees the world: red to the upper left, green upper right, blue lower left. */
    private val world = { row: Int, column: Int, size: Size ->
        val (down, right) = (row * 2 >= size.height) to (column * 2 >= size.width)
        if (!down && !right) 0xff0000 else if (!down) 0x00ff00 else if (!right) 0x0000ff else 0x808080
    }

    private fun deliver(size: Size = Size(96, 128)) {
        val frame = frameOf(size) { row, column -> world(row, column, size) }
        onThread(live.looper) { live.onFrame(frame) }
        await("a picture") { live.screen.picture != null }
    }

    /** The colours in the four corners of what is shown: upper left, upper right, lower left, lower right. */
    private fun corners(bitmap: Bitmap): String {
        val places = listOf(1 to 1, bitmap.width - 2 to 1, 1 to bitmap.height - 2, bitmap.width - 2 to bitmap.height - 2)
        return places.joinToString("") { (x, y) ->
            val rgb = bitmap.getPixel(x, y)
            val (r, g, b) = listOf(16, 8, 0).map { rgb shr it and 255 }
            if (r > 200 && g < 60) "R" else if (g > 200) "G" else if (b > 200) "B" else "."
        }
    }

    private fun turnDisplay(rotation: Int) = ShadowDisplay.getDefaultDisplay().let { shadowOf(it).setRotation(rotation) }

    @Test fun `frames of the back camera are upright however the phone is held`() {
        start(0)
        val seen = listOf(Surface.ROTATION_0, Surface.ROTATION_90, Surface.ROTATION_180, Surface.ROTATION_270).map {
            turnDisplay(it)
            deliver()
            corners(live.screen.picture!!)
        }
        // By 90, 0, 270 and 180 degrees clockwise.
        assertEquals(listOf("BR.G", "RGB.", "G.RB", ".BGR"), seen)
    }

    @Test fun `frames of the front camera are upright and mirrored`() {
        start(1)
        val seen = listOf(Surface.ROTATION_0, Surface.ROTATION_90, Surface.ROTATION_180, Surface.ROTATION_270).map {
            turnDisplay(it)
            deliver()
            corners(live.screen.picture!!)
        }
        // By 270, 0, 90 and 180 degrees clockwise, then left for right.
        assertEquals(listOf(".GBR", "GR.B", "RBG.", "B.RG"), seen)
    }

    @Test fun `the overlay lies where the network saw its classes`() {
        // The winning class is the input's own colour: class 0 where red is strongest in a cell, else 1.
        val echo = object : Network by EngineTest.Fake() {
            override fun invoke() {
                for (row in 0 until 60) for (column in 0 until 80) {
                    val red = input.get(((row * 8 + 4) * 640 + column * 8 + 4) * 3)
                    val green = input.get(((row * 8 + 4) * 640 + column * 8 + 4) * 3 + 1)
                    for (k in 0 until 11) output.put((row * 80 + column) * 11 + k, -100)
                    output.put((row * 80 + column) * 11 + if (red > 100 && green < 0) 0 else 1, 100)
                }
            }
        }
        network = { echo }
        start(0)
        for (rotation in listOf(Surface.ROTATION_0, Surface.ROTATION_90, Surface.ROTATION_180, Surface.ROTATION_270)) {
            turnDisplay(rotation)
            deliver()
            val (picture, overlay) = live.screen.picture!! to live.screen.overlay!!
            val red = live.readStatus { it.info!!.classes[0].color }
            for ((x, y) in listOf(0.2f to 0.2f, 0.8f to 0.2f, 0.2f to 0.8f, 0.8f to 0.8f)) {
                val shown = picture.getPixel((x * picture.width).toInt(), (y * picture.height).toInt())
                val isRed = (shown shr 16 and 255) > 200 && (shown shr 8 and 255) < 60
                val class0 = overlay.getPixel((x * overlay.width).toInt(), (y * overlay.height).toInt()) and 0xffffff == red
                assertEquals("rotation $rotation at $x, $y", isRed, class0)
            }
        }
    }

    @Test fun `a paused view keeps its picture`() {
        start(0)
        deliver()
        live.pause(true)
        onThread(live.looper) {}
        val before = live.screen.picture!!.getPixel(5, 5)
        turnDisplay(Surface.ROTATION_180)
        val frame = frameOf(Size(96, 128)) { _, _ -> 0xffffff }
        onThread(live.looper) { live.onFrame(frame) }
        assertEquals(before, live.screen.picture!!.getPixel(5, 5))
    }

    @Test fun `a class that is switched off leaves the overlay, without another inference`() {
        start(0)
        deliver()
        assertTrue(live.screen.overlay!!.getPixel(3, 3) != 0)
        live.showClass(0, false) // an idle network's answer is class 0 throughout
        onThread(live.looper) {}
        assertEquals(0, live.screen.overlay!!.getPixel(3, 3))
    }

    @Test fun `a network that fails amid frames gives way to TFLite's kernels`() {
        var fails = false
        var opened = 0
        network = {
            opened++
            EngineTest.Fake { if (fails && opened == 1) throw IllegalStateException("device lost") }
        }
        start(0)
        deliver()
        fails = true
        onThread(live.looper) { live.onFrame(frameOf(Size(96, 128)) { _, _ -> 0 }) }
        assertEquals(Backend.CPU, live.readStatus { it.backend })
        assertTrue(live.readStatus { it.fallbacks.single().reason }.endsWith("device lost"))
        deliver()
    }

    @Test fun `out of memory is said, and the app goes on`() {
        live.open(Backend.XNNPACK, 1)
        live.showPicture { throw OutOfMemoryError("a large one") }
        await("the trouble") { live.readStatus { it.trouble === Trouble.Memory } }
        start(0)
        deliver()
        assertNull(live.readStatus { it.trouble })
    }

    @Test fun `a picture that is none is said`() {
        assumeTrue("Robolectric reads no pictures for Android 8: it makes one of anything", draws)
        live.open(Backend.XNNPACK, 1)
        live.showPicture { readPicture("no picture".byteInputStream()) }
        await("the trouble") { live.readStatus { it.trouble is Trouble.Failed } }
    }

    @Test fun `no camera is said`() {
        listOf("0", "1").forEach { shadowOf(manager).removeCamera(it) }
        live.open(Backend.XNNPACK, 1)
        live.showCamera(0)
        await("the trouble") { (live.readStatus { it.trouble } as? Trouble.Camera)?.trouble == CameraTrouble.NONE_THERE }
    }

    @Test fun `a camera that another app takes is said`() {
        start(0)
        await("the camera") { runCatching { onThread(live.looper) { shadowOf(manager).triggerDisconnect() } }; true }
        await("the trouble") { (live.readStatus { it.trouble } as? Trouble.Camera)?.trouble == CameraTrouble.TAKEN }
    }

    @Test fun `leaving in the middle of an inference ends nothing badly`() {
        val (entered, go) = CountDownLatch(1) to CountDownLatch(1)
        var isFirst = true
        network = {
            EngineTest.Fake {
                if (isFirst) isFirst = false else {
                    entered.countDown()
                    go.await()
                }
            }
        }
        start(0)
        val frame = frameOf(Size(96, 128)) { _, _ -> 0 }
        val worker = android.os.Handler(live.looper)
        worker.post { live.onFrame(frame) }
        entered.await()
        live.leave()
        live.watcher = null // as when the activity is turned
        live.enter()
        go.countDown()
        onThread(live.looper) {}
        deliver()
        assertNull(live.readStatus { it.trouble })
    }

    @Test fun `a backend that ended the process is left out at the next start`() {
        CrashMark(app).set(Backend.GPU)
        val tried = ArrayList<Backend>()
        live.close()
        live = Live(app) { _, backend, _ -> tried += backend; EngineTest.Fake() }
        live.open(Backend.GPU, 1)
        await("the model") { live.readStatus { it.backend != null } }
        assertEquals(listOf(Backend.XNNPACK), tried)
        assertEquals(Backend.GPU, live.readStatus { it.crashed })
        assertNull(CrashMark(app).found())
    }
}
