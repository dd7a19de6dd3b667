package org.kerasbisenet.demo

import android.os.Build

/** What computes the network. [word] is its name in a report, as the Python tools have it. */
enum class Backend(val label: Int, val word: String) {
    /** TFLite's own delegate on the CPU. From Java it always takes a thread of its choice (LiteRT issue 1328). */
    XNNPACK(R.string.backend_xnnpack, "fast"),

    /** TFLite's kernels, by as many threads as the user says. */
    CPU(R.string.backend_cpu, "cpu kernels"),
    GPU(R.string.backend_gpu, "gpu"),
    NNAPI(R.string.backend_nnapi, "nnapi");

    /** NNAPI came with Android 8.1, and is deprecated from Android 15 on. */
    val isOffered get() = this != NNAPI || Build.VERSION.SDK_INT in 27..34
}
