package org.kerasbisenet.demo

import android.os.Build
import org.kerasbisenet.demo.core.Comparison
import org.kerasbisenet.demo.core.Golden
import org.kerasbisenet.demo.core.Latency
import org.kerasbisenet.demo.core.Size
import java.util.Locale

/** What the self-check found; as JSON with the fields of `tools/check_tflite.py --json`, and the device's. */
class CheckReport(
    private val file: ModelFile, private val golden: Golden, private val engine: Engine, private val threads: Int,
    private val comparison: Comparison, private val latency: Latency,
) {
    val passed get() = comparison.passed
    private val device = "${Build.MANUFACTURER} ${Build.MODEL}"
    private val android = "${Build.VERSION.RELEASE} (API ${Build.VERSION.SDK_INT})"
    private val size = Size(engine.info.size.height, engine.info.size.width)
    private fun percentile(percent: Double) = (latency.percentile(percent) ?: 0f).toDouble()

    fun json(): Map<String, Any?> = linkedMapOf(
        "model" to file.name,
        "model_sha256" to file.sha256,
        "inputs" to golden.count,
        "size" to listOf(size.height, size.width),
        "made_with" to golden.madeWith,
        "runtime" to RUNTIME,
        "machine" to Build.SUPPORTED_ABIS.firstOrNull(),
        "device" to device,
        "android" to android,
        "threads" to threads.takeIf { engine.backend == Backend.CPU },
        "delegate" to engine.backend.word.takeIf { engine.backend == Backend.GPU || engine.backend == Backend.NNAPI },
        "fallbacks" to engine.fallbacks.map { mapOf("from" to it.from.word, "reason" to it.reason) },
        "comparisons" to listOf(
            linkedMapOf(
                "kernels" to engine.backend.word,
                "same_bytes" to comparison.sameBytes,
                "differing_bytes" to comparison.differingBytes,
                "largest_difference" to comparison.largestDifference,
                "same_class" to comparison.sameClass,
                "agreement" to comparison.agreement,
                "passed" to comparison.passed,
            ),
        ),
        "latency_ms" to linkedMapOf(
            "runs" to latency.count, "p50" to percentile(50.0), "p90" to percentile(90.0), "p99" to percentile(99.0),
        ),
        "passed" to passed,
    )

    /** For people who help: in English, whatever the device's language. */
    fun text(): String = buildString {
        fun line(format: String, vararg values: Any?) = appendLine(String.format(Locale.ROOT, format, *values))
        line("%s: %d golden inputs of %s, answered by %s", file.name, golden.count, size, golden.madeWith)
        line("here: %s on %s, Android %s, %s", RUNTIME, device, android, Build.SUPPORTED_ABIS.firstOrNull())
        for (fallback in engine.fallbacks) line("no %s: %s", fallback.from.word, fallback.reason)
        val found = if (comparison.sameBytes) "the same bytes" else String.format(
            Locale.ROOT, "%.2f%% of the values differ, by %.4g at most; same class %.2f%%, same or tied %.2f%%",
            100 * comparison.differingBytes, comparison.largestDifference,
            100 * comparison.sameClass, 100 * comparison.agreement,
        )
        line("%-18s %s  %s", engine.backend.word, if (passed) "passes" else "FAILS ", found)
        line(
            "%-18s p50 %.2f ms, p90 %.2f ms, p99 %.2f ms (%d inferences)", "latency",
            percentile(50.0), percentile(90.0), percentile(99.0), latency.count,
        )
        append(if (passed) "passes" else "falls short")
    }

    private companion object {
        const val RUNTIME = "org.tensorflow:tensorflow-lite 2.16.1"
    }
}
