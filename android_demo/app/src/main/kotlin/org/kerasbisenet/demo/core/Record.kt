package org.kerasbisenet.demo.core

/** What cannot be used, in a sentence that a person can act on. The text is for [Reason]'s place. */
class Unusable(val reason: Reason, vararg val facts: Any) : Exception("$reason ${facts.joinToString()}")

/** Why a model or a golden file cannot be used; each has its sentence in the app's strings. */
enum class Reason {
    NOT_TFLITE, CUT_OFF, RECORD_DAMAGED, RECORD_NEWER, OTHER_RECORD, TENSORS, INPUT, INPUT_TYPE, OUTPUT, CLASSES,
    GOLDEN_DAMAGED, GOLDEN_NEWER, GOLDEN_OF_OTHER_MODEL, GOLDEN_MISSING, TOO_LARGE, CANNOT_RUN
}

/** A class that a model tells apart; [color] is 0xRRGGBB. */
data class ClassLabel(val name: String, val color: Int)

/**
 * The deployment record that `keras-bisenet convert` leaves in a `.tflite` file: `keras_bisenet.json`
 * in a ZIP archive behind the flatbuffer.
 */
data class Record(
    val generator: String,
    val model: String,
    val target: String,
    val precision: String,
    val dataset: String,
    val miou: Double?,
    val split: String?,
    val miouOf: String?,
    val size: Size,
    val inputScale: Double,
    val inputOffset: Double,
    val kind: OutputKind,
    val stride: Int,
    val classes: List<ClassLabel>,
) {
    companion object {
        const val FILE = "keras_bisenet.json"
        private const val FORMAT = 1
        private const val MOST_BYTES = 1 shl 20

        /** The record in a model's bytes; null where there is none. */
        fun read(model: java.nio.ByteBuffer): Record? {
            val entry = try {
                ZipArchive.open(model)?.read(FILE, MOST_BYTES)
            } catch (error: DamagedZip) {
                throw Unusable(Reason.RECORD_DAMAGED, error.message ?: "")
            }
            if (entry == null) {
                // The archive's end lists its files. Where that is gone, the file was cut off.
                if (ZipArchive.open(model) == null && contains(model, FILE.toByteArray())) throw Unusable(Reason.CUT_OFF)
                return null
            }
            return try {
                of(Json.parse(entry.decodeToString()).fields())
            } catch (error: DamagedJson) {
                throw Unusable(Reason.RECORD_DAMAGED, error.message ?: "")
            }
        }

        private fun of(json: Map<String, Any?>): Record {
            val format = json.whole("format")
            if (format != FORMAT) throw Unusable(Reason.RECORD_NEWER, format)
            val input = json["input"].fields()
            val output = json["output"].fields()
            val record = Record(
                generator = json.text("generator"),
                model = json.text("model"),
                target = json.text("target"),
                precision = json.text("precision"),
                dataset = json.text("dataset"),
                miou = json["miou"]?.let { json.number("miou") },
                split = json["split"]?.let { json.text("split") },
                miouOf = json["miou_of"]?.let { json.text("miou_of") },
                size = Size(input.side("height"), input.side("width")),
                inputScale = input.number("scale"),
                inputOffset = input.number("offset"),
                kind = OutputKind.of(output.text("kind")) ?: throw DamagedJson("output kind"),
                stride = output.side("stride"),
                classes = json["classes"].items().map { label(it.fields()) },
            )
            if (record.inputScale == 0.0) throw DamagedJson("input scale")
            if (record.classes.size !in 1..VOID) throw DamagedJson("classes")
            return record
        }

        private fun label(json: Map<String, Any?>): ClassLabel {
            val color = json["color"].items().map { it as? Double ?: throw DamagedJson("color") }
            if (color.size != 3 || !color.all { it in 0.0..255.0 && it % 1 == 0.0 }) throw DamagedJson("color")
            return ClassLabel(json.text("name"), color.fold(0) { rgb, value -> rgb shl 8 or value.toInt() })
        }

        private fun Map<String, Any?>.side(key: String) =
            whole(key).also { if (it !in 1..65536) throw DamagedJson(key) }

        private fun contains(model: java.nio.ByteBuffer, bytes: ByteArray): Boolean {
            // It lies near the end, behind the weights.
            val start = maxOf(0, model.limit() - MOST_BYTES)
            return (start..model.limit() - bytes.size).any { at -> bytes.indices.all { model.get(at + it) == bytes[it] } }
        }
    }
}
