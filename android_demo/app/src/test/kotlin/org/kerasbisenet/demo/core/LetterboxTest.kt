package org.kerasbisenet.demo.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

class LetterboxTest {
    @Test fun `places every picture as the Python side does, to the byte`() {
        val cases = Vectors.json("letterbox.json").items().map { it.fields() }
        assertTrue(cases.size >= 5)
        for (case in cases) {
            val (size, rgb) = Vectors.picture(case.text("image"))
            val fit = Fit.of(size, Vectors.size(case["network"]))
            assertEquals(case.text("output"), Vectors.size(case["content"]), fit.content)
            val (placedSize, placed) = Vectors.picture(case.text("output"))
            assertEquals(placedSize, fit.network)
            assertArrayEquals(case.text("output"), placed, letterbox(rgb, fit))
        }
    }

    @Test fun `content halves to the even number, as Python rounds`() {
        assertEquals(Size(2, 64), Fit.of(Size(5, 128), Size(64, 64)).content) // 2.5
        assertEquals(Size(4, 64), Fit.of(Size(7, 128), Size(64, 64)).content) // 3.5
        assertEquals(Size(1, 64), Fit.of(Size(1, 640), Size(64, 64)).content)
    }

    @Test fun `8-bit inputs take the pixels, int8 less 128`() {
        for ((type, offset) in listOf(NumberType.INT8 to 128, NumberType.UINT8 to 0)) {
            val table = PixelCode.of(info(Size(8, 8), type)).bytes!!
            for (pixel in 0..255) assertEquals((pixel - offset).toByte(), table[pixel])
        }
    }

    @Test fun `float inputs take pixels from 0 to 1`() {
        val input = nativeBuffer(12)
        PixelCode.of(info(Size(8, 8), NumberType.FLOAT32)).write(byteArrayOf(0, 51, -1), input)
        assertArrayEquals(floatArrayOf(0f, 0.2f, 1f), FloatArray(3) { input.getFloat(it * 4) }, 0f)
    }

    @Test fun `int16 inputs take what their scale makes of it`() {
        val input = nativeBuffer(6)
        val info = info(Size(8, 8)).copy(input = TensorFacts(listOf(1, 8, 8, 3), "INT16", 1 / 32767f))
        PixelCode.of(info).write(byteArrayOf(0, 51, -1), input)
        assertEquals(listOf<Short>(0, 6553, 32767), List(3) { input.getShort(it * 2) })
    }
}
