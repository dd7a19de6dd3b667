package org.kerasbisenet.demo.core

import org.junit.Assert.assertEquals
import org.junit.Test

class LatencyTest {
    @Test fun `percentiles are NumPy's`() {
        val times = Latency(5)
        assertEquals(null, times.percentile(50.0))
        listOf(9f, 1f, 3f, 2f).forEach(times::add)
        assertEquals(2.5f, times.percentile(50.0)!!, 1e-6f)
        assertEquals(8.1f, times.percentile(95.0)!!, 1e-5f) // np.percentile([9, 1, 3, 2], 95)
        listOf(10f, 10f).forEach(times::add) // the oldest is forgotten
        assertEquals(5, times.count)
        assertEquals(1f, times.percentile(0.0)!!, 0f)
        assertEquals(3f, times.percentile(50.0)!!, 0f)
    }
}
