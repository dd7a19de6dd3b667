package org.kerasbisenet.demo

import android.content.Context
import android.hardware.display.DisplayManager
import android.os.Handler
import android.os.HandlerThread
import android.os.Looper
import android.view.Display
import android.view.Surface
import org.kerasbisenet.demo.core.ClassCounts
import org.kerasbisenet.demo.core.ClassIds
import org.kerasbisenet.demo.core.Latency
import org.kerasbisenet.demo.core.ModelInfo
import org.kerasbisenet.demo.core.OverlayColours
import org.kerasbisenet.demo.core.Size
import org.kerasbisenet.demo.core.Turn
import org.kerasbisenet.demo.core.Unusable
import org.kerasbisenet.demo.core.YuvFrame
import org.kerasbisenet.demo.core.YuvPicture

/** What the user interface is told; all on its own thread. */
interface Watcher {
    /** The screen has another picture, or other colours. */
    fun onPicture()

    /** Numbers, the legend or the state have changed. */
    fun onStatus()
}

/** What ended the work, for the user to read. */
sealed interface Trouble {
    class Camera(val trouble: CameraTrouble) : Trouble
    class Model(val reason: Unusable) : Trouble
    class Failed(val reason: String) : Trouble
    data object Memory : Trouble
}

/** The numbers of the latest answer, copied so that the user interface can read them at leisure. */
class Status {
    var info: ModelInfo? = null
    var backend: Backend? = null
    var threads = 0
    var fallbacks = emptyList<Fallback>()
    var crashed: Backend? = null
    var isOpening = false
    var trouble: Trouble? = null
    var networkP50: Float? = null
    var networkP95: Float? = null
    var allP50: Float? = null
    var allP95: Float? = null
    var framesPerSecond: Float? = null
    val counts = IntArray(256)
    var pixels = 0
}

/**
 * The app's work: one thread that opens the model, takes the camera's newest frame or a picture,
 * segments it and puts it on the [screen]. Outlives the activity's turns, so that a model is not
 * opened again, nor an inference cut off, because the phone was turned.
 */
class Live(private val context: Context, private val opener: Opener = Opener(TfliteNetwork::open)) {
    val screen = Screen()
    val store = ModelStore(context)

    /** Set and called on the main thread; null while there is no activity. */
    var watcher: Watcher? = null

    private val main = Handler(Looper.getMainLooper())
    private val thread = HandlerThread("segmenter").apply { start() }
    private val worker = Handler(thread.looper)
    val looper: Looper get() = thread.looper
    private val camera = CameraFeed(context, worker, ::onFrame) { fail(Trouble.Camera(it)) }
    private val display = context.getSystemService(DisplayManager::class.java).getDisplay(Display.DEFAULT_DISPLAY)
    private val crashMark = CrashMark(context)

    // === The worker's own ===

    private var model: ModelFile? = null
    private var engine: Engine? = null
    private var wanted = Backend.XNNPACK
    private var threads = 1
    private var facts: CameraFacts? = null
    private var still: Picture? = null
    private var isPaused = false
    private var drawn: YuvPicture? = null
    private var turn: Turn? = null
    private var colours: OverlayColours? = null
    private var pixels = IntArray(0)
    private var answer: ClassIds? = null
    private val counts = ClassCounts()
    private val network = Latency()
    private val all = Latency()
    private val intervals = Latency(30)
    private var lastFrame = 0L
    private var lastStatus = 0L

    // === What both threads read ===

    private val status = Status()
    private val tellPicture = Runnable { watcher?.onPicture() }
    private val tellStatus = Runnable { watcher?.onStatus() }

    /** Calls [read] with the status, which must not be kept. */
    fun <T> readStatus(read: (Status) -> T): T = synchronized(status) { read(status) }

    private fun setStatus(write: Status.() -> Unit) {
        synchronized(status) { status.write() }
        main.removeCallbacks(tellStatus)
        main.post(tellStatus)
    }

    // === What the user interface asks for ===

    fun open(backend: Backend, threads: Int) = post { openEngine(backend, threads, again = false) }

    /** After another model was put into the [store]. */
    fun reopen(backend: Backend, threads: Int) = post {
        model = null
        openEngine(backend, threads, again = true)
    }

    fun showCamera(index: Int) = post {
        still = null
        isPaused = false
        clearNumbers()
        facts = camera.cameras().getOrNull(index)
        openCamera()
    }

    fun showPicture(read: () -> Picture) = post {
        camera.close()
        facts = null
        isPaused = false
        clearNumbers()
        still = read()
        segmentStill()
    }

    fun pause(paused: Boolean) = post { isPaused = paused }

    fun showClass(id: Int, shown: Boolean) = post {
        val colours = colours ?: return@post
        colours.show(id, shown)
        answer?.let { recolour(it, colours) }
    }

    fun cameras() = camera.cameras()

    /** The camera belongs to who is seen. */
    fun leave() = post { camera.close() }

    fun enter() = post { if (facts != null) openCamera() }

    fun close() {
        watcher = null
        post {
            camera.close()
            engine?.close()
            thread.quitSafely()
        }
    }

    private fun post(work: () -> Unit) {
        worker.post { survive(work) }
    }

    /** Whatever happens while a frame or a request is worked on is shown, and ends nothing else. */
    private fun survive(work: () -> Unit) {
        try {
            work()
        } catch (error: OutOfMemoryError) {
            drawn = null
            still = null
            fail(Trouble.Memory)
        } catch (error: Unusable) {
            fail(Trouble.Model(error))
        } catch (error: Exception) {
            fail(Trouble.Failed(Engine.reason(error)))
        }
    }

    private fun fail(trouble: Trouble) {
        camera.close()
        screen.clear()
        setStatus { this.trouble = trouble }
        main.post(tellPicture)
    }

    // === The model ===

    private fun openEngine(backend: Backend, threads: Int, again: Boolean) {
        if (engine != null && !again && wanted == backend && this.threads == threads) return
        setStatus {
            isOpening = true
            this.backend = null
            fallbacks = emptyList()
            // A picture that could not be read stays so, whatever the model.
            if (trouble is Trouble.Model || still != null || facts != null) trouble = null
        }
        engine?.close()
        engine = null
        wanted = backend
        this.threads = threads
        clearNumbers()
        try {
            val opened = openMarked(backend, threads)
            engine = opened
            colours = OverlayColours(opened.info.classes)
            setStatus {
                info = opened.info
                this.backend = opened.backend
                this.threads = threads
                fallbacks = opened.fallbacks
            }
        } finally {
            setStatus { isOpening = false }
        }
        segmentStill()
        if (facts != null) openCamera()
    }

    private fun openMarked(backend: Backend, threads: Int): Engine {
        var first = backend
        val crashed = crashMark.found()
        if (crashed != null) {
            crashMark.clear()
            setStatus { this.crashed = crashed }
            // It was the driver, or else the file.
            if (crashed == Backend.GPU || crashed == Backend.NNAPI) first = Backend.XNNPACK else store.forget()
        }
        val file = model ?: store.load().also { model = it }
        crashMark.set(first)
        try {
            return Engine.open(file.bytes, first, threads, opener)
        } finally {
            crashMark.clear()
        }
    }

    // === Pictures ===

    private fun openCamera() {
        val facts = facts ?: return fail(Trouble.Camera(CameraTrouble.NONE_THERE))
        setStatus { trouble = null }
        turn = null
        camera.open(facts)
    }

    /** For [camera], on the worker's thread; and for tests, which have no camera. */
    internal fun onFrame(frame: YuvFrame) {
        if (isPaused) return
        survive { segmentFrame(frame) }
    }

    private fun segmentFrame(frame: YuvFrame) {
        val engine = engine ?: return
        val facts = facts ?: return
        val start = System.nanoTime()
        val turn = turnNow(facts)
        val drawn = drawn?.takeIf { this.turn == turn && it.frame == frame.size } ?: YuvPicture(frame.size, turn)
        this.drawn = drawn
        this.turn = turn
        drawn.draw(frame)
        val answer = attempt { engine.segmenter.segment(frame, turn) } ?: return
        show(answer, drawn.size, drawn.pixels)
        network.add(engine.segmenter.timings.invoke)
        val end = System.nanoTime()
        all.add((end - start) / 1e6f)
        if (lastFrame != 0L) intervals.add((end - lastFrame) / 1e6f)
        lastFrame = end
        if (end - lastStatus > STATUS_NANOS) publish(answer)
    }

    private fun segmentStill() {
        val picture = still ?: return
        val engine = engine ?: return
        setStatus { trouble = null }
        val start = System.nanoTime()
        val answer = attempt { engine.segmenter.segment(picture.rgb(), picture.size) } ?: return
        show(answer, picture.size, picture.pixels)
        network.add(engine.segmenter.timings.invoke)
        all.add((System.nanoTime() - start) / 1e6f)
        publish(answer)
    }

    /** A delegate that fails in the middle of its work gives way to the CPU. */
    private fun attempt(segment: () -> ClassIds): ClassIds? = try {
        segment()
    } catch (error: RuntimeException) {
        val failed = engine ?: throw error
        if (failed.backend == Backend.CPU) throw error
        val next = if (failed.backend == Backend.XNNPACK) Backend.CPU else Backend.XNNPACK
        openEngine(next, threads, again = true)
        setStatus { fallbacks = listOf(Fallback(failed.backend, Engine.reason(error))) + fallbacks }
        null
    }

    private fun show(answer: ClassIds, size: Size, picture: IntArray) {
        this.answer = answer
        paint(answer, colours!!)
        screen.show(size, picture, answer.fit.image, pixels)
        main.removeCallbacks(tellPicture)
        main.post(tellPicture)
    }

    private fun recolour(answer: ClassIds, colours: OverlayColours) {
        paint(answer, colours)
        screen.recolour(answer.fit.image, pixels)
        main.post(tellPicture)
    }

    private fun paint(answer: ClassIds, colours: OverlayColours) {
        if (pixels.size != answer.ids.size) pixels = IntArray(answer.ids.size)
        colours.paint(answer.ids, pixels)
    }

    private fun publish(answer: ClassIds) {
        lastStatus = System.nanoTime()
        counts.count(answer.ids)
        setStatus {
            networkP50 = network.percentile(50.0)
            networkP95 = network.percentile(95.0)
            allP50 = all.percentile(50.0)
            allP95 = all.percentile(95.0)
            framesPerSecond = intervals.mean?.let { 1000 / it }
            this@Live.counts.counts.copyInto(counts)
            pixels = answer.ids.size
        }
    }

    private fun clearNumbers() {
        listOf(network, all, intervals).forEach { it.clear() }
        lastFrame = 0
        answer = null
        drawn = null
        setStatus {
            networkP50 = null
            allP50 = null
            framesPerSecond = null
            counts.fill(0)
            pixels = 0
        }
    }

    private var turned: Turn? = null
    private var turnedBy = -1

    /** Asked for each frame: a phone that is turned upside down does not tell. */
    private fun turnNow(facts: CameraFacts): Turn {
        val rotation = display?.rotation ?: Surface.ROTATION_0
        val same = turned?.takeIf { turnedBy == rotation && turn != null }
        return same ?: Turn.of(facts.sensorDegrees, rotation * 90, facts.isFront).also {
            turned = it
            turnedBy = rotation
        }
    }

    private companion object {
        /** Numbers that change more often cannot be read. */
        const val STATUS_NANOS = 250_000_000L
    }
}
