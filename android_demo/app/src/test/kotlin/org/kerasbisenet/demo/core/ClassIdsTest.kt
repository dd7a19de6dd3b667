package org.kerasbisenet.demo.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

class ClassIdsTest {
    @Test fun `every pixel's class is Python's`() {
        val cases = Vectors.json("class_ids.json").items().map { it.fields() }
        assertTrue(cases.map { it.text("kind") }.toSet() == setOf("logits", "class_ids"))
        for (case in cases) {
            val logits = case["logits"].fields()
            val shape = listOf(1) + logits["shape"].items().map { (it as Double).toInt() }
            val output = TensorFacts(shape, logits.text("dtype").uppercase())
            val fit = Fit(Vectors.size(case["image_size"]), Vectors.size(case["network_size"]), Vectors.size(case["content_size"]))
            val kind = OutputKind.of(case.text("kind"))!!
            val classes = if (kind == OutputKind.LOGITS) shape[3] else VOID
            val answer = ClassIds.of(info(fit.network, output = output, classes = classes, kind = kind), fit)
            val (size, expected) = Vectors.picture(case.text("class_ids"))
            assertEquals(fit.image, size)
            repeat(2) { // buffers are used again
                answer.read(Vectors.bytes(logits.text("base64")))
                assertEquals(case.text("class_ids"), 0, expected.differing(answer.ids))
            }
        }
    }

    @Test fun `ids that the model has no class for become void`() {
        val output = TensorFacts(listOf(1, 2, 2, 1), "INT64")
        val fit = Fit(Size(2, 2), Size(2, 2), Size(2, 2))
        val answer = ClassIds.of(info(Size(2, 2), output = output, classes = 3, kind = OutputKind.CLASS_IDS), fit)
        answer.read(nativeBuffer(32).apply { listOf(2L, 3L, -1L, 0L).forEachIndexed { i, id -> putLong(i * 8, id) } })
        assertEquals(listOf(2, 255, 255, 0), answer.ids.map { it.toInt() and 255 })
    }
}
