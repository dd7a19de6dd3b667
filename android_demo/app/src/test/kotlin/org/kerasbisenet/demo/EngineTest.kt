package org.kerasbisenet.demo

import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.kerasbisenet.demo.core.Network
import org.kerasbisenet.demo.core.Reason
import org.kerasbisenet.demo.core.TensorFacts
import org.kerasbisenet.demo.core.Unusable
import org.kerasbisenet.demo.core.Vectors
import org.kerasbisenet.demo.core.tensorMemory
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.Config
import java.nio.ByteBuffer

/** Every way in which a backend fails, and a model is none. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34])
class EngineTest {
    private val model = Vectors.file("model")

    /** A network of the packaged model's shapes; [fail] is called by each inference. */
    class Fake(private val fail: () -> Unit = {}) : Network {
        override val inputFacts = TensorFacts(listOf(1, 480, 640, 3), "INT8", 1 / 255f, -128)
        override val outputFacts = TensorFacts(listOf(1, 60, 80, 11), "INT8", 0.1f)
        override val input = tensorMemory(inputFacts.byteCount)
        override val output = tensorMemory(outputFacts.byteCount)
        var isClosed = false

        override fun invoke() = fail()

        override fun close() {
            isClosed = true
        }
    }

    private val failures = listOf<() -> Throwable>(
        { UnsatisfiedLinkError("dlopen failed: library \"libOpenCL.so\" not found") },
        { IllegalArgumentException("Internal error: Failed to apply delegate: \nmore") },
        { NoClassDefFoundError("org/tensorflow/lite/gpu/GpuDelegateFactory\$Options") },
        { ExceptionInInitializerError(RuntimeException("driver")) },
        { OutOfMemoryError("Failed to allocate") },
    )

    @Test fun `whatever a delegate throws when it opens, the CPU answers and the reason is kept`() {
        for (failure in failures) for (wanted in listOf(Backend.GPU, Backend.NNAPI)) {
            val engine = Engine.open(model, wanted, 2) { _, backend, _ -> if (backend == wanted) throw failure() else Fake() }
            assertEquals(Backend.XNNPACK, engine.backend)
            val fallback = engine.fallbacks.single()
            assertEquals(wanted, fallback.from)
            assertTrue(fallback.reason, fallback.reason.isNotBlank() && '\n' !in fallback.reason)
        }
    }

    @Test fun `a delegate that opens and then fails is closed and left`() {
        val broken = Fake { throw IllegalStateException("Internal error: Failed to run") }
        val engine = Engine.open(model, Backend.GPU, 2) { _, backend, _ -> if (backend == Backend.GPU) broken else Fake() }
        assertTrue(broken.isClosed)
        assertEquals("IllegalStateException: Internal error: Failed to run", engine.fallbacks.single().reason)
    }

    @Test fun `without XNNPACK TFLite's kernels answer`() {
        val engine = Engine.open(model, Backend.GPU, 3) { _, backend, threads ->
            assertEquals(3, threads)
            if (backend == Backend.CPU) Fake() else throw UnsatisfiedLinkError("none")
        }
        assertEquals(Backend.CPU, engine.backend)
        assertEquals(listOf(Backend.GPU, Backend.XNNPACK), engine.fallbacks.map { it.from })
    }

    @Test fun `where nothing runs, that is said`() {
        val refused = assertThrows(Unusable::class.java) { Engine.open(model, Backend.GPU, 1) { _, _, _ -> throw UnsatisfiedLinkError("nowhere") } }
        assertEquals(Reason.CANNOT_RUN, refused.reason)
        assertTrue("nowhere" in refused.facts[0].toString())
    }

    @Test fun `what is no model is refused before any library sees it`() {
        val never = Opener { _, _, _ -> throw AssertionError("opened") }
        for (bytes in listOf(ByteArray(0), ByteArray(7), ByteArray(1000), "PK\u0003\u0004 and more".toByteArray())) {
            val refused = assertThrows(Unusable::class.java) { Engine.open(ByteBuffer.wrap(bytes), Backend.XNNPACK, 1, never) }
            assertEquals(Reason.NOT_TFLITE, refused.reason)
        }
        val cut = ByteArray(model.limit() - 100).also { model.duplicate().get(it) }
        val refused = assertThrows(Unusable::class.java) { Engine.open(ByteBuffer.wrap(cut), Backend.XNNPACK, 1, never) }
        assertEquals(Reason.CUT_OFF, refused.reason)
    }

    @Test fun `a model that TFLite refuses says so in TFLite's words`() {
        assumeTflite()
        for (at in listOf(40, 100)) { // dense enough to meet what is no weight
            val spoiled = tensorMemory(model.limit()).put(model.duplicate())
            for (i in 8 until 60000 step at) spoiled.put(i, -1)
            spoiled.rewind()
            val refused = assertThrows(Unusable::class.java) { Engine.open(spoiled as ByteBuffer, Backend.XNNPACK, 1) }
            assertEquals(Reason.CANNOT_RUN, refused.reason)
        }
    }
}
