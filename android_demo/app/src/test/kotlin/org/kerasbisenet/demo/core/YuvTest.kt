package org.kerasbisenet.demo.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import kotlin.math.abs

class YuvTest {
    private class Case(json: Map<String, Any?>) {
        val turn = Turn(json.whole("degrees"), json["mirrored"] as Boolean)
        val network = Vectors.size(json["network"])
        val expected = Vectors.bytes(json.text("rgb")).let { rgb -> ByteArray(rgb.limit()).also { rgb.get(it) } }
        private val planes = json["planes"].items().map { plane(it.fields()) }
        val frame = YuvFrame(Vectors.size(json["size"]), planes[0], planes[1], planes[2])

        private fun plane(json: Map<String, Any?>) =
            Plane(Vectors.bytes(json.text("base64")), json.whole("row_stride"), json.whole("pixel_stride"))

        override fun toString() = "${frame.size} by $turn into $network"
    }

    private val cases by lazy { Vectors.own("yuv.json").items().map { Case(it.fields()) } }

    private fun written(case: Case, type: NumberType): java.nio.ByteBuffer {
        val code = PixelCode.of(info(case.network, type))
        val input = nativeBuffer(case.network.area * 3 * type.bytes)
        YuvInput(case.frame.size, case.turn, case.network, code).write(case.frame, input)
        return input
    }

    /** Resampling before converting rounds once less than the Python side: 2 steps of 255 apart, seldom. */
    @Test fun `planes of any stride, turned and mirrored, become the input that Python makes`() {
        assertEquals(7, cases.size)
        for (case in cases) {
            val input = written(case, NumberType.INT8)
            val steps = case.expected.indices.map { abs((input.get(it) + 128) - (case.expected[it].toInt() and 255)) }
            assertTrue("$case: ${steps.max()} steps", steps.max() <= 2)
            assertTrue("$case: ${steps.average()} steps on average", steps.average() < 0.5)
        }
    }

    @Test fun `padding is black to the byte`() {
        val case = cases.first { it.network == Size(40, 96) } // upright 64x48: 40x30
        val input = written(case, NumberType.INT8)
        for (row in 0 until 40) for (x in 30 until 96) for (c in 0 until 3) {
            assertEquals(-128, input.get((row * 96 + x) * 3 + c).toInt())
        }
    }

    @Test fun `the wider inputs hold the same pixels`() {
        for (case in cases) {
            val bytes = written(case, NumberType.UINT8)
            val floats = written(case, NumberType.FLOAT32)
            for (i in case.expected.indices) {
                val pixel = bytes.get(i).toInt() and 255
                assertEquals(pixel / 255f, floats.getFloat(i * 4), 1e-6f)
            }
        }
    }

    @Test fun `one buffer serves frame after frame`() {
        val case = cases[1]
        val writer = YuvInput(case.frame.size, case.turn, case.network, PixelCode.of(info(case.network)))
        val (first, second) = List(2) { nativeBuffer(case.network.area * 3).also { writer.write(case.frame, it) } }
        assertEquals(first, second)
    }

    @Test fun `the picture is the input's, at the frame's own size`() {
        for (case in cases) {
            val picture = YuvPicture(case.frame.size, case.turn).apply { draw(case.frame) }
            assertEquals(case.turn.upright(case.frame.size), picture.size)
            val rgb = ByteArray(picture.pixels.size * 3) { (picture.pixels[it / 3] shr (16 - 8 * (it % 3))).toByte() }
            val placed = letterbox(rgb, Fit.of(picture.size, case.network))
            val steps = placed.indices.map { abs((placed[it].toInt() and 255) - (case.expected[it].toInt() and 255)) }
            assertTrue("$case: ${steps.average()} steps", steps.average() < 1.5) // chroma is not smoothed
        }
    }

    @Test fun `colours are JPEG's`() {
        // (Y, U, V) of pure red, green and blue, and of white, by BT.601 in full range.
        val colours = mapOf(0xff0000 to listOf(76, 85, 255), 0x00ff00 to listOf(150, 44, 21), 0x0000ff to listOf(29, 255, 107), 0xffffff to listOf(255, 128, 128))
        for ((rgb, yuv) in colours) {
            val planes = yuv.mapIndexed { i, value -> flat(if (i == 0) 16 else 4, value, if (i == 0) 4 else 2) }
            val picture = YuvPicture(Size(4, 4), Turn(0, false))
            picture.draw(YuvFrame(Size(4, 4), planes[0], planes[1], planes[2]))
            for (shift in listOf(16, 8, 0)) {
                assertEquals((rgb shr shift and 255).toFloat(), (picture.pixels[5] shr shift and 255).toFloat(), 1f)
            }
        }
    }

    private fun flat(count: Int, value: Int, stride: Int) =
        Plane(nativeBuffer(count).apply { repeat(count) { put(it, value.toByte()) } }, stride, 1)
}
