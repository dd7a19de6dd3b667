package org.kerasbisenet.demo.core

import org.junit.Assert.assertEquals
import org.junit.Test

class GeometryTest {
    /** The picture that a frame of 2 rows and 3 columns, numbered from 0, becomes. */
    private fun turned(turn: Turn): List<List<Int>> {
        val frame = Size(2, 3)
        val upright = turn.upright(frame)
        val layout = turn.layout(upright)
        val out = IntArray(6) { -1 }
        for (row in 0 until 2) for (column in 0 until 3) {
            out[layout.start + row * layout.perRow + column * layout.perColumn] = row * 3 + column
        }
        return out.toList().chunked(upright.width)
    }

    @Test fun `turns are clockwise, mirrors swap left and right after it`() {
        assertEquals(listOf(listOf(0, 1, 2), listOf(3, 4, 5)), turned(Turn(0, false)))
        assertEquals(listOf(listOf(3, 0), listOf(4, 1), listOf(5, 2)), turned(Turn(90, false)))
        assertEquals(listOf(listOf(5, 4, 3), listOf(2, 1, 0)), turned(Turn(180, false)))
        assertEquals(listOf(listOf(2, 5), listOf(1, 4), listOf(0, 3)), turned(Turn(270, false)))
        assertEquals(listOf(listOf(2, 1, 0), listOf(5, 4, 3)), turned(Turn(0, true)))
        assertEquals(listOf(listOf(0, 3), listOf(1, 4), listOf(2, 5)), turned(Turn(90, true)))
        assertEquals(listOf(listOf(3, 4, 5), listOf(0, 1, 2)), turned(Turn(180, true)))
        assertEquals(listOf(listOf(5, 2), listOf(4, 1), listOf(3, 0)), turned(Turn(270, true)))
    }

    @Test fun `in a wider network the rows lie further apart`() {
        for (degrees in listOf(0, 90, 180, 270)) for (mirrored in listOf(false, true)) {
            val turn = Turn(degrees, mirrored)
            val upright = turn.upright(Size(2, 3))
            val (near, far) = turn.layout(upright) to turn.layout(upright, 10)
            for (row in 0 until 2) for (column in 0 until 3) {
                val at = near.start + row * near.perRow + column * near.perColumn
                val expected = at / upright.width * 10 + at % upright.width
                assertEquals(expected, far.start + row * far.perRow + column * far.perColumn)
            }
        }
    }

    /** The table of Android's documentation of SENSOR_ORIENTATION, for a phone's usual 90 and 270 degrees. */
    @Test fun `frames come upright whichever way the display is turned`() {
        assertEquals(listOf(90, 0, 270, 180), listOf(0, 90, 180, 270).map { Turn.of(90, it, front = false).degrees })
        assertEquals(listOf(270, 0, 90, 180), listOf(0, 90, 180, 270).map { Turn.of(270, it, front = true).degrees })
        assertEquals(listOf(0, 270, 180, 90), listOf(0, 90, 180, 270).map { Turn.of(0, it, front = false).degrees })
        assertEquals(listOf(false, true), listOf(false, true).map { Turn.of(90, 0, it).mirrored })
    }

    @Test fun `a picture lies in the middle of its view, whole`() {
        assertEquals(Place(0f, 300f, 600f, 700f), Place.of(Size(400, 600), Size(1000, 600)))
        assertEquals(Place(350f, 0f, 650f, 600f), Place.of(Size(400, 200), Size(600, 1000)))
        assertEquals(Place(0f, 0f, 64f, 48f), Place.of(Size(480, 640), Size(48, 64)))
    }
}
