package org.kerasbisenet.demo.core

class DamagedJson(what: String) : Exception(what)

/**
 * Reads and writes JSON: maps, lists, text, numbers (as Double), true, false and null.
 *
 * Android has org.json; this is the same on every JVM, and reads no deeper than [DEEPEST].
 */
class Json private constructor(private val text: String) {
    private var at = 0

    private fun value(depth: Int): Any? {
        if (depth > DEEPEST) throw DamagedJson("nested too deep")
        return when (next()) {
            '{' -> members(depth)
            '[' -> elements(depth)
            '"' -> string()
            else -> word()
        }
    }

    private fun members(depth: Int): Map<String, Any?> {
        val map = LinkedHashMap<String, Any?>()
        at++
        if (next() == '}') return map.also { at++ }
        while (true) {
            if (next() != '"') fail()
            val key = string()
            take(':')
            map[key] = value(depth + 1)
            if (next() == '}') return map.also { at++ }
            take(',')
        }
    }

    private fun elements(depth: Int): List<Any?> {
        val list = ArrayList<Any?>()
        at++
        if (next() == ']') return list.also { at++ }
        while (true) {
            list += value(depth + 1)
            if (next() == ']') return list.also { at++ }
            take(',')
        }
    }

    private fun string(): String {
        val out = StringBuilder()
        at++
        while (true) {
            val c = text.getOrNull(at++) ?: fail()
            when (c) {
                '"' -> return out.toString()
                '\\' -> out.append(escaped())
                else -> out.append(c)
            }
        }
    }

    private fun escaped(): Char = when (val c = text.getOrNull(at++)) {
        'b' -> '\b'
        'f' -> '\u000c'
        'n' -> '\n'
        'r' -> '\r'
        't' -> '\t'
        '"', '\\', '/' -> c
        'u' -> {
            val code = text.substring(at, minOf(at + 4, text.length)).toIntOrNull(16) ?: fail()
            at += 4
            code.toChar()
        }
        else -> fail()
    }

    private fun word(): Any? {
        val start = at
        while (at < text.length && text[at] !in ",]} \t\r\n") at++
        return when (val word = text.substring(start, at)) {
            "true" -> true
            "false" -> false
            "null" -> null
            else -> word.takeIf { NUMBER.matches(it) }?.toDoubleOrNull()?.takeIf { it.isFinite() } ?: fail()
        }
    }

    /** The next character that is no space. */
    private fun next(): Char {
        while (at < text.length && text[at] in " \t\r\n") at++
        return text.getOrNull(at) ?: fail()
    }

    private fun take(c: Char) {
        if (next() != c) fail()
        at++
    }

    private fun fail(): Nothing = throw DamagedJson("no JSON at character $at")

    companion object {
        private const val DEEPEST = 64
        private val NUMBER = Regex("-?[0-9]+(\\.[0-9]+)?([eE][+-]?[0-9]+)?")

        fun parse(text: String): Any? {
            val json = Json(text)
            val value = json.value(0)
            if (text.drop(json.at).isNotBlank()) json.fail()
            return value
        }

        /** [value] as JSON, two spaces for each level; whole numbers without a point. */
        fun write(value: Any?, indent: String = ""): String {
            val inner = "$indent  "
            return when (value) {
                is Map<*, *> -> block("{", "}", indent, value.map { (k, v) -> "$inner${quoted("$k")}: ${write(v, inner)}" })
                is List<*> ->
                    if (value.all { it is Number }) value.joinToString(", ", "[", "]") { write(it) }
                    else block("[", "]", indent, value.map { inner + write(it, inner) })
                is String -> quoted(value)
                else -> value.toString()
            }
        }

        private fun block(open: String, close: String, indent: String, lines: List<String>) =
            if (lines.isEmpty()) open + close else lines.joinToString(",\n", "$open\n", "\n$indent$close")

        private fun quoted(text: String) = buildString {
            append('"')
            for (c in text) when {
                c == '"' || c == '\\' -> append('\\').append(c)
                c < ' ' -> append("\\u%04x".format(c.code))
                else -> append(c)
            }
            append('"')
        }
    }
}

@Suppress("UNCHECKED_CAST") // a JSON object's keys are text
fun Any?.fields(): Map<String, Any?> = this as? Map<String, Any?> ?: throw DamagedJson("no object")
fun Any?.items(): List<Any?> = this as? List<Any?> ?: throw DamagedJson("no list")
fun Map<String, Any?>.text(key: String): String = this[key] as? String ?: throw DamagedJson(key)
fun Map<String, Any?>.number(key: String): Double = this[key] as? Double ?: throw DamagedJson(key)
fun Map<String, Any?>.whole(key: String): Int =
    number(key).let { if (it % 1 == 0.0 && it in -2e9..2e9) it.toInt() else throw DamagedJson(key) }
