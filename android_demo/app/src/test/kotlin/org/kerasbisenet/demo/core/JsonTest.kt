package org.kerasbisenet.demo.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Test

class JsonTest {
    @Test fun `reads what JSON has`() {
        val text = """ {"a": [1, -2.5e3, true, false, null, "x\n\"\u00e9"], "b": {}, "c": [] } """
        assertEquals(
            mapOf("a" to listOf(1.0, -2500.0, true, false, null, "x\n\"é"), "b" to emptyMap<String, Any>(), "c" to emptyList<Any>()),
            Json.parse(text),
        )
    }

    @Test fun `refuses what is none`() {
        val none = listOf("", "{", "[1,]", "{\"a\" 1}", "\"open", "01x", "nul", "[1] 2", "\"\\u12\"", "NaN", "1e999", "[".repeat(100000))
        for (text in none) assertThrows(text.take(20), DamagedJson::class.java) { Json.parse(text) }
    }

    @Test fun `what it writes it reads again`() {
        val value = mapOf("text" to "a\"b\\c\n\u0001", "list" to listOf(1.5, 2.0), "maps" to listOf(mapOf("x" to null)), "none" to emptyMap<String, Any>())
        assertEquals(value, Json.parse(Json.write(value)))
    }
}
