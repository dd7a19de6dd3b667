package org.kerasbisenet.demo.core

import org.junit.Assert.assertEquals
import org.junit.Test

class LegendTest {
    @Test fun `shares and entries are Python's`() {
        val legend = Vectors.json("legend.json").fields()
        val names = legend["names"].items().map { it as String }
        for (case in legend["cases"].items().map { it.fields() }) {
            val counts = ClassCounts().apply { count(Vectors.picture(case.text("class_ids")).second) }
            val found = counts.largestFirst()
            val expected = case["shares"].items().map { it.items().map { value -> value as Double } }
            assertEquals(expected.map { it[0].toInt() }, found)
            for ((id, share) in expected.map { it[0].toInt() to it[1] }) assertEquals(share, counts.share(id), 0.0)
            val texts = found.map { shareText(if (it == VOID) "void" else names[it], counts.share(it)) }
            assertEquals(case["texts"].items(), texts)
        }
    }

    @Test fun `halves go to the even number`() {
        assertEquals(listOf("a 12%", "a 14%", "a 0.2%", "a 100%"), listOf(0.125, 0.135, 0.0025, 1.0).map { shareText("a", it) })
        assertEquals("b", shareText("b", null))
        assertEquals("x".repeat(27) + "…", shareText("x".repeat(29), null))
    }

    @Test fun `classes are painted in their colours, hidden ones and void not at all`() {
        val colours = OverlayColours(listOf(ClassLabel("a", 0x112233), ClassLabel("b", 0x445566)))
        colours.show(1, false)
        val pixels = IntArray(3)
        colours.paint(byteArrayOf(0, 1, -1), pixels)
        assertEquals(listOf(0xff112233.toInt(), 0, 0), pixels.toList())
        colours.show(1, true)
        colours.paint(byteArrayOf(0, 1, -1), pixels)
        assertEquals(0xff445566.toInt(), pixels[1])
    }
}
