package org.kerasbisenet.demo

import android.content.Context
import android.text.format.Formatter
import org.kerasbisenet.demo.core.ModelInfo
import org.kerasbisenet.demo.core.OutputKind
import org.kerasbisenet.demo.core.Reason
import org.kerasbisenet.demo.core.Unusable

// What the app says, in the user's language.

fun Context.sentence(unusable: Unusable): String = getString(
    when (unusable.reason) {
        Reason.NOT_TFLITE -> R.string.model_not_tflite
        Reason.CUT_OFF -> R.string.model_cut_off
        Reason.RECORD_DAMAGED -> R.string.model_record_damaged
        Reason.RECORD_NEWER -> R.string.model_record_newer
        Reason.OTHER_RECORD -> R.string.model_other_record
        Reason.TENSORS -> R.string.model_tensors
        Reason.INPUT -> R.string.model_input
        Reason.INPUT_TYPE -> R.string.model_input_type
        Reason.OUTPUT -> R.string.model_output
        Reason.CLASSES -> R.string.model_classes
        Reason.TOO_LARGE -> R.string.model_too_large
        Reason.CANNOT_RUN -> R.string.model_cannot_run
        Reason.GOLDEN_DAMAGED -> R.string.golden_damaged
        Reason.GOLDEN_NEWER -> R.string.golden_newer
        Reason.GOLDEN_OF_OTHER_MODEL -> R.string.golden_other
        Reason.GOLDEN_MISSING -> R.string.golden_missing
    },
    *unusable.facts,
)

fun Context.sentence(trouble: Trouble): String = when (trouble) {
    is Trouble.Camera -> getString(trouble.trouble.sentence)
    is Trouble.Model -> sentence(trouble.reason)
    is Trouble.Failed -> getString(R.string.failed, trouble.reason)
    Trouble.Memory -> getString(R.string.out_of_memory)
}

/** Which backend answers, with the reason where it is not the one that was asked for. */
fun Context.backendLine(status: Status): String? {
    val backend = status.backend ?: return null
    val lines = ArrayList<String>()
    lines += when (backend) {
        Backend.CPU -> resources.getQuantityString(R.plurals.on_cpu, status.threads, getString(backend.label), status.threads)
        else -> getString(backend.label)
    }
    status.crashed?.let { lines += getString(R.string.crashed, getString(it.label)) }
    for (fallback in status.fallbacks) lines += getString(R.string.fallback, getString(fallback.from.label), fallback.reason)
    return lines.joinToString("\n")
}

fun Context.numbersLine(status: Status): String? {
    val network = status.networkP50 ?: return null
    val all = status.allP50 ?: return null
    val times = getString(R.string.times, network, status.networkP95 ?: network, all, status.allP95 ?: all)
    return listOfNotNull(times, status.framesPerSecond?.let { getString(R.string.frames_per_second, it) }).joinToString(" · ")
}

/** What a file says of itself. */
fun Context.aboutText(file: ModelFile, info: ModelInfo): String {
    val record = info.record
    val kind = getString(if (info.kind == OutputKind.LOGITS) R.string.about_logits else R.string.about_ids)
    return listOfNotNull(
        file.name + " · " + Formatter.formatShortFileSize(this, file.bytes.limit().toLong()),
        record?.let { getString(R.string.about_made, it.model, it.precision, it.target, it.generator) } ?: getString(R.string.about_no_record),
        record?.let { resources.getQuantityString(R.plurals.about_data, info.classes.size, it.dataset, info.classes.size) },
        record?.miou?.let { getString(R.string.about_miou, it * 100, record.split ?: "?") },
        record?.miouOf?.let { getString(R.string.about_miou_of, it) },
        getString(R.string.about_input, info.size.height, info.size.width, info.input.typeName),
        getString(R.string.about_output, kind, info.stride, info.output.typeName),
        getString(R.string.about_hash, file.sha256),
    ).joinToString("\n")
}
