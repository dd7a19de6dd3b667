package org.kerasbisenet.demo

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Assume.assumeTrue
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.kerasbisenet.demo.core.Golden
import org.kerasbisenet.demo.core.SelfCheck
import org.kerasbisenet.demo.core.Vectors
import org.kerasbisenet.demo.core.differing
import org.kerasbisenet.demo.core.fields
import org.kerasbisenet.demo.core.items
import org.kerasbisenet.demo.core.sha256
import org.kerasbisenet.demo.core.text
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.Config
import java.nio.ByteBuffer

/** Real inference, by the very library that the app has. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34])
class TfliteTest {
    @Before fun `the library loads`() = assumeTflite()

    private fun bytes(buffer: ByteBuffer) = ByteArray(buffer.limit()).also { buffer.duplicate().get(it) }

    @Test fun `all golden pictures, to the byte`() {
        val model = Vectors.file("model")
        val golden = Golden.read(Vectors.file("golden"), model)
        Engine.open(model, Backend.XNNPACK, 2).use { engine ->
            assertEquals(Backend.XNNPACK, engine.backend)
            val found = SelfCheck(golden, engine.network).compare()
            println("golden pictures: ${golden.count}, differing bytes: ${found.differingBytes}")
            assertEquals(0.0, found.differingBytes, 0.0)
            assertTrue(found.passed)
        }
    }

    @Test fun `classes of pictures of odd sizes are Python's`() {
        val vectors = Vectors.own("packaged.json").fields()
        val model = Vectors.file("model")
        assumeTrue("the model is another than the package's", vectors.text("model_sha256") == sha256(model))
        Engine.open(model, Backend.XNNPACK, 2).use { engine ->
            val answers = vectors["answers"].items().map { it.fields() }
            assertEquals(5, answers.size)
            for (answer in answers) {
                val (size, rgb) = Vectors.picture(answer.text("picture"))
                val ids = engine.segmenter.segment(rgb, size).ids
                val different = ids.differing(bytes(Vectors.bytes(answer.text("class_ids"))))
                println("${answer.text("picture")} $size: $different of ${ids.size} class ids differ")
                assertTrue("${answer.text("picture")}: $different of ${ids.size}", different <= 0.001 * ids.size)
            }
        }
    }

    @Test fun `models of every kind run by what the file says`() {
        val cases = Vectors.own("models.json").items().map { it.fields() }
        assertEquals(6, cases.size)
        for (case in cases) {
            Engine.open(Vectors.bytes(case.text("model")), Backend.XNNPACK, 1).use { engine ->
                assertEquals(case["classes"].items(), engine.info.classes.map { it.name })
                val (size, rgb) = Vectors.picture(case.text("picture"))
                val ids = engine.segmenter.segment(rgb, size).ids
                assertEquals(case.text("name"), 0, ids.differing(bytes(Vectors.bytes(case.text("class_ids")))))
            }
        }
    }

    @Test fun `the conformance model answers within what is allowed`() {
        val answers = Vectors.json("answers.json").fields()
        val model = Vectors.file(Vectors.conformanceFile(answers.text("model")))
        Engine.open(model, Backend.XNNPACK, 1).use { engine ->
            for (case in answers["cases"].items().map { it.fields() }) {
                val (size, rgb) = Vectors.picture(case.text("image"))
                val ids = engine.segmenter.segment(rgb, size).ids
                assertEquals(case.text("input_sha256"), sha256(engine.network.input))
                val expected = bytes(Vectors.bytes(case.text("output")))
                val output = bytes(engine.network.output.duplicate().apply { rewind() })
                assertEquals(case.text("image"), 0, output.differing(expected))
                assertEquals(0, ids.differing(Vectors.picture(case.text("class_ids")).second))
            }
        }
    }

    @Test fun `GPU and NNAPI give way to the CPU, and say why`() {
        val model = Vectors.bytes(Vectors.own("models.json").items()[0].fields().text("model"))
        for (backend in listOf(Backend.GPU, Backend.NNAPI)) {
            Engine.open(model, backend, 1).use { engine ->
                println("$backend: ${engine.backend}, ${engine.fallbacks.map { it.reason }}")
                if (backend == Backend.GPU) {
                    assertEquals(Backend.XNNPACK, engine.backend)
                    assertEquals(Backend.GPU, engine.fallbacks.single().from)
                    assertTrue(engine.fallbacks.single().reason.isNotBlank())
                }
            }
        }
    }
}
